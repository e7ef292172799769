"""An export on its way: a thread writes Arrow into a pipe, the event loop sends what comes out of it.

The pipe is small and blocks, so a slow client slows the scan and costs no memory; a client that goes closes it,
which ends the scan.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

import pyarrow as pa
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from seamark.errors import Unavailable
from seamark_collector.export import Export

__all__ = ["MAX_EXPORTS", "Exports"]

log = logging.getLogger(__name__)

#: At a time: each takes a processor and up to a file's columns of memory from the writer.
MAX_EXPORTS = 2
MEDIA_TYPE = "application/vnd.apache.arrow.stream"
#: Bytes read from the pipe, and collected before they are written to it.
CHUNK = 256 * 1024
#: Seconds a client may take for one chunk, and for all: the files that compaction replaces are kept for twice that.
STALL_SECONDS = 60.0
LONGEST_SECONDS = 3600.0


class Exports:
    """Runs at most MAX_EXPORTS at a time."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_EXPORTS)
        self._threads = ThreadPoolExecutor(MAX_EXPORTS, thread_name_prefix="export")

    def response(self, export: Export) -> StreamingResponse:
        return _Response(self, export)

    async def begin(self, export: Export) -> _Pipe:
        """The export, running; raises `Unavailable` where too many run."""
        if not self._free.acquire(blocking=False):
            raise Unavailable(f"Cannot export now: {MAX_EXPORTS} exports run already")
        reading, writing = os.pipe()
        written = self._threads.submit(_write, export, os.fdopen(writing, "wb", CHUNK))
        # By the thread: until it has ended, so has not what it costs.
        written.add_done_callback(lambda _: self._free.release())
        return await _Pipe.open(reading, written)


class _Pipe:
    """The reading end, and what becomes of the thread at the other."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport, written: Future[None]) -> None:
        self._reader = reader
        self._transport = transport
        self._written = written

    @classmethod
    async def open(cls, descriptor: int, written: Future[None]) -> _Pipe:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(CHUNK, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(descriptor, "rb", 0))
        return cls(reader, transport, written)

    async def chunks(self) -> AsyncIterator[bytes]:
        """All bytes; raises what ended them early."""
        while chunk := await self._reader.read(CHUNK):
            yield chunk
        await asyncio.wrap_future(self._written)

    def close(self) -> None:
        self._transport.close()


class _Response(StreamingResponse):
    """Ends the connection, not the answer, where the rows end early: a client must not take a part for all."""

    def __init__(self, exports: Exports, export: Export) -> None:
        super().__init__(_nothing(), headers={"x-seamark-version": str(export.version)}, media_type=MEDIA_TYPE)
        self._exports = exports
        self._export = export

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pipe = await self._exports.begin(self._export)
        self.body_iterator = pipe.chunks()
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await super().__call__(scope, receive, _impatient(send))
        except Exception as error:
            log.warning("event=export_failed table=%s error=%r", self._export.name, repr(error)[:1000])
        finally:
            pipe.close()


def _impatient(send: Send) -> Send:
    async def within_time(message: Message) -> None:
        async with asyncio.timeout(STALL_SECONDS):
            await send(message)

    return within_time


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _write(export: Export, pipe: IO[bytes]) -> None:
    """Runs in a thread until all is written or nobody reads."""
    rows = 0
    with contextlib.suppress(BrokenPipeError), pipe:
        writer = pa.ipc.new_stream(pipe, export.schema)
        for batch in export.batches():
            writer.write_batch(batch)
            rows += batch.num_rows
        # Only here: it writes the mark of the end, by which a reader knows that it has all.
        writer.close()
        pipe.flush()
        log.info("event=exported table=%s version=%d rows=%d", export.name, export.version, rows)
