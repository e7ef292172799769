"""Batches that the collector can never read, kept aside for a person to look at."""

from __future__ import annotations

from pathlib import Path

from seamark_monitor import logs

__all__ = ["set_aside"]

_MOST_FILES = 16
_MOST_BYTES = 64 * 1024 * 1024


def set_aside(folder: Path, sequence: int, body: bytes, reason: str) -> None:
    """Keeps the batch's bytes in `folder`; the oldest go when there are too many. A full disk keeps nothing."""
    logs.event("batch_rejected", sequence=sequence, reason=reason, kept=folder)
    try:
        folder.mkdir(exist_ok=True)
        (folder / f"{sequence:012d}.msgpack").write_bytes(body)
        _prune(folder)
    except OSError as error:
        logs.event("batch_not_kept", sequence=sequence, error=error)


def _prune(folder: Path) -> None:
    files = sorted(folder.glob("*.msgpack"), reverse=True)
    total = 0
    for index, path in enumerate(files):
        total += path.stat().st_size
        if index and (index >= _MOST_FILES or total > _MOST_BYTES):
            path.unlink()
