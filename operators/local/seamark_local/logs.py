"""The children's log files: each child appends to its own; the supervisor keeps them small."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

__all__ = ["MAX_LOG", "follow", "last_line", "previous", "size", "tail", "trim"]

#: Bytes. At most twice this is kept per process: the log and the one before.
MAX_LOG = 5 * 2**20
TAIL = 64 * 1024
LONGEST_LINE = 300
FOLLOW_INTERVAL = 0.2


def previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def trim(path: Path, limit: int = MAX_LOG) -> None:
    """Move a log that has grown beyond `limit` bytes aside and empty it; only its last `limit` bytes are kept.

    The child keeps its descriptor (it appends, so it goes on at the new end); what it writes between the copy and
    the emptying is lost.
    """
    length = size(path)
    if length <= limit:
        return
    draft = path.with_name(f".{path.name}.1")
    with path.open("rb") as log, draft.open("wb") as copy:
        log.seek(length - limit)
        shutil.copyfileobj(log, copy)
    draft.replace(previous(path))
    os.truncate(path, 0)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, at most 64 KiB of them."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, size(path) - TAIL))
            content = log.read(TAIL)
    except OSError:
        return []
    return content.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []


def last_line(path: Path, start: int = 0) -> str:
    """The last line that says something, of what was written after byte `start`; "" when there is none."""
    length = size(path)
    # A log shorter than before was trimmed since: all of it is new.
    start = start if start <= length else 0
    try:
        with path.open("rb") as log:
            log.seek(max(start, length - 4096))
            content = log.read(4096).decode(errors="replace")
    except OSError:
        return ""
    said = [line.strip() for line in content.splitlines() if line.strip()]
    return said[-1][:LONGEST_LINE] if said else ""


def follow(path: Path, at: int, show: Callable[[str], object]) -> NoReturn:
    """Show each line written after byte `at`; goes on after the log was emptied. Ends only by interruption."""
    rest = b""
    while True:
        length = size(path)
        at = at if length >= at else 0
        if length == at:
            time.sleep(FOLLOW_INTERVAL)
            continue
        with path.open("rb") as log:
            log.seek(at)
            piece = log.read(TAIL)
        at += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            show(line.decode(errors="replace"))
