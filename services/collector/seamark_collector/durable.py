"""What power loss must not take: delta-rs writes and renames, but does not flush. Local folders only.

Every commit is flushed before the next one starts and before anybody is told, so only the last can be torn.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

__all__ = ["drop_torn_commit", "flush_commits"]

log = logging.getLogger(__name__)


def flush_commits(table: Path, versions: Iterable[int]) -> None:
    """Force these commits, the files they add and their checkpoints to disk."""
    folder = table / "_delta_log"
    for version in versions:
        entry = folder / f"{version:020}.json"
        if not entry.exists():
            continue
        files = [table / path for path, _ in _added(entry)]
        for path in (*files, entry, *folder.glob(f"{version:020}.checkpoint*.parquet")):
            _flush(path)
        for parent in {path.parent for path in files}:
            _flush(parent)
    for path in (folder, table, *list(table.parents)[:3]):
        _flush(path)


def drop_torn_commit(table: Path) -> None:
    """Set aside the table's last commit if a power loss left it, or a file it adds, incomplete.

    Such a commit was never acknowledged: its sender still has the rows and sends them again.
    """
    entry = max((table / "_delta_log").glob(f"{'[0-9]' * 20}.json"), default=None)
    if entry is None or not _is_torn(table, entry):
        return
    entry.rename(entry.with_suffix(".torn"))
    _flush(entry.parent)
    log.warning("event=commit_set_aside table=%s commit=%s reason=incomplete", table, entry.name)


def _is_torn(table: Path, entry: Path) -> bool:
    try:
        added = _added(entry)
        return entry.stat().st_size == 0 or any((table / path).stat().st_size != size for path, size in added)
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return True


def _added(entry: Path) -> list[tuple[str, int]]:
    """(path, size) of the files a commit adds. Paths in the log are percent-encoded."""
    actions = [json.loads(line) for line in entry.read_text().splitlines() if line]
    return [(unquote(action["add"]["path"]), action["add"]["size"]) for action in actions if "add" in action]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
