"""Reads model files and folders once, and knows their digests before anything in them is used."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from seamark.errors import InvalidPackage

__all__ = ["Folder", "read_file"]

_MOST_FILES = 10_000
_CHUNK = 1024 * 1024


def read_file(path: Path) -> bytes:
    """A regular file's bytes; raises `InvalidPackage`."""
    try:
        with open(_descriptor(path), "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidPackage(f"Cannot read {path}: {error.strerror}") from error


def _descriptor(path: Path) -> int:
    # Opening a pipe would wait for its other end for ever.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise InvalidPackage(f"Cannot read {path}: it is not a regular file")
    return number


class Folder:
    """A folder whose files are all hashed; what is read later must still be the same.

    digest: SHA-256 over a line `<SHA-256 of the file>  <relative name>` for each file, sorted by name, as `sha256sum`
    writes them.
    """

    def __init__(self, path: Path) -> None:
        """Raises `InvalidPackage` for links out of the folder, and for more than 10,000 files."""
        self.path = path
        self._digests = {name: _hashed(file) for name, file in _files(path)}
        lines = "".join(f"{self._digests[name]}  {name}\n" for name in sorted(self._digests))
        self.digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    def read(self, name: str) -> bytes:
        """A file by its relative name; raises `InvalidPackage`."""
        if name not in self._digests:
            raise InvalidPackage(f"Cannot read {name[:200]!r} in {self.path}: there is no such file")
        content = read_file(self.path / name)
        if hashlib.sha256(content).hexdigest() != self._digests[name]:
            raise InvalidPackage(f"Cannot read {self.path / name}: it changed while it was read")
        return content

    def digest_of(self, name: str) -> str:
        """The SHA-256 of a file that is there."""
        return self._digests[name]


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    try:
        real = root.resolve(strict=True)
        count = 0
        for folder, _, names in os.walk(real, onerror=_refuse):
            for name in names:
                path = Path(folder, name)
                if not path.resolve().is_relative_to(real):
                    raise InvalidPackage(f"Cannot read {path}: it is a link out of the folder")
                count += 1
                if count > _MOST_FILES:
                    raise InvalidPackage(f"Cannot read {root}: it holds more than {_MOST_FILES} files")
                yield path.relative_to(real).as_posix(), path
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise InvalidPackage(f"Cannot read {root}: {getattr(error, 'strerror', None) or error}") from error


def _refuse(error: OSError) -> None:
    raise error


def _hashed(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with open(_descriptor(path), "rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError as error:
        raise InvalidPackage(f"Cannot read {path}: {error.strerror}") from error
    return found.hexdigest()
