"""From spool to collector: at least once, in order, each batch the same whenever it is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import cast

import httpx
import msgspec

from seamark.package import Schema
from seamark.records import Block, LogBatch
from seamark_monitor import cursor as cursors
from seamark_monitor import logs, rejected
from seamark_monitor.cursor import Cursor
from seamark_monitor.drops import Drops
from seamark_monitor.framing import Record
from seamark_monitor.spool import Extent, Position, Spool

__all__ = ["Labels", "Shipper"]

#: Predictions and bytes after which a batch is full.
BATCH_PREDICTIONS = 8_000
BATCH_BYTES = 4 * 1024 * 1024
#: Seconds between looks at the spool, and between attempts (doubling).
INTERVAL = 0.25
FIRST_BACKOFF, LAST_BACKOFF = 0.2, 5.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
#: Answers that no repeat of the same bytes can change. Others are tried again: a wrong address's 404, and the 401 and
#: 403 for a token too, because keys change on one side first.
_HOPELESS = (400, 413, 415, 422)
_LONGEST_REASON = 2_000
#: Bytes sent at a time.
_PIECE = 128 * 1024
#: How a block begins, and every MessagePack map of up to 15 fields: four bits of the first byte.
_MAP, _IS_MAP = 0x80, 0xF0

_encoder = msgspec.msgpack.Encoder()


class Answer(Enum):
    STORED = auto()
    REFUSED = auto()
    LATER = auto()


@dataclass(frozen=True, slots=True)
class _Batch:
    """All that is kept while it is on its way: the bytes to post, how many predictions they hold, where they end."""

    sequence: int
    end: Position
    count: int
    body: bytes


Labels = tuple[str, str, str]


class Shipper:
    """To the collector's address, with a token if it is not "". labels: namespace, deployment, revision of batches."""

    def __init__(
        self,
        folder: Path,
        cursor: Cursor,
        spool: Spool,
        collector: str,
        token: str,
        labels: Labels,
        schema: Schema,
        drops: Drops,
    ) -> None:
        self._folder = folder
        self._cursor = cursor
        self._spool = spool
        self._address = f"{collector.rstrip('/')}/v1/batches"
        self._headers = {"content-type": "application/msgpack"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._labels = labels
        self._schema = schema
        self._drops = drops
        self._trouble = ""
        #: All before is delivered, and neither the cursor nor the spool knows.
        self._delivered: Position | None = None

    async def run(self) -> None:
        """Until cancelled."""
        # Environment proxies are for the world outside; the collector is next door.
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
            if self._cursor.end is not None:
                again = self._spool.take_again(self._cursor.end)
                await self._deliver(client, self._batch(again, self._cursor.sequence))
            while True:
                extent = self._spool.take(BATCH_PREDICTIONS, BATCH_BYTES, after=self._delivered)
                if extent is None:
                    await self._confirm(self._cursor.sequence, None)
                    await asyncio.sleep(INTERVAL)
                    continue
                batch = self._batch(extent, self._cursor.sequence + 1)
                if batch.count:
                    await self._confirm(batch.sequence, batch.end)
                await self._deliver(client, batch)

    async def _confirm(self, sequence: int, end: Position | None) -> None:
        """Saves what was delivered and, in the same write, which batch is next: each write waits for the disk."""
        cursor = Cursor(self._cursor.source, sequence, self._delivered or self._cursor.start, end)
        if cursor != self._cursor:
            await self._save(cursor)
        if self._delivered is not None:
            self._spool.release(self._delivered)
            self._delivered = None

    def _batch(self, extent: Extent, sequence: int) -> _Batch:
        self._drops.add("corrupt", extent.lost)
        records = [record for record in extent.records if self._is_readable(record)]
        batch = LogBatch(
            self._cursor.source,
            sequence,
            *self._labels,
            list(self._schema.numbers),
            list(self._schema.categories),
            list(self._schema.outputs),
            # Already encoded: the encoder copies them as they are.
            cast(list[Block], [msgspec.Raw(record.payload) for record in records]),
        )
        count = sum(record.count for record in records)
        return _Batch(sequence, extent.end, count, _encoder.encode(batch) if count else b"")

    def _is_readable(self, record: Record) -> bool:
        """Its checksum is right; but another version of this service may have written what is no block."""
        if record.payload[:1] and record.payload[0] & _IS_MAP == _MAP:
            return True
        logs.event("record_unreadable", count=record.count)
        self._drops.add("corrupt", record.count)
        return False

    async def _deliver(self, client: httpx.AsyncClient, batch: _Batch) -> None:
        """Posts the batch until it is stored or refused for good."""
        if batch.count:
            await self._post_until_answered(client, batch)
        self._delivered = batch.end

    async def _post_until_answered(self, client: httpx.AsyncClient, batch: _Batch) -> None:
        backoff = FIRST_BACKOFF
        while True:
            answer, reason = await self._post(client, batch.body)
            self._say(answer, reason)
            if answer is Answer.REFUSED:
                self._drops.add("rejected", batch.count)
                rejected.set_aside(self._folder / "rejected", batch.sequence, batch.body, reason)
            if answer is not Answer.LATER:
                return
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LAST_BACKOFF)

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> tuple[Answer, str]:
        try:
            headers = {**self._headers, "content-length": str(len(body))}
            async with client.stream("POST", self._address, content=_pieces(body), headers=headers) as response:
                # What is not read to its end costs the connection.
                said = await _beginning(response)
                if response.status_code == 200:
                    return Answer.STORED, ""
                reason = f"status {response.status_code}: {said}"
                return (Answer.REFUSED if response.status_code in _HOPELESS else Answer.LATER), reason
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer.LATER, f"{type(error).__name__}: {error}"

    def _say(self, answer: Answer, reason: str) -> None:
        """A trouble is logged when it begins or changes, and when it ends."""
        trouble = reason if answer is Answer.LATER else ""
        if trouble != self._trouble:
            logs.event("collector_unavailable" if trouble else "collector_answers", reason=trouble or "-")
        self._trouble = trouble

    async def _save(self, cursor: Cursor) -> None:
        """Nothing goes on before the cursor is on disk: a batch posted under a forgotten sequence could be lost."""
        backoff = FIRST_BACKOFF
        while True:
            try:
                await asyncio.to_thread(cursors.save, self._folder, cursor)
                break
            except OSError as error:
                logs.event("cursor_not_saved", error=error)
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LAST_BACKOFF)
        self._cursor = cursor


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """The body bit by bit: sending it holds up nobody, and the requests, which httpx keeps for long, hold no body."""
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


async def _beginning(response: httpx.Response) -> str:
    text = b""
    async for chunk in response.aiter_bytes():
        text += chunk
        if len(text) >= _LONGEST_REASON:
            break
    return text[:_LONGEST_REASON].decode(errors="replace")
