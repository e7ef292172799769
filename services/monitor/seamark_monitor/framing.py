"""Records in a file that survive a crash: each is found, checked and, where damaged, stepped over on its own.

A record is `marker (8 bytes) | length u32 | count u32 | CRC-32 u32 | payload`, integers little-endian. The marker is
random for each segment and known from outside the data, so no payload can hold a forged record that a reader would
find after damage. The checksum covers length, count and payload.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["LONGEST_PAYLOAD", "MARKER_BYTES", "OVERHEAD", "Damage", "Record", "encode", "scan"]

MARKER_BYTES = 8
_HEADER = struct.Struct("<II")
_CHECKSUM = struct.Struct("<I")
#: Bytes that a record takes beyond its payload.
OVERHEAD = MARKER_BYTES + _HEADER.size + _CHECKSUM.size
#: A prediction comes in a message of at most 16 MiB; the rest is room for its other fields.
LONGEST_PAYLOAD = 17 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """`payload`, from start to end of the file, overhead included; it holds `count` predictions."""

    start: int
    end: int
    count: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """No record from start to end of the file. `lost`: predictions that were there, if it can be told; at least 1."""

    start: int
    end: int
    lost: int


def encode(marker: bytes, count: int, payload: bytes) -> bytes:
    header = _HEADER.pack(len(payload), count)
    checksum = zlib.crc32(payload, zlib.crc32(header))
    return b"".join((marker, header, _CHECKSUM.pack(checksum), payload))


def scan(data: bytes, marker: bytes, base: int = 0) -> Iterator[Record | Damage]:
    """Every intact record in order, and what lies between them. base: where in the file the data begin."""
    start = 0
    while start < len(data):
        found = _record(data, marker, start)
        if found is not None:
            end, count, payload = found
            yield Record(base + start, base + end, count, payload)
        else:
            end = _following(data, marker, start)
            yield Damage(base + start, base + end, _lost(data, marker, start, end))
        start = end


def _record(data: bytes, marker: bytes, start: int) -> tuple[int, int, bytes] | None:
    """Its end, its count and its payload."""
    body = start + OVERHEAD
    if body > len(data) or not data.startswith(marker, start):
        return None
    length, count = _HEADER.unpack_from(data, start + MARKER_BYTES)
    end = body + length
    if length > LONGEST_PAYLOAD or end > len(data):
        return None
    payload = data[body:end]
    header = data[start + MARKER_BYTES : body - _CHECKSUM.size]
    if zlib.crc32(payload, zlib.crc32(header)) != _CHECKSUM.unpack_from(data, body - _CHECKSUM.size)[0]:
        return None
    return end, count, payload


def _following(data: bytes, marker: bytes, start: int) -> int:
    """Where the next record may begin."""
    found = data.find(marker, start + 1)
    return found if found >= 0 else len(data)


def _lost(data: bytes, marker: bytes, start: int, end: int) -> int:
    """The damaged record's own count, where its length shows that the damage is in the payload; else 1."""
    if end - start < OVERHEAD or not data.startswith(marker, start):
        return 1
    length, count = _HEADER.unpack_from(data, start + MARKER_BYTES)
    return max(1, count) if start + OVERHEAD + length == end else 1
