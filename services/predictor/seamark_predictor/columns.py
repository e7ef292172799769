"""Tensors into rows of features, for models with a schema: one tensor with all features, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark_predictor.rows import Column, Reader, Rows, show, texts_of
from seamark_predictor.tensors import (
    BYTES,
    DATATYPES,
    Tensor,
    flatten,
    to_numbers,
    unpack_numbers,
    unpack_texts,
    wrong_shape,
)

__all__ = ["instances_to_rows", "tensors_to_rows"]


def tensors_to_rows(tensors: Sequence[Tensor], reader: Reader) -> Rows:
    """Raises `InvalidInput`."""
    first = tensors[0]
    rows, width = _rows_and_width(first)
    if len(tensors) == 1 and (width > 1 or first.name not in reader.is_number):
        return _matrix(first, rows, width, reader)
    reader.names_fit([tensor.name for tensor in tensors], rows)
    columns: dict[str, Column] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise InvalidInput(f"Cannot read input {show(tensor.name)}: it is there twice")
        columns[tensor.name] = _column(tensor, rows, reader)
    return reader.assemble(columns, rows)


def _rows_and_width(tensor: Tensor) -> tuple[int, int]:
    shape = tensor.shape
    if not 1 <= len(shape) <= 2 or 0 in shape:
        problem = f"shape is {show(list(shape))}; [rows] or [rows, features], both at least 1, is needed"
        raise wrong_shape(tensor.name, problem)
    return shape[0], (shape[1] if len(shape) == 2 else 1)


def _matrix(tensor: Tensor, rows: int, width: int, reader: Reader) -> Rows:
    needed = len(reader.names)
    if width != needed:
        raise wrong_shape(
            tensor.name, f"shape is [{rows}, {width}]; [rows, {needed}] or one tensor for each feature is needed"
        )
    if reader.has_numbers and reader.has_texts:
        raise wrong_shape(tensor.name, "the model takes numbers and texts; send one tensor for each feature")
    if reader.has_numbers:
        return Rows(_numbers(tensor, rows, width, reader.names).reshape(rows, width), [])
    texts = _texts(tensor, rows, width, reader.names)
    return Rows(np.empty((rows, 0)), [texts[i::width] for i in range(width)])


def _column(tensor: Tensor, rows: int, reader: Reader) -> Column:
    own, width = _rows_and_width(tensor)
    if own != rows or width != 1:
        problem = f"shape is [{own}, {width}]; one column of {rows} rows is needed, as the first has"
        raise wrong_shape(tensor.name, problem)
    if reader.is_number[tensor.name]:
        return _numbers(tensor, rows, 1, (tensor.name,))
    return _texts(tensor, rows, 1, (tensor.name,))


def _numbers(tensor: Tensor, rows: int, width: int, features: tuple[str, ...]) -> NDArray[np.float64]:
    if tensor.datatype == BYTES:
        _refuse_datatype(tensor, rows, features, f"a number needs one of {', '.join(DATATYPES)}")
    if tensor.content is not None:
        return unpack_numbers(tensor.content, tensor.datatype, rows * width, tensor.name)
    return to_numbers(flatten(tensor.data, rows, width, tensor.name), tensor.datatype, features)


def _texts(tensor: Tensor, rows: int, width: int, features: tuple[str, ...]) -> list[str | None]:
    if tensor.datatype != BYTES:
        _refuse_datatype(tensor, rows, features, "a category needs BYTES")
    if tensor.content is not None:
        return unpack_texts(tensor.content, rows * width, tensor.name)
    return texts_of(list(flatten(tensor.data, rows, width, tensor.name)), features)


def _refuse_datatype(tensor: Tensor, rows: int, features: tuple[str, ...], allowed: str) -> NoReturn:
    raise InvalidInput(
        f"Cannot read input {show(tensor.name)}: datatype is {tensor.datatype}; {allowed}",
        violations=tuple((feature, "type", rows) for feature in features),
    )


def instances_to_rows(key: str, values: Any, reader: Reader) -> Rows:
    """A list of rows, each a list in schema order or an object by name; `inputs` may be lists by name as well."""
    if isinstance(values, np.ndarray):
        return reader.from_array(values)
    if key == "inputs" and isinstance(values, dict) and values:
        return reader.from_columns(values, _length(values))
    if not isinstance(values, list) or not values:
        raise InvalidInput(
            f"Cannot read {key}: it is {show(values)}; a list of at least one row is needed",
            violations=(("", "shape", 1),),
        )
    return reader.from_records(values) if isinstance(values[0], dict) else reader.from_lists(values)


def _length(columns: dict[str, Any]) -> int:
    """How many values every column has."""
    for name, values in columns.items():
        if not isinstance(values, list) or not values:
            raise InvalidInput(
                f"Cannot read feature {show(name)}: it is {show(values)}; a list of at least one value is needed",
                violations=(("", "shape", 1),),
            )
    return len(next(iter(columns.values())))
