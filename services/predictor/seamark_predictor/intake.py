"""What comes in over HTTP before any protocol reads it: ids, content types, bodies; all of it bounded."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # granian lists no names

from seamark.errors import InvalidInput
from seamark_predictor.rows import show

__all__ = ["Bodies", "ClientGone", "header_length", "prediction_id"]

_REQUEST_ID = re.compile(r"[!-~][ -~]{0,126}[!-~]|[!-~]")
_JSON = "application/json"
#: What `curl -d` says when it is told nothing, and what other inference servers take; the body is read as JSON.
_UNSAID = "application/x-www-form-urlencoded"
_BINARY = "application/octet-stream"
_DIGITS = re.compile(r"[0-9]{1,12}")
#: Bytes of a body that is taken in one piece: as many as connections, together little next to the budget.
_SMALL = 64 * 1024
#: Every piece of a body takes 40 us, however small: so many may be small, then they have so many bytes on average.
_SMALL_PIECES = 1000
_LEAST_PIECE = 128


class ClientGone(Exception):  # noqa: N818  # a fact, not an error: there is nobody to answer
    """The client hung up before its body was whole."""


def prediction_id(headers: Any) -> str:
    """The gateway's `x-request-id` where it is usable (1 to 128 printable ASCII characters), else a new one."""
    given = headers.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else f"{_ids.prefix}{next(_ids.numbers):012x}"


class _Ids:
    """80 random bits for the process, then a number: as unique as a UUID at a tenth of the price."""

    def __init__(self) -> None:
        self.prefix = secrets.token_hex(10)
        self.numbers = itertools.count()


_ids = _Ids()


def header_length(headers: Any, *, binary: bool) -> int | None:
    """How many bytes of the body are JSON, None for all; raises `InvalidInput` for types that are not served.

    binary: whether the protocol has the binary data extension.
    """
    kind = (headers.get("content-type") or _JSON).partition(";")[0].strip().lower()
    length = headers.get("inference-header-content-length") if binary else None
    allowed = (_JSON, _BINARY) if length is not None else (_JSON, _UNSAID)
    if kind not in allowed:
        more = f"; {_BINARY} with the header Inference-Header-Content-Length" if binary else ""
        raise InvalidInput(f"Cannot read the body: content type is {show(kind)}; allowed: {_JSON}{more}", status=415)
    if length is None:
        return None
    if not _DIGITS.fullmatch(length):
        raise InvalidInput(
            f"Cannot read the body: Inference-Header-Content-Length is {show(length)}; digits are needed"
        )
    return int(length)


class Bodies:
    """Reads bodies of at most `limit` bytes each and `budget` bytes together, each within `seconds`."""

    def __init__(self, limit: int, budget: int, seconds: float = 30.0) -> None:
        self.limit = limit
        self._budget = budget
        self._held = 0
        self._seconds = seconds
        self._arriving = Arriving(seconds)

    def hold(self, size: int) -> None:
        """A body has become so many bytes more."""
        self._held += size

    def release(self, size: int) -> None:
        """The body is done with."""
        self._held -= size

    async def read(self, headers: Any, proto: Any) -> bytes:
        """The whole body; `release` its length after use. Raises `InvalidInput` or `ClientGone`."""
        announced = headers.get("content-length")
        if announced is None:
            return await self._collect(proto)
        # Most requests come this way: a small body, in one piece.
        if len(announced) < 6 and announced.isascii() and announced.isdecimal() and self._held < self._budget:
            size = int(announced)
            if size <= _SMALL and size <= self.limit:
                return await self._take(proto, size)
        if _DIGITS.fullmatch(announced) is None:
            raise InvalidInput(f"Cannot read the body: Content-Length is {show(announced)}; digits are needed")
        size = int(announced)
        self._room_for(size, size)
        body = await self._collect(proto)
        if len(body) < size:
            self.release(len(body))
            raise ClientGone
        return body

    async def _take(self, proto: Any, size: int) -> bytes:
        place = self._arriving.enter()
        try:
            body: bytes = await proto()
        except asyncio.CancelledError:
            if not self._arriving.is_late(place):
                raise
            raise self._late() from None
        except ProtocolClosed:
            raise ClientGone from None
        finally:
            self._arriving.leave(place)
        if len(body) < size:
            raise ClientGone
        self._held += size
        return body

    async def _collect(self, proto: Any) -> bytes:
        """Piece by piece, so that no more is held than may be."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                async for part in proto:
                    self._room_for(size + len(part), len(part))
                    _refuse_crumbs(len(parts), size)
                    size += len(part)
                    self._held += len(part)
                    parts.append(part)
        except TimeoutError:
            self.release(size)
            raise self._late() from None
        except ProtocolClosed:
            self.release(size)
            raise ClientGone from None
        except BaseException:
            self.release(size)
            raise
        return b"".join(parts)

    def _late(self) -> InvalidInput:
        problem = f"Cannot read the body: it did not arrive within {self._seconds:g} seconds"
        return InvalidInput(problem, status=408)

    def _room_for(self, size: int, more: int) -> None:
        if size > self.limit:
            raise InvalidInput(
                f"Cannot read the body: it has {size} bytes or more; at most {self.limit} are allowed", status=413
            )
        if self._held + more > self._budget:
            raise InvalidInput("Cannot read the body: the server holds as much as it can; try again", status=503)


def _refuse_crumbs(pieces: int, size: int) -> None:
    if pieces > _SMALL_PIECES + size // _LEAST_PIECE:
        raise InvalidInput(
            f"Cannot read the body: its first {size} bytes came in {pieces} pieces; {_LEAST_PIECE} bytes or more in "
            "each are needed"
        )


class Arriving:
    """Ends the tasks that wait for a body longer than `seconds`: one look at all of them now and then, since a timer
    for each would cost more than reading the body."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0
        self._tasks: dict[int, tuple[float, asyncio.Task[Any] | None]] = {}
        self._late: set[int] = set()
        self._watch: asyncio.TimerHandle | None = None

    def enter(self) -> int:
        """The current task waits from now on; returns its place."""
        loop = asyncio.get_running_loop()
        self._next += 1
        self._tasks[self._next] = (loop.time(), asyncio.current_task())
        if self._watch is None:
            self._watch = loop.call_later(self._seconds / 4, self._look)
        return self._next

    def leave(self, place: int) -> None:
        """It waits no more."""
        del self._tasks[place]
        self._late.discard(place)

    def is_late(self, place: int) -> bool:
        """Whether the task at this place was ended from here."""
        return place in self._late

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._seconds / 4, self._look) if self._tasks else None
        oldest = loop.time() - self._seconds
        for place, (since, task) in self._tasks.items():
            if since > oldest:
                break
            if task is not None and place not in self._late:
                self._late.add(place)
                task.cancel()
