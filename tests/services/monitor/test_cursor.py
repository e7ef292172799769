"""The cursor: replaced as a whole, and never the same source for two spools."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from seamark_monitor.cursor import Cursor, load, save
from seamark_monitor.spool import Position


@pytest.mark.parametrize("end", [None, Position(3, 90)])
def test_a_saved_cursor_is_loaded_as_it_was(tmp_path: Path, end: Position | None) -> None:
    cursor = Cursor("monitor-1-ab", 7, Position(2, 40), end)
    save(tmp_path, cursor)
    assert load(tmp_path, "monitor-1") == cursor


def test_the_first_load_makes_a_source_that_stays(tmp_path: Path) -> None:
    first = load(tmp_path, "monitor-1")
    assert first.source.startswith("monitor-1-")
    assert load(tmp_path, "renamed") == first


def test_a_spool_deleted_and_made_again_has_another_source(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert load(tmp_path / "a", "monitor-1").source != load(tmp_path / "b", "monitor-1").source


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"source": 1}', b"[]", b"[" * 100_000])
def test_an_unreadable_cursor_begins_again_under_a_new_source(tmp_path: Path, content: bytes) -> None:
    first = load(tmp_path, "monitor-1")
    (tmp_path / "cursor.json").write_bytes(content)
    second = load(tmp_path, "monitor-1")
    assert second == Cursor(second.source)
    assert second.source != first.source


def test_on_a_full_disk_the_reserve_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, Cursor("s"))
    assert (tmp_path / "reserve").stat().st_size > 0
    real = os.fsync

    def full_while_reserved(fd: int) -> None:
        if (tmp_path / "reserve").exists():
            raise OSError(errno.ENOSPC, "no space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full_while_reserved)
    save(tmp_path, Cursor("s", 1))
    assert load(tmp_path, "s").sequence == 1


def test_a_failed_save_leaves_the_old_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, Cursor("s", 1))

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="input/output"):
        save(tmp_path, Cursor("s", 2))
    assert load(tmp_path, "s").sequence == 1
