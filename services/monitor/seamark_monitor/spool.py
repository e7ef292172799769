"""Predictions waiting on disk for the collector: an append log in segments, oldest dropped when full.

- `append` returns once the operating system has the bytes: killing the process loses nothing appended.
- `sync` makes them safe from a power cut; the service calls it every 0.2 s, so a power cut loses the predictions of the
  last 0.2 s and of the fsync then running. Only synced bytes are shipped, so no batch can change after it was formed.
- After a failed fsync nobody knows what the disk holds, and a second fsync of that file would lie: the segment takes no
  more and is never synced again; a new one takes over.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seamark_monitor import framing, logs, segments
from seamark_monitor.drops import Drops, Reason
from seamark_monitor.segments import Segment

__all__ = ["Extent", "Position", "Spool"]

_LARGEST_SEGMENT = 4 * 1024 * 1024
#: The limit holds at least so many segments, so that dropping one is a small loss.
_SEGMENTS_IN_LIMIT = 16
#: Seconds between attempts to open a segment on a disk that refuses.
_REOPEN_AFTER = 1.0


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two records: a segment's number and an offset in bytes."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Extent:
    """What lies before `end`: records in order. `lost`: predictions in damaged places between them."""

    end: Position
    records: tuple[framing.Record, ...]
    lost: int


class Spool:
    """One writer and one reader, both in the event loop's thread.

    folder: exists, and is this process's alone. limit: bytes on disk. start: all before it is delivered.
    pinned: the end of a batch that was formed and not yet delivered; its segments are never dropped.
    """

    def __init__(self, folder: Path, limit: int, start: Position, drops: Drops, pinned: Position | None = None) -> None:
        self._folder = folder
        self._limit = limit
        self._segment_size = min(_LARGEST_SEGMENT, limit // _SEGMENTS_IN_LIMIT)
        self._drops = drops
        self._start = start
        self._pinned = pinned
        self._segments = self._left_behind()
        highest = max(start.segment, pinned.segment if pinned else 0, *(s.number for s in self._segments), 0)
        self._next_number = highest + 1
        self._reopen_at = 0.0
        self._folder_changed = True
        self._syncing = asyncio.Lock()

    def _left_behind(self) -> list[Segment]:
        """What an earlier process left, without what is delivered and without a last record cut off by its death."""
        left = []
        found = segments.find(self._folder)
        for segment in found:
            if segment.number < self._start.segment:
                segment.remove()
                continue
            self._inspect(segment, last=segment is found[-1])
            left.append(segment)
        return left

    def _inspect(self, segment: Segment, last: bool) -> None:
        place: framing.Record | framing.Damage | None = None
        for place in framing.scan(segment.read(0, segment.size), segment.marker):
            if isinstance(place, framing.Record):
                segment.count += place.count
                segment.taken += place.count if self._is_delivered(segment, place.end) else 0
        if last and isinstance(place, framing.Damage):
            logs.event("torn_tail_cut", segment=segment.path.name, bytes=segment.size - place.start)
            self._drops.add("corrupt", place.lost)
            os.truncate(segment.path, place.start)
            segment.size = segment.synced = place.start
        descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            logs.event("fsync_failed", segment=segment.path.name, error=error)
        finally:
            os.close(descriptor)

    def _is_delivered(self, segment: Segment, end: int) -> bool:
        return segment.number == self._start.segment and end <= self._start.offset

    @property
    def waiting_bytes(self) -> int:
        """Bytes on disk not yet delivered."""
        behind = self._start.offset if self._segments and self._segments[0].number == self._start.segment else 0
        return max(0, self._size() - behind)

    def _size(self) -> int:
        return sum(segment.size for segment in self._segments)

    # Writing

    def append(self, payload: bytes, count: int) -> None:
        """Puts one record of `count` predictions in the log, or counts them as dropped."""
        needed = len(payload) + framing.OVERHEAD
        if len(payload) > framing.LONGEST_PAYLOAD or needed > self._limit:
            self._drops.add("too_large", count)
        elif not self._make_room(needed):
            self._drops.add("spool_full", count)
        else:
            self._write_or_count(payload, count)

    def _write_or_count(self, payload: bytes, count: int) -> None:
        try:
            self._write(payload, count)
        except OSError as error:
            if not self._drops.by_reason["disk"]:
                logs.event("spool_write_failed", error=error)
            self._drops.add("disk", count)
            self._seal_active()

    def _seal_active(self) -> None:
        """Only a sealed segment is removed once delivered, and on a full disk that is what makes room."""
        active = self._active()
        if active and active.size:
            active.sealed = True
            self._remove_finished()

    def _write(self, payload: bytes, count: int) -> None:
        segment = self._active() or self._open_segment()
        if segment.size and segment.size + len(payload) + framing.OVERHEAD > self._segment_size:
            segment.sealed = True
            segment = self._open_segment()
        segment.append(framing.encode(segment.marker, count, payload), count)

    def _active(self) -> Segment | None:
        last = self._segments[-1] if self._segments else None
        return last if last and not last.sealed and last.fd is not None else None

    def _open_segment(self) -> Segment:
        if time.monotonic() < self._reopen_at:
            raise OSError(errno.EIO, "the disk refused a new segment a moment ago")
        try:
            segment = segments.create(self._folder, self._next_number)
        except OSError:
            self._reopen_at = time.monotonic() + _REOPEN_AFTER
            raise
        self._next_number += 1
        self._segments.append(segment)
        self._folder_changed = True
        return segment

    def _make_room(self, needed: int) -> bool:
        while self._size() + needed > self._limit:
            if not self._drop_oldest("spool_full"):
                return False
        return True

    def _drop_oldest(self, reason: Reason) -> bool:
        """Drops the oldest segment that no formed batch needs."""
        for index, segment in enumerate(self._segments):
            if self._pinned and segment.number <= self._pinned.segment:
                continue
            del self._segments[index]
            self._drops.add(reason, segment.count - segment.taken)
            segment.remove()
            return True
        return False

    # Making safe

    async def sync(self) -> None:
        """Makes all that was appended before the call safe from a power cut; a failure is logged and worked around."""
        async with self._syncing:
            if self._folder_changed:
                self._folder_changed = False
                await self._sync_folder()
            for segment in list(self._segments):
                if segment.fd is not None and segment.synced < segment.size:
                    await self._sync_segment(segment)
                # What was appended while that took its time is for the next time, and needs the descriptor.
                if segment.sealed and segment.synced == segment.size:
                    segment.close()

    async def _sync_segment(self, segment: Segment) -> None:
        assert segment.fd is not None
        size = segment.size
        # A copy, because the segment may be dropped and its descriptor's number used again meanwhile.
        descriptor = os.dup(segment.fd)
        try:
            await asyncio.to_thread(os.fsync, descriptor)
        except OSError as error:
            logs.event("fsync_failed", segment=segment.path.name, error=error)
            segment.sealed = True
            segment.close()
            size = segment.size
        finally:
            os.close(descriptor)
        segment.synced = size

    async def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await asyncio.to_thread(os.fsync, descriptor)
        except OSError as error:
            logs.event("fsync_failed", folder=self._folder, error=error)
        finally:
            os.close(descriptor)

    # Reading

    def take(self, most: int, most_bytes: int, after: Position | None = None) -> Extent | None:
        """The next records: up to about `most` predictions and `most_bytes` bytes; None when nothing waits.

        They stay pinned on disk until `release`. after: the end of what was taken before and not released yet.
        """
        records: list[framing.Record] = []
        count = lost = size = 0
        start = end = after or self._start
        for segment, place in self._places(start):
            if isinstance(place, framing.Damage):
                lost += place.lost
            elif records and (count + place.count > most or size + len(place.payload) > most_bytes):
                break
            else:
                records.append(place)
                count += place.count
                size += len(place.payload)
                segment.taken += place.count
            end = Position(segment.number, place.end)
        if end == start:
            return None
        self._pinned = end
        return Extent(end, tuple(records), lost)

    def take_again(self, end: Position) -> Extent:
        """The records up to `end`, as a batch formed before a restart held them."""
        records: list[framing.Record] = []
        lost = 0
        for segment, place in self._places(self._start):
            if Position(segment.number, place.end) > end:
                break
            if isinstance(place, framing.Damage):
                lost += place.lost
                continue
            records.append(place)
            segment.taken += place.count
        self._pinned = end
        return Extent(end, tuple(records), lost)

    def _places(self, start: Position) -> Iterator[tuple[Segment, framing.Record | framing.Damage]]:
        for segment in list(self._segments):
            if segment.number < start.segment:
                continue
            offset = start.offset if segment.number == start.segment else 0
            for place in self._read(segment, offset):
                yield segment, place
            if segment.synced < segment.size:
                return

    def _read(self, segment: Segment, offset: int) -> Iterator[framing.Record | framing.Damage]:
        try:
            data = segment.read(offset, segment.synced)
        except OSError as error:
            logs.event("spool_read_failed", segment=segment.path.name, error=error)
            return iter([framing.Damage(offset, segment.synced, max(1, segment.count - segment.taken))])
        return framing.scan(data, segment.marker, offset)

    def release(self, end: Position) -> None:
        """All before `end` is delivered: its segments go."""
        self._start = end
        if self._pinned is not None and self._pinned <= end:
            self._pinned = None
        self._remove_finished()

    def _remove_finished(self) -> None:
        while self._segments and self._is_finished(self._segments[0]):
            self._segments.pop(0).remove()

    def _is_finished(self, segment: Segment) -> bool:
        if segment.number < self._start.segment:
            return True
        return segment.number == self._start.segment and segment.sealed and self._start.offset >= segment.size

    def close(self) -> None:
        for segment in self._segments:
            segment.close()
