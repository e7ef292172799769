"""`seamark down`: ask the supervisor of a home to stop, and wait until it has."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from seamark.errors import Unavailable
from seamark_local.lock import holder

__all__ = ["down"]

PATIENCE = 30.0
INTERVAL = 0.05


def down(lock: Path, patience: float = PATIENCE) -> int | None:
    """The pid of the supervisor that stopped, or None when none ran; raises `Unavailable` when it does not stop.

    The supervisor lets the lock go only after the last of its children has ended.
    """
    deadline = time.monotonic() + patience
    asked: int | None = None
    while (pid := holder(lock)) is not None and pid == (asked or pid):
        if pid and asked is None and _ask_to_stop(pid, lock):
            asked = pid
        if time.monotonic() > deadline:
            raise Unavailable(f"Cannot stop Seamark (pid {pid}): it still runs after {patience:g} s")
        time.sleep(INTERVAL)
    return asked


def _ask_to_stop(pid: int, lock: Path) -> bool:
    """Whether the process that holds the lock was sent SIGTERM; False when it is another one by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Through the descriptor: the number may belong to another process by now, the descriptor cannot.
        if holder(lock) != pid:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
