"""Tensors of the Open Inference Protocol v2: datatypes, JSON data, and the binary data extension."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark_predictor.rows import numbers_of, refuse_values, show

__all__ = [
    "BYTES",
    "DATATYPES",
    "LIMITS",
    "Tensor",
    "datatype_of",
    "flatten",
    "pack_texts",
    "to_numbers",
    "unpack_numbers",
    "unpack_texts",
    "wrong_shape",
]

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
#: The least and the largest value of the datatypes of whole numbers.
LIMITS: dict[str, tuple[int, int]] = {"BOOL": (0, 1)} | {
    f"{prefix}{bits}": limits
    for bits in (8, 16, 32, 64)
    for prefix, limits in (("UINT", (0, 2**bits - 1)), ("INT", (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)))
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


class Tensor(msgspec.Struct, frozen=True, eq=False):
    """An input as it came. content: its binary data, or None when `data` holds JSON values, flat or nested.

    data: numbers may come as a flat array of float64 where the plane `is_numeric`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: object
    content: memoryview | None = None


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a numpy type."""
    return _NAMES[dtype]


def flatten(data: object, rows: int, width: int, name: str) -> list[Any] | NDArray[np.float64]:
    """Tensor data as one row-major list or array; it may come flat or as one list for each row."""
    if isinstance(data, np.ndarray):
        if len(data) != rows * width:
            raise wrong_shape(name, f"its data has {len(data)} values; its shape says {rows * width}")
        return data
    if type(data) is not list:
        raise wrong_shape(name, f"its data is {show(data)}; a list is needed")
    values = data
    if values and type(values[0]) is list:
        if any(type(row) is not list or len(row) != width for row in values):
            raise wrong_shape(name, f"its data has a row that is not a list of {width} values")
        values = list(chain.from_iterable(values))
    if len(values) != rows * width:
        raise wrong_shape(name, f"its data has {len(values)} values; its shape says {rows * width}")
    return values


def wrong_shape(name: str, problem: str) -> InvalidInput:
    return InvalidInput(f"Cannot read input {show(name)}: {problem}", violations=(("", "shape", 1),))


def to_numbers(values: list[Any] | NDArray[np.float64], datatype: str, features: Sequence[str]) -> NDArray[np.float64]:
    """JSON numbers, row by row over `features`, as the datatype holds them, widened to float64; null is NaN."""
    numbers = numbers_of(values, features)
    dtype = DATATYPES[datatype]
    if dtype.kind == "f":
        if dtype.itemsize == 8:
            return numbers
        with np.errstate(over="ignore"):
            return numbers.astype(dtype).astype(np.float64)
    low, high = LIMITS[datatype]
    fits = np.isnan(numbers) | ((numbers >= low) & (numbers <= high) & (np.floor(numbers) == numbers))
    if not fits.all():
        wrong = np.flatnonzero(~fits).tolist()
        refuse_values(values, wrong, features, f"{datatype} takes whole numbers from {low} to {high}")
    return numbers


def unpack_numbers(content: memoryview, datatype: str, size: int, name: str) -> NDArray[np.float64]:
    """Binary tensor data, widened to float64."""
    dtype = DATATYPES[datatype]
    if len(content) != size * dtype.itemsize:
        raise wrong_shape(name, f"{len(content)} bytes came; {size} values of {datatype} take {size * dtype.itemsize}")
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
            raise wrong_shape(name, f"text {len(texts)} is not UTF-8") from error
        at = end
    if at != len(content) or len(texts) != size:
        raise wrong_shape(name, f"{len(content)} bytes do not hold {size} texts, each after its length")
    return texts


def pack_texts(texts: list[str]) -> bytes:
    """BYTES data as it travels."""
    parts: list[bytes] = []
    for text in texts:
        content = text.encode()
        parts += (len(content).to_bytes(4, "little"), content)
    return b"".join(parts)
