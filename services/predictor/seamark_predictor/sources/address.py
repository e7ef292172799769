"""Addresses without the secrets that they may hold, and names that may become files."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from seamark.errors import InvalidPackage
from seamark.texts import first_line

__all__ = ["inside", "shown", "without_secrets"]

_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/[^\s?#]*)[?#][^\s\"')>]*")
_LONGEST = 300


def without_secrets(text: str) -> str:
    """The first line of a message, its addresses without user, password, query and fragment."""
    line = first_line(text, most=None)
    return _QUERY.sub(r"\1?...", _USER.sub(r"\1", line))[:_LONGEST]


def shown(uri: str) -> str:
    """An address as it may be shown."""
    return without_secrets(uri)


def inside(folder: Path, name: str, what: str) -> Path:
    """The path of a relative name in a folder; raises `InvalidPackage` for a name that leads out of it."""
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or not parts or ".." in parts or "\\" in name or "\0" in name:
        raise InvalidPackage(f"Cannot fetch {what}: the name {name[:100]!r} in it leads out of its folder")
    if any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        raise InvalidPackage(f"Cannot fetch {what}: the name {name[:60]!r}... in it is too long")
    return folder.joinpath(*parts)
