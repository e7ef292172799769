"""A secret in a file, as Kubernetes mounts it: replaced while the process runs."""

from __future__ import annotations

from pathlib import Path

from seamark.errors import Unavailable

__all__ = ["SecretFile"]

_LARGEST = 64 * 1024


class SecretFile:
    """The bytes of a file without the white space around them; read again whenever the file changes."""

    def __init__(self, path: Path, least: int) -> None:
        """least: bytes that the secret must have."""
        self._path = path
        self._least = least
        self._seen: tuple[int, ...] | None = None
        self._value = b""

    def read(self) -> bytes:
        """The secret as the file holds it now; raises `Unavailable` rather than use one that is no longer there."""
        try:
            # Before the reading: a change in between is seen the next time.
            found = self._path.stat()
            stamp = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._seen:
                self._value, self._seen = self._checked(), stamp
        except OSError as error:
            raise Unavailable(f"Cannot read {self._path}: {(error.strerror or str(error)).lower()}") from error
        return self._value

    def _checked(self) -> bytes:
        with self._path.open("rb") as file:
            value = file.read(_LARGEST + 1).strip()
        if not self._least <= len(value) <= _LARGEST:
            raise Unavailable(f"Cannot use {self._path}: it has {len(value)} bytes; at least {self._least} are needed")
        return value
