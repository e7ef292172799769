"""Tensors as numpy arrays of the datatype a model takes, refusing what would change a value; and arrays as values.

Whole numbers stay what they are or are refused. Floats may be rounded to the model's precision, and whole numbers to
the nearest float; a finite number never becomes infinite.
"""

from __future__ import annotations

from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark_predictor.model import Spec
from seamark_predictor.plane import Values
from seamark_predictor.rows import show
from seamark_predictor.tensors import BYTES, DATATYPES, LIMITS, Tensor, unpack_texts, wrong_shape

__all__ = ["listed", "shape_of", "to_array", "to_values", "zeros"]

#: Axes that nested JSON lists may have.
_DEEPEST = 8
#: Values that a tensor's shape may speak of, axes of no size left out: numpy cannot even say a shape beyond its reach.
_LARGEST = 2**31
#: What a larger float may be too large for.
_LARGEST_FLOATS = {"FP16": float(np.finfo(np.float16).max), "FP32": float(np.finfo(np.float32).max)}


def to_array(tensor: Tensor, spec: Spec) -> NDArray[Any]:
    """An array of its own, of the spec's datatype and a shape that fits it: texts as objects. Raises `InvalidInput`."""
    shape = _fitted_shape(tensor, spec)
    if (tensor.datatype == BYTES) != (spec.datatype == BYTES):
        problem = f"datatype is {tensor.datatype}; the model takes {spec.datatype}"
        raise InvalidInput(f"Cannot read input {show(tensor.name)}: {problem}")
    if spec.datatype == BYTES:
        return _texts(tensor).reshape(shape)
    numbers = _parsed(tensor) if tensor.content is None else _unpacked(tensor, tensor.content)
    return _cast(numbers, spec.datatype, tensor.name).reshape(shape)


def _fitted_shape(tensor: Tensor, spec: Spec) -> tuple[int, ...]:
    """The spec's own: a last axis of 1 may be there or not, since clients differ about a list of values."""
    shape, wanted = tensor.shape, spec.shape
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    elif len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        shape = (*shape, 1)
    if len(shape) != len(wanted) or any(want not in (-1, got) for got, want in zip(shape, wanted, strict=True)):
        problem = f"shape is {list(tensor.shape)}; the model takes {list(wanted)}, -1 being any size"
        raise wrong_shape(tensor.name, problem)
    if prod(n for n in shape if n) > _LARGEST:
        raise wrong_shape(tensor.name, f"shape is {list(shape)}; at most {_LARGEST} values are allowed")
    return shape


def _texts(tensor: Tensor) -> NDArray[Any]:
    size = prod(tensor.shape)
    if tensor.content is not None:
        values: list[Any] = list(unpack_texts(tensor.content, size, tensor.name))
    else:
        values = _flat(tensor, size)
        if not {str}.issuperset(map(type, values)):
            wrong = next(value for value in values if type(value) is not str)
            raise InvalidInput(f"Cannot read input {show(tensor.name)}: it holds {show(wrong)}; a text is needed")
    array = np.empty(size, dtype=object)
    array[:] = values
    return array


def _unpacked(tensor: Tensor, content: memoryview) -> NDArray[Any]:
    """Of the tensor's own datatype; copied, because it may begin anywhere in the body and a model may write to it."""
    size, dtype = prod(tensor.shape), DATATYPES[tensor.datatype]
    if len(content) != size * dtype.itemsize:
        needed = f"{size} values of {tensor.datatype} take {size * dtype.itemsize}"
        raise wrong_shape(tensor.name, f"{len(content)} bytes came; {needed}")
    if tensor.datatype != "BOOL":
        return np.frombuffer(content, dtype=dtype).copy()
    return _cast(np.frombuffer(content, dtype=np.uint8), "BOOL", tensor.name)


