"""One supervisor per home: an advisory lock on a file, which the kernel lets go when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seamark.errors import Conflict, UserError

__all__ = ["hold", "holder"]

#: Seconds to try: `holder` takes the lock for an instant only to ask.
PATIENCE = 0.5


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds the lock; raises `Conflict` naming the process that has it, `UserError` where the disk refuses."""
    descriptor = _open(path)
    try:
        if not _locked_in_time(descriptor):
            pid = _read_pid(descriptor)
            raise Conflict(f"Cannot start: Seamark is already running in {path.parent} (pid {pid or 'unknown'})")
        _write_pid(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}") from error


def _write_pid(descriptor: int, path: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}") from error


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock, 0 when it has not said so yet, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if _try_lock(descriptor, fcntl.LOCK_SH):
            return None
        return _read_pid(descriptor)
    finally:
        os.close(descriptor)


def _locked_in_time(descriptor: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not _try_lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _try_lock(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else 0
