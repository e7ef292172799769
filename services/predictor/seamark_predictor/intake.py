"""What comes in over HTTP before any protocol reads it: ids, content types, bodies; all of it bounded."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

from seamark.errors import InvalidInput
from seamark_predictor.rows import show

__all__ = ["Bodies", "ClientGone", "header_length", "prediction_id"]

_REQUEST_ID = re.compile(r"[!-~][ -~]{0,126}[!-~]|[!-~]")
_JSON = "application/json"
#: What `curl -d` says when it is told nothing, and what other inference servers take; the body is read as JSON.
_UNSAID = "application/x-www-form-urlencoded"
_BINARY = "application/octet-stream"
_DIGITS = re.compile(r"[0-9]{1,12}")


class ClientGone(Exception):  # noqa: N818  # a fact, not an error: there is nobody to answer
    """The client hung up before its body was whole."""


def prediction_id(headers: Any) -> str:
    """The gateway's `x-request-id` where it is usable (1 to 128 printable ASCII characters), else a new one."""
    given = headers.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


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
    encoding = (headers.get("content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise InvalidInput(f"Cannot read the body: content encoding is {show(encoding)}; allowed: none", status=415)
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

    def release(self, size: int) -> None:
        """The body is done with."""
        self._held -= size

    async def read(self, headers: Any, proto: Any) -> bytes:
        """The whole body; `release` its length after use. Raises `InvalidInput` or `ClientGone`."""
        announced = headers.get("content-length")
        if announced is not None and _DIGITS.fullmatch(announced) is None:
            raise InvalidInput(f"Cannot read the body: Content-Length is {show(announced)}; digits are needed")
        if announced is not None:
            self._room_for(int(announced), int(announced))
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                async for part in proto:
                    self._room_for(size + len(part), len(part))
                    size += len(part)
                    self._held += len(part)
                    parts.append(part)
            if announced is not None and size < int(announced):
                raise ClientGone
        except TimeoutError as error:
            self.release(size)
            raise InvalidInput(
                f"Cannot read the body: it did not arrive within {self._seconds:g} seconds", status=408
            ) from error
        except BaseException:
            self.release(size)
            raise
        return b"".join(parts)

    def _room_for(self, size: int, more: int) -> None:
        if size > self.limit:
            raise InvalidInput(
                f"Cannot read the body: it has {size} bytes or more; at most {self.limit} are allowed", status=413
            )
        if self._held + more > self._budget:
            raise InvalidInput("Cannot read the body: the server holds as much as it can; try again", status=503)