def _parsed(tensor: Tensor) -> NDArray[Any]:
    """Of the tensor's own datatype, flat."""
    values = _flat(tensor, prod(tensor.shape))
    kinds = set(map(type, values))
    if not kinds <= {int, float, bool}:
        wrong = next(value for value in values if type(value) not in (int, float, bool))
        raise InvalidInput(f"Cannot read input {show(tensor.name)}: it holds {show(wrong)}; a number is needed")
    datatype = tensor.datatype
    if DATATYPES[datatype].kind == "f":
        return _cast(np.array(values, dtype=np.float64), datatype, tensor.name)
    # Python compares integers and floats exactly; numpy would round the large ones first.
    low, high = LIMITS[datatype]
    candidates = values if float in kinds or not values else (min(values), max(values))
    wrong = next((value for value in candidates if not _is_whole(value, low, high)), None)
    if wrong is not None:
        _refuse(wrong, datatype, tensor.name)
    return np.array([int(value) for value in values] if float in kinds else values, dtype=DATATYPES[datatype])


def _is_whole(value: float, low: int, high: int) -> bool:
    # The JSON reader makes floats of whole numbers beyond 64 bits: this one may have been smaller than it is now.
    is_rounded = type(value) is float and value == -(2.0**63)
    return low <= value <= high and value == int(value) and not is_rounded


def _cast(array: NDArray[Any], datatype: str, name: str) -> NDArray[Any]:
    """To the datatype; raises `InvalidInput` for a value that it does not have."""
    dtype = DATATYPES[datatype]
    if array.dtype == dtype or array.dtype.kind == "b" or not array.size:
        return array.astype(dtype, copy=False)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            found = array.astype(dtype)
        wrong = np.isinf(found) & np.isfinite(array)
    elif array.dtype.kind == "f":
        low, high = LIMITS[datatype]
        wide = array.astype(np.float64)
        # high itself may be no float; the power of two above it is one.
        wrong = ~((wide >= low) & (wide < high + 1) & (np.floor(wide) == wide))
        found = np.where(wrong, 0, wide).astype(dtype)
    else:
        low, high = LIMITS[datatype]
        wrong = (array < low) | (array > high)
        found = array.astype(dtype)
    if wrong.any():
        _refuse(array[wrong][0].item(), datatype, name)
    return found


def _refuse(value: object, datatype: str, name: str) -> NoReturn:
    if datatype in LIMITS:
        low, high = LIMITS[datatype]
        allowed = f"whole numbers from {low} to {high}"
    else:
        allowed = f"numbers from {-_LARGEST_FLOATS[datatype]:.5g} to {_LARGEST_FLOATS[datatype]:.5g}"
    raise InvalidInput(f"Cannot read input {show(name)}: it holds {show(value)}; {datatype} takes {allowed}")


def _flat(tensor: Tensor, size: int) -> list[Any]:
    """The data as one list; nested lists must have the tensor's shape."""
    values, shape = tensor.data, tensor.shape
    if type(values) is not list:
        if shape == () and not isinstance(values, dict):
            return [values]
        raise wrong_shape(tensor.name, f"its data is {show(values)}; a list is needed")
    for n in shape[1:]:
        if not values or type(values[0]) is not list:
            break
        if any(type(part) is not list or len(part) != n for part in values):
            raise wrong_shape(tensor.name, f"its nested lists do not have the shape {list(shape)}")
        values = [value for part in values for value in part]
    if len(values) != size:
        raise wrong_shape(tensor.name, f"its data has {len(values)} values; its shape says {size}")
    return values


def shape_of(data: Any) -> tuple[int, ...]:
    """By the first element of each level; `to_array` checks the others."""
    shape: list[int] = []
    while isinstance(data, list) and len(shape) < _DEEPEST:
        shape.append(len(data))
        if not data:
            break
        data = data[0]
    return tuple(shape)


def zeros(spec: Spec) -> NDArray[Any]:
    """Zeros or empty texts, with 1 for axes of any size."""
    shape = tuple(1 if n < 0 else n for n in spec.shape)
    if spec.datatype == BYTES:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=DATATYPES[spec.datatype])


def to_values(array: NDArray[Any], spec: Spec) -> Values:
    """What a transport writes."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if spec.datatype == BYTES:
        return Values(spec.name, BYTES, array.shape, [_text(value) for value in flat.tolist()])
    return Values(spec.name, spec.datatype, array.shape, flat)


def listed(array: NDArray[Any]) -> Any:
    """Nested lists of JSON's own types; of a scalar the value itself."""
    if array.dtype.kind not in "OSU":
        return array.tolist()
    texts = [_text(value) for value in array.reshape(-1).tolist()]
    nested = np.empty(array.size, dtype=object)
    nested[:] = texts
    return nested.reshape(array.shape).tolist()


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
