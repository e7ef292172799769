"""The spool: appended is readable after a kill, the oldest goes when full, and the disk may fail at any call."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark_monitor import framing
from seamark_monitor.drops import Drops
from seamark_monitor.spool import Extent, Position, Spool

LIMIT = 64 * 1024
SEGMENT = LIMIT // 16
PAYLOAD = bytes(1_000)


def opened(folder: Path, start: Position | None = None, pinned: Position | None = None) -> tuple[Spool, Drops]:
    drops = Drops()
    return Spool(folder, LIMIT, start or Position(), drops, pinned), drops


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


def payloads_of(extent: Extent) -> list[bytes]:
    return [record.payload for record in extent.records]


def fill(spool: Spool, payloads: Sequence[bytes]) -> None:
    for payload in payloads:
        spool.append(payload, 1)
    asyncio.run(spool.sync())


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%06d" % number + PAYLOAD for number in range(first, first + count)]


def drain(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    while (extent := spool.take(10, 10**6)) is not None:
        found += payloads_of(extent)
        spool.release(extent.end)
    return found


def test_records_come_out_as_they_went_in_over_many_segments(tmp_path: Path) -> None:
    spool, _ = opened(tmp_path)
    payloads = numbered(30)
    fill(spool, payloads)
    assert len(files(tmp_path)) > 5
    assert drain(spool) == payloads
    assert spool.waiting_bytes == 0


def test_only_synced_records_are_read(tmp_path: Path) -> None:
    spool, _ = opened(tmp_path)
    spool.append(b"one", 1)
    assert spool.take(10, 10**6) is None
    asyncio.run(spool.sync())
    spool.append(b"two", 1)
    extent = spool.take(10, 10**6)
    assert extent is not None
    assert payloads_of(extent) == [b"one"]


def test_a_delivered_segment_is_removed(tmp_path: Path) -> None:
    spool, _ = opened(tmp_path)
    fill(spool, numbered(30))
    drain(spool)
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(("most", "most_bytes", "taken"), [(3, 10**6, 3), (100, 2_500, 2), (100, 1, 1)])
def test_a_batch_is_bounded_by_predictions_and_bytes_but_never_empty(
    tmp_path: Path, most: int, most_bytes: int, taken: int
) -> None:
    spool, _ = opened(tmp_path)
    fill(spool, numbered(10))
    extent = spool.take(most, most_bytes)
    assert extent is not None
    assert len(extent.records) == taken


def test_a_new_process_reads_what_a_killed_one_appended(tmp_path: Path) -> None:
    killed, _ = opened(tmp_path)
    for payload in numbered(10):
        killed.append(payload, 1)
    spool, drops = opened(tmp_path)
    fill(spool, numbered(5, 10))
    assert drain(spool) == numbered(15)
    assert not any(drops.by_reason.values())


def test_a_new_process_goes_on_where_the_old_one_was(tmp_path: Path) -> None:
    old, _ = opened(tmp_path)
    fill(old, numbered(10))
    extent = old.take(4, 10**6)
    assert extent is not None
    old.release(extent.end)
    waiting = old.waiting_bytes
    spool, _ = opened(tmp_path, extent.end)
    assert spool.waiting_bytes == waiting
    assert drain(spool) == numbered(10)[4:]


def test_a_formed_batch_is_the_same_after_a_restart(tmp_path: Path) -> None:
    old, _ = opened(tmp_path)
    fill(old, numbered(10))
    formed = old.take(4, 10**6)
    assert formed is not None
    fill(old, numbered(10, 10))
    spool, _ = opened(tmp_path, Position(), formed.end)
    assert spool.take_again(formed.end) == formed
    spool.release(formed.end)
    assert drain(spool) == numbered(20)[4:]


def test_segment_numbers_are_never_used_again(tmp_path: Path) -> None:
    """Else an old position would point into a new file."""
    spool, _ = opened(tmp_path, Position(41, 7))
    fill(spool, [b"new"])
    assert files(tmp_path)[0].name.startswith("000000000042-")
    assert drain(spool) == [b"new"]


def test_a_torn_last_record_is_cut_off(tmp_path: Path) -> None:
    killed, _ = opened(tmp_path)
    fill(killed, numbered(3))
    last = files(tmp_path)[-1]
    size = last.stat().st_size
    os.truncate(last, size - 1)
    spool, drops = opened(tmp_path)
    assert last.stat().st_size == size - framing.OVERHEAD - len(PAYLOAD) - 6
    assert drops.by_reason["corrupt"] == 1
    assert drain(spool) == numbered(2)


def test_damage_in_the_middle_costs_one_record_and_is_counted(tmp_path: Path) -> None:
    killed, _ = opened(tmp_path)
    fill(killed, numbered(3))
    path = files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    spool, _ = opened(tmp_path)
    extent = spool.take(10, 10**6)
    assert (extent.end, payloads_of(extent), extent.lost) == (Position(1, len(data)), numbered(3)[::2], 1)


def test_when_full_the_oldest_whole_segment_goes_and_is_counted(tmp_path: Path) -> None:
    spool, drops = opened(tmp_path)
    payloads = numbered(100)
    fill(spool, payloads)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= LIMIT
    kept = drain(spool)
    assert kept == payloads[-len(kept) :]
    assert len(kept) > 40
    assert drops.by_reason["spool_full"] == 100 - len(kept)


def test_what_was_delivered_is_not_counted_as_dropped(tmp_path: Path) -> None:
    spool, drops = opened(tmp_path)
    payloads = numbered(30)
    fill(spool, payloads)
    extent = spool.take(5, 10**6)
    assert extent is not None
    spool.release(extent.end)
    fill(spool, numbered(70, 30))
    kept = drain(spool)
    assert drops.by_reason["spool_full"] == 100 - 5 - len(kept)


def test_a_batch_on_its_way_is_never_dropped(tmp_path: Path) -> None:
    spool, drops = opened(tmp_path)
    fill(spool, numbered(30))
    formed = spool.take(8, 10**6)
    assert formed is not None
    fill(spool, numbered(100, 30))
    again, _ = opened(tmp_path, Position(), formed.end)
    assert again.take_again(formed.end).records == formed.records
    spool.release(formed.end)
    assert len(drain(spool)) == 130 - 8 - drops.by_reason["spool_full"]


def test_a_batch_stays_when_the_one_before_it_is_released(tmp_path: Path) -> None:
    spool, drops = opened(tmp_path)
    fill(spool, numbered(30))
    first = spool.take(8, 10**6)
    assert first is not None
    second = spool.take(8, 10**6, after=first.end)
    assert second is not None
    assert payloads_of(second) == numbered(16)[8:]
    spool.release(first.end)
    fill(spool, numbered(100, 30))
    assert drops.by_reason["spool_full"] > 0
    assert spool.take_again(second.end).records == second.records


def test_a_record_larger_than_the_limit_drops_nothing_else(tmp_path: Path) -> None:
    spool, drops = opened(tmp_path)
    fill(spool, [b"small"])
    spool.append(bytes(LIMIT), 3)
    assert drops.by_reason == {**Drops().by_reason, "too_large": 3}
    assert drain(spool) == [b"small"]


def failing(call: str, monkeypatch: pytest.MonkeyPatch, number: int, after: int = 0, partly: bool = False) -> None:
    """Makes os.<call> fail from its `after`-th call on; `partly` lets half of a write through first."""
    real, calls = getattr(os, call), 0

    def broken(fd: int, *arguments: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls <= after:
            return int(real(fd, *arguments) or 0)
        if partly and calls == after + 1:
            return int(real(fd, arguments[0][: len(arguments[0]) // 2]))
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, broken)


@pytest.mark.parametrize("partly", [False, True], ids=["nothing written", "half of it written"])
def test_a_full_disk_is_counted_and_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partly: bool
) -> None:
    spool, drops = opened(tmp_path)
    with monkeypatch.context() as patch:
        failing("write", patch, errno.ENOSPC, after=2, partly=partly)
        fill(spool, numbered(5))
    assert drops.by_reason["disk"] == 3
    fill(spool, numbered(2, 5))
    assert drain(spool) == numbered(2) + numbered(2, 5)


def test_on_a_full_disk_what_is_delivered_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool alone on a small volume must get out of this by itself."""
    spool, _ = opened(tmp_path)
    fill(spool, numbered(2))
    drain(spool)
    assert len(files(tmp_path)) == 1
    with monkeypatch.context() as patch:
        failing("write", patch, errno.ENOSPC)
        spool.append(b"refused", 1)
    assert files(tmp_path) == []


