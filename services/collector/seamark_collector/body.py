"""Request bodies, bounded one by one and all together, in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from seamark.errors import InvalidInput, Unavailable

__all__ = ["MAX_BODY", "Bodies"]

MAX_BODY = 64 * 1024 * 1024
#: All requests together, from their first byte to their answer. Decoded rows take about as much again.
MAX_HELD = 256 * 1024 * 1024
READ_SECONDS = 30.0


class Bodies:
    """Reads bodies and counts their bytes as held until their request is answered."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body. `InvalidInput` (413) above MAX_BODY, (408) when too slow; `Unavailable` above MAX_HELD."""
        _length_is_allowed(request)
        chunks: list[bytes] = []
        try:
            yield await self._whole(request, chunks)
        finally:
            self._held -= sum(map(len, chunks))

    async def _whole(self, request: Request, chunks: list[bytes]) -> bytes:
        size = 0
        try:
            async with asyncio.timeout(READ_SECONDS):
                async for chunk in request.stream():
                    chunks.append(chunk)
                    size += len(chunk)
                    self._held += len(chunk)
                    self._is_allowed(size)
        except TimeoutError as error:
            raise InvalidInput(f"Cannot read request: took longer than {READ_SECONDS:g} s", status=408) from error
        except ClientDisconnect as error:
            raise InvalidInput("Cannot read request: the client is gone") from error
        return b"".join(chunks)

    def _is_allowed(self, size: int) -> None:
        if size > MAX_BODY:
            raise _too_large(f"more than {MAX_BODY}")
        if self._held > MAX_HELD:
            raise Unavailable("Cannot store now: too many bytes wait")


def _length_is_allowed(request: Request) -> None:
    """Refuse by the declared length, before reading."""
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > MAX_BODY:
        raise _too_large(length[:20])


def _too_large(size: str) -> InvalidInput:
    return InvalidInput(f"Cannot read request: {size} bytes; at most {MAX_BODY} are allowed", status=413)
