"""MessagePack arrays put together from encoded elements, which are not read for it.

Headers as in the MessagePack specification: a fixarray of up to 15 elements, array 16, array 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["array", "length", "merge"]

_FIXARRAY, _MOST_FIXED = 0x90, 15
_ARRAY_16, _ARRAY_32 = 0xDC, 0xDD


def array(elements: Sequence[bytes]) -> bytes:
    """One array of encoded values."""
    return b"".join((_header(len(elements)), *elements))


def merge(arrays: Iterable[bytes]) -> bytes:
    """One array of the elements of encoded arrays, in order; raises `ValueError` for what is no array."""
    count = 0
    parts = [b""]
    for each in arrays:
        size, start = _read(each)
        count += size
        parts.append(each[start:])
    parts[0] = _header(count)
    return b"".join(parts)


def length(encoded: bytes) -> int:
    """How many elements an encoded array says it has; raises `ValueError` for what is no array."""
    return _read(encoded)[0]


def _header(count: int) -> bytes:
    return bytes((_ARRAY_32,)) + count.to_bytes(4, "big")


def _read(encoded: bytes) -> tuple[int, int]:
    """The number of elements, and where they begin."""
    first = encoded[0] if encoded else -1
    if _FIXARRAY <= first <= _FIXARRAY + _MOST_FIXED:
        return first - _FIXARRAY, 1
    start = {_ARRAY_16: 3, _ARRAY_32: 5}.get(first, 0)
    if not start or len(encoded) < start:
        raise ValueError("it does not begin as a MessagePack array")
    return int.from_bytes(encoded[1:start], "big"), start
