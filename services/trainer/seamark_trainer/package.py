"""Writing and reading model packages: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seamark.errors import Conflict, InvalidPackage
from seamark.package import Manifest, parse_manifest
from seamark.profile import Profile, parse_profile

__all__ = ["Package", "read", "write"]

MAX_FILE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Package:
    """A package on disk; digest is the SHA-256 of its `seamark.json`."""

    folder: Path
    digest: str
    manifest: Manifest
    profile: Profile


def write(folder: Path, manifest: Manifest, model: bytes, profile: Profile, card: str = "") -> Package:
    """Make the package `folder`, by rename. The manifest must hold the digests of `model` and of `profile`.

    A folder that is there already is never changed: `Conflict`.
    """
    if hashlib.sha256(model).hexdigest() != manifest.model.sha256:
        raise InvalidPackage(f"Cannot write package {folder}: the manifest has another digest of {manifest.model.file}")
    content = manifest.to_json()
    files = {manifest.model.file: model, "profile.json": profile.to_json(), "seamark.json": content}
    if card:
        files["card.md"] = card.encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _fill(draft, files)
        draft.rename(folder)
        _flush(folder.parent)
    except OSError as error:
        if folder.exists():
            raise Conflict(f"Cannot write package {folder}: it exists already") from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Package(folder, hashlib.sha256(content).hexdigest(), manifest, profile)


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        with (folder / name).open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    # mkdtemp makes folders for their owner only; servers may run as somebody else.
    folder.chmod(0o755)
    _flush(folder)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path) -> Package:
    """The package in `folder`, its profile checked against the manifest; raises `InvalidPackage`."""
    content = _content(folder / "seamark.json")
    manifest = parse_manifest(content)
    profile = _content(folder / "profile.json")
    if hashlib.sha256(profile).hexdigest() != manifest.profile_sha256:
        raise InvalidPackage(f"{folder}: profile.json is not the one that seamark.json names")
    return Package(folder, hashlib.sha256(content).hexdigest(), manifest, parse_profile(profile))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise InvalidPackage(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if len(content) > MAX_FILE:
        raise InvalidPackage(f"{path}: is over {MAX_FILE} bytes")
    return content
