"""What a download may take."""

from __future__ import annotations

import time
from dataclasses import dataclass

from seamark.errors import InvalidPackage

__all__ = ["Budget", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """size: bytes of all files, unpacked; files: how many; seconds: for all of it.

    attempts: tries of one request, with pauses of 0.5, 1, 2... seconds (`pause`) between them.
    """

    size: int = 4 * 1024**3
    files: int = 10_000
    seconds: float = 1800.0
    attempts: int = 5
    pause: float = 0.5


class Budget:
    """What is left of the limits of one download. what: the address, as it may be shown."""

    def __init__(self, limits: Limits, what: str) -> None:
        self.limits = limits
        self.what = what
        self._end = time.monotonic() + limits.seconds
        self._size = 0
        self._files = 0

    def file(self) -> None:
        """One more file; raises `InvalidPackage`."""
        self._files += 1
        if self._files > self.limits.files:
            raise InvalidPackage(f"Cannot fetch {self.what}: it holds more than {self.limits.files} files")

    def take(self, size: int) -> None:
        """So many bytes more; raises `InvalidPackage`."""
        self._size += size
        if self._size > self.limits.size:
            raise InvalidPackage(f"Cannot fetch {self.what}: it has more than {self.limits.size} bytes")
        if self.seconds_left() <= 0:
            raise InvalidPackage(f"Cannot fetch {self.what}: it takes more than {self.limits.seconds:g} seconds")

    def give_back(self, size: int) -> None:
        """Bytes of a try that failed, or of an archive that is unpacked."""
        self._size -= size

    def fits(self, size: int) -> None:
        """Raises `InvalidPackage` where so many bytes are announced and not allowed."""
        self.take(size)
        self.give_back(size)

    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def pause(self, tried: int) -> bool:
        """Waits before the next try; False when there is none. tried: how often so far."""
        wait = self.limits.pause * 2.0 ** (tried - 1)
        if tried >= self.limits.attempts or wait >= self.seconds_left():
            return False
        time.sleep(wait)
        return True
