"""Compressed bodies: requests as they come, bounded whatever they claim; answers where the client asks for it."""

from __future__ import annotations

import zlib
from typing import Any

from seamark.errors import InvalidInput
from seamark_predictor.rows import show

__all__ = ["WORTH", "compress", "decompress", "encoding_of", "wants_gzip"]

#: Bytes of an answer from which compressing pays.
WORTH = 16 * 1024
_ENCODINGS = ("gzip", "deflate")
#: Detects the header of gzip and of zlib, which HTTP calls deflate.
_ANY = zlib.MAX_WBITS | 32
_GZIP = zlib.MAX_WBITS | 16


def encoding_of(headers: Any) -> str:
    """gzip, deflate or "" for none; raises `InvalidInput` for others."""
    given = headers.get("content-encoding")
    if given is None:
        return ""
    encoding = given.strip().lower()
    if encoding in ("", "identity"):
        return ""
    if encoding not in _ENCODINGS:
        allowed = ", ".join(_ENCODINGS)
        raise InvalidInput(
            f"Cannot read the body: content encoding is {show(encoding)}; allowed: {allowed}, identity", status=415
        )
    return str(encoding)


def decompress(body: bytes, limit: int) -> bytes:
    """The content of a gzip or zlib body, at most `limit` bytes; raises `InvalidInput`."""
    parts: list[bytes] = []
    size = 0
    rest = body
    while rest:
        reader = zlib.decompressobj(_ANY)
        try:
            part = reader.decompress(rest, limit + 1 - size)
        except zlib.error as error:
            raise InvalidInput(f"Cannot read the body: it is not compressed as it says: {error}") from error
        size += len(part)
        if size > limit:
            raise InvalidInput(
                f"Cannot read the body: it has more than {limit} bytes uncompressed, which is all that is allowed",
                status=413,
            )
        if not reader.eof:
            raise InvalidInput("Cannot read the body: it is compressed and cut off")
        parts.append(part)
        rest = reader.unused_data
    return b"".join(parts)


def wants_gzip(headers: Any) -> bool:
    """Whether the client takes gzip."""
    for part in (headers.get("accept-encoding") or "").lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def compress(content: bytes) -> bytes:
    """As gzip, quickly."""
    writer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return writer.compress(content) + writer.flush()
