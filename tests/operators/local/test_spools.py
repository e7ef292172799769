"""A spool looked at from outside shows what the monitor itself would say: its own code makes these spools."""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from seamark_local import spools
from seamark_monitor import cursor as cursors
from seamark_monitor import rejected
from seamark_monitor.drops import Drops
from seamark_monitor.spool import Extent, Position, Spool

LIMIT = 64 * 1024


class Monitor:
    """The disk side of a monitor."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.cursor = cursors.load(folder, "m-1-0")
        self.spool = Spool(folder, LIMIT, self.cursor.start, Drops(), self.cursor.end)

    def append(self, records: int, size: int = 100) -> None:
        for _ in range(records):
            self.spool.append(bytes(size), 1)
        asyncio.run(self.spool.sync())

    def form(self, most: int = 1000) -> Extent:
        """A batch that is about to be posted."""
        extent = self.spool.take(most, 10**9)
        assert extent is not None
        self._save(sequence=self.cursor.sequence + 1, end=extent.end)
        return extent

    def deliver(self, most: int = 1000) -> None:
        end = self.form(most).end
        self._save(start=end, end=None)
        self.spool.release(end)

    def _save(self, **changes: object) -> None:
        self.cursor = replace(self.cursor, **changes)  # type: ignore[arg-type]  # the callers name its fields
        cursors.save(self.folder, self.cursor)


@pytest.fixture
def monitor(tmp_path: Path) -> Monitor:
    return Monitor(tmp_path / "m-1-0")


def unsent(folder: Path) -> int:
    seen = spools.look(folder)
    assert seen is not None
    return seen.unsent


def test_where_no_monitor_ever_ran_there_is_no_spool(tmp_path: Path) -> None:
    assert spools.look(tmp_path / "none") is None
    assert not spools.in_use(tmp_path / "none")


def test_a_new_spool_is_empty(monitor: Monitor) -> None:
    seen = spools.look(monitor.folder)
    assert seen is not None
    assert (seen.unsent, seen.rejected) == (0, False)


def test_what_is_on_disk_is_unsent_until_it_is_delivered_to_the_last_byte(monitor: Monitor) -> None:
    monitor.append(10)
    assert unsent(monitor.folder) == monitor.spool.waiting_bytes > 0
    monitor.deliver(most=4)
    assert unsent(monitor.folder) == monitor.spool.waiting_bytes > 0
    monitor.form()
    assert unsent(monitor.folder) == monitor.spool.waiting_bytes > 0, "posted is not stored"
    monitor.deliver()
    assert unsent(monitor.folder) == monitor.spool.waiting_bytes == 0


def test_a_spool_of_several_segments_is_summed(monitor: Monitor) -> None:
    monitor.append(60, size=500)
    assert len(list(monitor.folder.glob("*.segment"))) > 3
    while monitor.spool.waiting_bytes:
        assert unsent(monitor.folder) == monitor.spool.waiting_bytes
        monitor.deliver(most=7)
    assert unsent(monitor.folder) == 0


def test_what_is_left_by_a_kill_between_delivery_and_removal_is_sent(monitor: Monitor) -> None:
    monitor.append(60, size=500)
    (monitor.folder / "000000000000-0123456789abcdef.segment").write_bytes(b"delivered before")
    assert unsent(monitor.folder) == monitor.spool.waiting_bytes + len(b"delivered before")
    monitor.deliver(most=30)
    assert unsent(monitor.folder) == monitor.spool.waiting_bytes


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"start": 3}', b'{"start": {"segment": "x"}}', b"\xff"])
def test_without_a_readable_cursor_all_counts_as_unsent_as_the_monitor_would_send_it(
    monitor: Monitor, content: bytes
) -> None:
    monitor.append(10)
    all_of_it = unsent(monitor.folder)
    monitor.deliver()
    (monitor.folder / "cursor.json").write_bytes(content)
    assert unsent(monitor.folder) == all_of_it
    (monitor.folder / "cursor.json").unlink()
    assert unsent(monitor.folder) == all_of_it


def test_set_aside_batches_are_seen_and_are_not_unsent(monitor: Monitor) -> None:
    rejected.set_aside(monitor.folder / "rejected", 1, b"batch", "status 400")
    seen = spools.look(monitor.folder)
    assert seen is not None
    assert (seen.unsent, seen.rejected) == (0, True)


def test_the_last_change_is_the_newest_of_all_files(monitor: Monitor) -> None:
    monitor.append(1)
    (segment,) = monitor.folder.glob("*.segment")
    os.utime(segment, (4e9, 4e9))
    seen = spools.look(monitor.folder)
    assert seen is not None
    assert seen.changed == 4e9


def test_a_monitor_that_holds_its_spool_is_seen(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert not spools.in_use(tmp_path)
    with (tmp_path / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert spools.in_use(tmp_path)
    assert not spools.in_use(tmp_path)


def test_a_position_is_written_as_others_read_it(monitor: Monitor) -> None:
    cursors.save(monitor.folder, replace(monitor.cursor, start=Position(7, 11)))
    (monitor.folder / "000000000007-0123456789abcdef.segment").write_bytes(bytes(20))
    assert unsent(monitor.folder) == 9
