"""Finds external data in an ONNX file without loading it.

ONNX Runtime reads external tensors from the working directory even when a model comes from memory, so such a file is
refused before the runtime sees it. Field numbers are those of onnx.proto; the wire format is protobuf's.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["has_external_data"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

#: message -> field number -> message: the ways from a model to a tensor.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def has_external_data(content: bytes) -> bool:
    """Whether any tensor of the model names data outside the file; raises `ValueError` for what is no protobuf."""
    # Without this key no tensor can name a file, and most models end here.
    if b"location" not in content:
        return False
    pending: list[tuple[str, int, int]] = [("model", 0, len(content))]
    while pending:
        message, start, end = pending.pop()
        ways = _FIELDS.get(message, {})
        for field, wire, value, stop in _read_fields(content, start, end):
            if message == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value)):
                return True
            if wire == _LENGTH and field in ways:
                pending.append((ways[field], value, stop))
    return False


def _read_fields(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field, wire type, value or start, end) of each field in content[at:end]."""
    while at < end:
        key, at = _read_varint(content, at, end)
        wire = key & 7
        if wire == _VARINT:
            value, at = _read_varint(content, at, end)
            yield key >> 3, wire, value, at
            continue
        if wire == _LENGTH:
            size, at = _read_varint(content, at, end)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > end:
            raise ValueError(f"a field at byte {at} is longer than its message")
        yield key >> 3, wire, at, at + size
        at += size


def _read_varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError(f"it is cut off at byte {at}")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} is too long")
