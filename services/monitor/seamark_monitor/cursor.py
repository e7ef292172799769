"""How far the log was delivered: one small file, replaced as a whole and synced before anything relies on it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from seamark_monitor import logs
from seamark_monitor.spool import Position

__all__ = ["Cursor", "load", "save"]

_FILE = "cursor.json"
_TEMPORARY = "cursor.json.new"
#: Room for the next cursor on a full disk: without it no batch could be delivered, and so no room ever be made.
_RESERVE = "reserve"
_RESERVE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """source: the spool's name at the collector, for its whole life. sequence: of the last batch formed, 0 for none.

    All before `start` is delivered. `end` closes batch `sequence` while nobody knows that it was delivered, else None:
    it was written before the batch was first posted, so that a repeat holds the same predictions.
    """

    source: str
    sequence: int = 0
    start: Position = field(default_factory=Position)
    end: Position | None = None


def load(folder: Path, name: str) -> Cursor:
    """The folder's cursor; where there is none that can be read, a new one with a source never used before.

    A random part in the source keeps (source, sequence) unique when a spool is deleted and made again.
    """
    path = folder / _FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        logs.event("cursor_unreadable", path=path, error=error, consequence="the whole spool is sent again")
    cursor = Cursor(f"{name}-{os.urandom(6).hex()}")
    save(folder, cursor)
    return cursor


def save(folder: Path, cursor: Cursor) -> None:
    """Durable when it returns; raises OSError and leaves the old cursor otherwise."""
    content = msgspec.json.encode(cursor)
    try:
        _replace(folder, content)
    except OSError:
        (folder / _RESERVE).unlink(missing_ok=True)
        _replace(folder, content)
    _keep_reserve(folder)


def _replace(folder: Path, content: bytes) -> None:
    _write(folder / _TEMPORARY, content)
    (folder / _TEMPORARY).replace(folder / _FILE)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


def _keep_reserve(folder: Path) -> None:
    path = folder / _RESERVE
    try:
        if not path.exists():
            _write(path, bytes(_RESERVE_BYTES))
    except OSError:
        path.unlink(missing_ok=True)