def test_a_failed_fsync_is_never_tried_again_on_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, drops = opened(tmp_path)
    fill(spool, [b"safe"])
    spool.append(b"doubtful", 1)
    synced: list[str] = []

    def refuse(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        asyncio.run(spool.sync())
        asyncio.run(spool.sync())
    assert synced == [files(tmp_path)[0].name]
    fill(spool, [b"after"])
    assert len(files(tmp_path)) == 2
    assert drain(spool) == [b"safe", b"doubtful", b"after"]
    assert not any(drops.by_reason.values())


def test_what_is_appended_during_an_fsync_that_fills_the_segment_is_synced_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment is sealed meanwhile, and was once closed with its end not yet safe: nothing was read from then on."""
    spool, drops = opened(tmp_path)
    payloads = numbered(20)
    begun, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(fd: int) -> None:
        begun.set()
        assert go_on.wait(10)
        fsync(fd)

    async def story() -> None:
        spool.append(payloads[0], 1)
        # The folder's own is over before.
        await spool.sync()
        spool.append(payloads[1], 1)
        monkeypatch.setattr(os, "fsync", slow)
        syncing = asyncio.create_task(spool.sync())
        await asyncio.to_thread(begun.wait, 10)
        for payload in payloads[2:]:
            spool.append(payload, 1)
        go_on.set()
        await syncing
        await spool.sync()

    asyncio.run(story())
    assert len(files(tmp_path)) > 3
    assert drain(spool) == payloads
    assert (spool.waiting_bytes, any(drops.by_reason.values())) == (0, False)


def test_a_segment_that_cannot_be_read_is_counted_and_passed(tmp_path: Path) -> None:
    spool, _ = opened(tmp_path)
    fill(spool, numbered(10))
    first = files(tmp_path)[0]
    held = len(list(framing.scan(first.read_bytes(), bytes.fromhex(first.stem.split("-")[1]))))
    first.unlink()
    extent = spool.take(100, 10**6)
    assert extent is not None
    assert extent.lost == held
    assert payloads_of(extent) == numbered(10)[held:]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3_000)),
        st.tuples(st.just("sync"), st.just(0)),
        st.tuples(st.just("ship"), st.integers(1, 9)),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
@settings(deadline=None, max_examples=60)
def test_every_record_is_delivered_once_and_in_order_or_counted(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool, drops = opened(folder)
    written, dropped, delivered, start = 0, 0, [], Position()
    #: The batch that was taken last; it is released when the next one was taken, as the shipper does.
    formed: Extent | None = None
    for action, amount in actions:
        if action == "append":
            spool.append(b"%09d" % written + bytes(amount), 1)
            written += 1
        elif action == "sync":
            asyncio.run(spool.sync())
        elif action == "ship" and (extent := spool.take(amount, 10**6, after=formed and formed.end)):
            delivered += payloads_of(extent)
            if formed:
                start = formed.end
                spool.release(start)
            formed = extent
        elif action == "kill":
            dropped += sum(drops.by_reason.values())
            spool.close()
            spool, drops = opened(folder, start, formed and formed.end)
            if formed:
                assert spool.take_again(formed.end).records == formed.records
    if formed:
        spool.release(formed.end)
    asyncio.run(spool.sync())
    delivered += drain(spool)
    spool.close()
    numbers = [int(payload[:9]) for payload in delivered]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + dropped + sum(drops.by_reason.values()) == written
