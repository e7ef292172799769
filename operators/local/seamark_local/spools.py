"""A monitor's spool as others may see it, by the layout of its folder that docs/architecture.md gives."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SpoolSeen", "in_use", "look"]

_SEGMENT = re.compile(r"(\d{12})-[0-9a-f]{16}\.segment")


@dataclass(frozen=True, slots=True)
class SpoolSeen:
    """unsent: bytes of predictions that the collector may not have. changed: Unix seconds of the last change.

    rejected: batches that the collector refused are kept there for a person to look at.
    """

    unsent: int
    changed: float
    rejected: bool


def look(folder: Path) -> SpoolSeen | None:
    """What is in the spool now; None when there is none. Raises OSError where that cannot be told.

    While its monitor runs, `unsent` may be too large and is never too small.
    """
    # First, because it only moves on: with a later one, predictions that came in between would look sent.
    segment, offset = _delivered(folder)
    try:
        found = list(_files(folder))
    except FileNotFoundError:
        return None
    numbered = [(int(match[1]), stat.st_size) for name, stat in found if (match := _SEGMENT.fullmatch(name))]
    unsent = sum(size if number > segment else max(0, size - offset) for number, size in numbered if number >= segment)
    rejected = any((folder / "rejected").glob("*.msgpack"))
    return SpoolSeen(unsent, max([folder.stat().st_mtime, *(stat.st_mtime for _, stat in found)]), rejected)


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for entry in os.scandir(folder):
        try:
            yield entry.name, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            # The monitor has delivered and removed it meanwhile.
            continue


def _delivered(folder: Path) -> tuple[int, int]:
    """(segment, offset) before which all is delivered. Without a readable cursor the monitor would send all again."""
    try:
        start = json.loads((folder / "cursor.json").read_bytes())["start"]
        return int(start["segment"]), int(start["offset"])
    except FileNotFoundError:
        return 0, 0
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0, 0


def in_use(folder: Path) -> bool:
    """Whether a monitor holds the spool."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
