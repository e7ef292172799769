"""Tensors of the Open Inference Protocol v2: datatypes, JSON data, and the binary data extension."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark_predictor.rows import numbers_of, show

__all__ = ["BYTES", "DATATYPES", "datatype_of", "flatten", "pack_texts", "to_numbers", "unpack_numbers", "unpack_texts"]

BYTES = "BYTES"
#: The numeric datatypes, little-endian as they travel.
DATATYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a numpy type."""
    return _NAMES[dtype]


def flatten(data: object, shape: list[int], name: str) -> list[Any]:
    """Tensor data as one row-major list; it may come flat or nested as `shape` says."""
    size = math.prod(shape)
    values = data
    for depth, length in enumerate(shape):
        if type(values) is not list:
            raise _wrong_shape(name, shape, f"its data is {show(data)}")
        if not values or type(values[0]) is not list:
            break
        if len(values) != math.prod(shape[: depth + 1]) or depth + 1 == len(shape):
            raise _wrong_shape(name, shape, f"its data has {len(values)} entries at depth {depth + 1}")
        if any(type(entry) is not list or len(entry) != shape[depth + 1] for entry in values):
            raise _wrong_shape(name, shape, f"its data has uneven lists at depth {depth + 2} (length {length} above)")
        values = [value for entry in values for value in entry]
    assert isinstance(values, list)
    if len(values) != size:
        raise _wrong_shape(name, shape, f"its data has {len(values)} values, the shape says {size}")
    return values


def _wrong_shape(name: str, shape: list[int], problem: str) -> InvalidInput:
    return InvalidInput(
        f"Cannot read input {show(name)} of shape {show(shape)}: {problem}", violations=(("", "shape", 1),)
    )


def to_numbers(values: list[Any], datatype: str, name: str) -> NDArray[np.float64]:
    """JSON numbers as the datatype holds them, widened to float64."""
    numbers = numbers_of(values, name)
    dtype = DATATYPES[datatype]
    if dtype.kind == "f":
        if dtype.itemsize == 8:
            return numbers
        with np.errstate(over="ignore"):
            return numbers.astype(dtype).astype(np.float64)
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    fits = (numbers >= low) & (numbers <= high) & (np.floor(numbers) == numbers)
    if not fits.all():
        wrong = int(np.argmin(fits))
        raise InvalidInput(
            f"Cannot read input {show(name)}: value {wrong} is {show(values[wrong])}; "
            f"{datatype} takes whole numbers from {low} to {high}",
            violations=((name, "type", int((~fits).sum())),),
        )
    return numbers


def unpack_numbers(content: memoryview, datatype: str, size: int, name: str) -> NDArray[np.float64]:
    """Binary tensor data, widened to float64."""
    dtype = DATATYPES[datatype]
    if len(content) != size * dtype.itemsize:
        raise InvalidInput(
            f"Cannot read input {show(name)}: {len(content)} bytes came, "
            f"{size} values of {datatype} take {size * dtype.itemsize}",
            violations=(("", "shape", 1),),
        )
    return np.frombuffer(content, dtype=dtype).astype(np.float64)


def unpack_texts(content: memoryview, size: int, name: str) -> list[str | None]:
    """Binary BYTES data: each text after its length, 4 bytes little-endian."""
    texts: list[str | None] = []
    at = 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        end = at + 4 + length
        if end > len(content) or len(texts) == size:
            break
        try:
            texts.append(str(content[at + 4 : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"Cannot read input {show(name)}: text {len(texts)} is not UTF-8",
                violations=((name, "type", 1),),
            ) from error
        at = end
    if at != len(content) or len(texts) != size:
        raise InvalidInput(
            f"Cannot read input {show(name)}: {len(content)} bytes do not hold {size} texts, each after its length",
            violations=(("", "shape", 1),),
        )
    return texts


def pack_texts(texts: list[str]) -> bytes:
    """BYTES data as it travels."""
    parts: list[bytes] = []
    for text in texts:
        content = text.encode()
        parts += (len(content).to_bytes(4, "little"), content)
    return b"".join(parts)

