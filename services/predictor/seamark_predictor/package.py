"""Reads a package folder: the manifest first, then only files whose digest the manifest pins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seamark.contract import Rule, infer, parse_rules
from seamark.errors import InvalidPackage
from seamark.package import Manifest, parse_manifest
from seamark.profile import Profile, parse_profile

__all__ = ["Package", "read"]

#: Bytes of one JSON file of a package; a real one has a few thousand.
_LONGEST_JSON = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Package:
    """A verified package. digest: SHA-256 of seamark.json; model: the model file's bytes; rules: its contract."""

    manifest: Manifest
    profile: Profile
    rules: Sequence[Rule]
    digest: str
    model: bytes


def read(folder: Path, digest: str | None = None) -> Package:
    """The package in `folder`, every digest checked; raises `InvalidPackage`.

    digest: the package's own must be this one, if given.
    """
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise InvalidPackage(f"Cannot read package {folder}: {error.strerror}") from error
    if not is_folder:
        raise InvalidPackage(f"Cannot read package {folder}: it is not a folder")
    content = _content(folder / "seamark.json", _LONGEST_JSON)
    found = hashlib.sha256(content).hexdigest()
    if digest is not None and found != digest.lower():
        raise InvalidPackage(f"Cannot use package {folder}: its digest is {found}, --digest says {digest[:64]}")
    manifest = parse_manifest(content)
    model = _content(folder / manifest.model.file)
    _digest_matches(manifest.model.file, model, manifest.model.sha256)
    pinned = _content(folder / "profile.json", _LONGEST_JSON)
    _digest_matches("profile.json", pinned, manifest.profile_sha256)
    profile = parse_profile(pinned)
    return Package(manifest, profile, _rules(folder, manifest, profile), found, model)


def _rules(folder: Path, manifest: Manifest, profile: Profile) -> tuple[Rule, ...]:
    """The user's `contract.json`, which no digest pins because it is theirs to edit; else what the profile suggests."""
    path = folder / "contract.json"
    if not path.exists():
        return infer(manifest.schema, profile)
    try:
        return parse_rules(json.loads(_content(path, _LONGEST_JSON)))
    except (ValueError, RecursionError) as error:
        raise InvalidPackage(f"Cannot read {path}: {error}") from error


def _content(path: Path, limit: int | None = None) -> bytes:
    try:
        if not path.is_file():
            raise InvalidPackage(f"Cannot read {path}: {'it is not a file' if path.exists() else 'it does not exist'}")
        size = path.stat().st_size
        if limit is not None and size > limit:
            raise InvalidPackage(f"Cannot read {path}: {size} bytes are more than {limit}")
        return path.read_bytes()
    except OSError as error:
        raise InvalidPackage(f"Cannot read {path}: {error.strerror}") from error


def _digest_matches(name: str, content: bytes, wanted: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.lower():
        raise InvalidPackage(f"Cannot load {name}: its SHA-256 is {found}, the package says {wanted[:64]}")
