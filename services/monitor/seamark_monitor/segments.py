"""One file of the spool. Its name holds its number and its records' marker, so that neither can rot with the data."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from seamark_monitor import framing

__all__ = ["Segment", "create", "find"]

_NAME = re.compile(r"(\d{12})-([0-9a-f]{16})\.segment")


@dataclass(slots=True, eq=False)
class Segment:
    """fd is open while records are appended and until the last fsync, else None.

    size: bytes written. synced: bytes that a power cut leaves. count: predictions in it. taken: those read to be
    shipped. sealed: nothing more is appended.
    """

    path: Path
    number: int
    marker: bytes
    fd: int | None = None
    size: int = 0
    synced: int = 0
    count: int = 0
    taken: int = 0
    sealed: bool = False

    def append(self, data: bytes, count: int) -> None:
        """Writes all of `data`, or raises OSError and leaves the file as it was; sealed if it could not."""
        assert self.fd is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError:
            self._restore()
            raise
        self.size += len(data)
        self.count += count

    def _restore(self) -> None:
        assert self.fd is not None
        try:
            os.ftruncate(self.fd, self.size)
        except OSError:
            self.sealed = True

    def read(self, start: int, end: int) -> bytes:
        """data[start:end] as far as the file reaches."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def create(folder: Path, number: int) -> Segment:
    """A new, empty segment, open for appending."""
    marker = os.urandom(framing.MARKER_BYTES)
    path = folder / f"{number:012d}-{marker.hex()}.segment"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
    return Segment(path, number, marker, fd=descriptor)


def find(folder: Path) -> list[Segment]:
    """The segments that an earlier process left, oldest first, as far as their names tell."""
    found = []
    for path in folder.iterdir():
        if match := _NAME.fullmatch(path.name):
            size = path.stat().st_size
            marker = bytes.fromhex(match[2])
            found.append(Segment(path, int(match[1]), marker, size=size, synced=size, sealed=True))
    return sorted(found, key=lambda segment: segment.number)
