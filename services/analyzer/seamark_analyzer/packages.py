"""Reading a model package's manifest and reference profile, checked against their digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from seamark.errors import InvalidPackage
from seamark.package import Manifest, parse_manifest
from seamark.profile import Profile, parse_profile

__all__ = ["Package", "read_package"]

#: Bytes of one file; ten thousand features of twelve bins need less.
LIMIT = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Package:
    manifest: Manifest
    profile: Profile


def read_package(folder: Path) -> Package:
    """The package in `folder`, or `InvalidPackage` saying why it cannot be used."""
    manifest = parse_manifest(_read(folder / "seamark.json"))
    content = _read(folder / "profile.json")
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.profile_sha256:
        wanted = manifest.profile_sha256
        raise InvalidPackage(
            f"Cannot use {folder / 'profile.json'}: its SHA-256 is {digest}, seamark.json says {wanted}"
        )
    return Package(manifest, parse_profile(content))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise InvalidPackage(f"Cannot read {path}: {error.strerror}") from error
    if len(content) > LIMIT:
        raise InvalidPackage(f"Cannot read {path}: it is longer than {LIMIT} bytes")
    return content
