"""A model of free tensors: what comes must fit the model's own inputs, by name, datatype and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark_predictor import logs
from seamark_predictor.model import ModelError, Spec, TensorModel
from seamark_predictor.plane import Recorded, Values
from seamark_predictor.rows import names_text, show
from seamark_predictor.tensors import BYTES, DATATYPES, LIMITS, Tensor, unpack_texts, wrong_shape

__all__ = ["Arrays", "TensorPlane"]

#: Axes that nested JSON lists may have.
_DEEPEST = 8


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """One request's inputs by name, or a model's outputs. count: the first axis of the first one, 1 for a scalar."""

    by_name: Mapping[str, NDArray[Any]]

    @property
    def count(self) -> int:
        first = next(iter(self.by_name.values()))
        return int(first.shape[0]) if first.ndim else 1


class TensorPlane:
    """One model that says itself what tensors it takes."""

    def __init__(self, model: TensorModel, *, name: str, revision: str, digest: str) -> None:
        self.name = name
        self.revision = revision
        self.digest = digest
        self.platform = model.platform
        self.inputs = model.inputs
        self.outputs = model.outputs
        self._model = model
        self._specs = {spec.name: spec for spec in model.inputs}

    def from_tensors(self, tensors: Sequence[Tensor]) -> Arrays:
        """Every input once, converted to the model's datatype where no value is lost."""
        arrays: dict[str, NDArray[Any]] = {}
        for tensor in tensors:
            if tensor.name in arrays:
                raise InvalidInput(f"Cannot read input {show(tensor.name)}: it is there twice")
            spec = self._specs.get(tensor.name)
            if spec is None:
                known = names_text(list(self._specs))
                raise InvalidInput(
                    f"Cannot read input {show(tensor.name)}: the model has no such input; it has {known}"
                )
            arrays[tensor.name] = _array(tensor, spec)
        return self._complete(arrays)

    def _complete(self, arrays: dict[str, NDArray[Any]]) -> Arrays:
        absent = [name for name in self._specs if name not in arrays]
        if absent:
            raise InvalidInput(f"Cannot predict: missing input {names_text(absent)}")
        return Arrays({name: arrays[name] for name in self._specs})

    def from_instances(self, key: str, values: Any) -> Arrays:
        """A list of rows: each the one input's row, or an object with a row of each input."""
        if key == "inputs" and isinstance(values, dict):
            columns = values
        elif not isinstance(values, list) or not values:
            raise InvalidInput(f"Cannot read {key}: it is {show(values)}; a list of at least one row is needed")
        elif isinstance(values[0], dict):
            columns = self._by_name(values)
        elif len(self._specs) == 1:
            columns = dict.fromkeys(self._specs, values)
        else:
            known = names_text(list(self._specs))
            raise InvalidInput(f"Cannot read {key}: the model has several inputs, so each row is an object: {known}")
        return self.from_tensors([self._tensor(name, data) for name, data in columns.items()])

    def _by_name(self, rows: list[Any]) -> dict[str, list[Any]]:
        names = list(rows[0])
        for i, row in enumerate(rows):
            if not isinstance(row, dict) or list(row) != names:
                raise InvalidInput(
                    f"Cannot read row {i}: it is {show(row)}; an object with {names_text(names)} is needed"
                )
        return {name: [row[name] for row in rows] for name in names}

    def _tensor(self, name: str, data: Any) -> Tensor:
        spec = self._specs.get(name)
        datatype = spec.datatype if spec else "FP64"
        return Tensor(name, datatype, _shape_of(data), data)

    def refuse_bare(self, batch: Arrays, complaint: str) -> None:  # noqa: ARG002  # no feature to name
        """JSON has no NaN and no Infinity; binary tensors may hold them."""
        raise InvalidInput(f"Cannot read the body: it is not JSON: {complaint}")

    def warm_up(self) -> None:
        """One run on zeros. A model may refuse zeros or a single row, so a failure is told and no more."""
        arrays = {spec.name: _zeros(spec) for spec in self.inputs}
        try:
            self.predict(Arrays(arrays))
        except ModelError as error:
            logs.event("not_warm", level=30, model=self.name, reason=str(error.__cause__ or error)[:300])

    def predict(self, batch: Arrays) -> Arrays:
        """Raises `ModelError`."""
        wanted = [spec.name for spec in self.outputs]
        try:
            found = self._model.infer(batch.by_name, wanted)
        except InvalidInput:
            raise
        except Exception as error:
            # A model may raise anything.
            raise ModelError("the model raised") from error
        return Arrays({name: np.asarray(found[name]) for name in wanted})

    def to_tensors(self, answer: Arrays, names: Sequence[str]) -> list[Values]:
        """By name; texts as texts."""
        types = {spec.name: spec.datatype for spec in self.outputs}
        return [_values(name, types[name], answer.by_name[name]) for name in names]

    def to_document(self, answer: Arrays) -> dict[str, Any]:
        """`predictions`: the one output's rows, or objects with a row of each output; columns where rows differ."""
        columns = {name: _listed(array) for name, array in answer.by_name.items()}
        if len(columns) == 1:
            return {"predictions": next(iter(columns.values()))}
        lengths = {len(column) if isinstance(column, list) else -1 for column in columns.values()}
        if len(lengths) > 1 or -1 in lengths:
            return {"predictions": columns}
        rows = zip(*columns.values(), strict=True)
        return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}

    def recorded(self, batch: Arrays, answer: Arrays | None) -> Recorded:  # noqa: ARG002  # it has no features to record
        """Requests are counted; free tensors have no place in the prediction log."""
        return Recorded(b"", [], b"")


def _zeros(spec: Spec) -> NDArray[Any]:
    shape = tuple(1 if n < 0 else n for n in spec.shape)
    if spec.datatype == BYTES:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=DATATYPES[spec.datatype])


def _array(tensor: Tensor, spec: Spec) -> NDArray[Any]:
    shape = tensor.shape
    fits = len(shape) == len(spec.shape) and all(want in (-1, got) for got, want in zip(shape, spec.shape, strict=True))
    if not fits:
        raise wrong_shape(tensor.name, f"shape is {list(shape)}; the model takes {list(spec.shape)}, -1 being any size")
    if (tensor.datatype == BYTES) != (spec.datatype == BYTES):
        problem = f"datatype is {tensor.datatype}; the model takes {spec.datatype}"
        raise InvalidInput(f"Cannot read input {show(tensor.name)}: {problem}")
    if spec.datatype == BYTES:
        return _texts(tensor)
    return _cast(_numbers(tensor), tensor.name, spec.datatype)


def _texts(tensor: Tensor) -> NDArray[Any]:
    size = prod(tensor.shape)
    if tensor.content is not None:
        values: list[Any] = list(unpack_texts(tensor.content, size, tensor.name))
    else:
        values = _flat(tensor, size)
        if any(type(value) is not str for value in values):
            wrong = next(value for value in values if type(value) is not str)
            raise InvalidInput(f"Cannot read input {show(tensor.name)}: it holds {show(wrong)}; a text is needed")
    array = np.empty(size, dtype=object)
    array[:] = values
    return array.reshape(tensor.shape)


def _numbers(tensor: Tensor) -> NDArray[Any]:
    """As the tensor's own datatype says."""
    size, dtype = prod(tensor.shape), DATATYPES[tensor.datatype]
    if tensor.content is not None:
        if len(tensor.content) != size * dtype.itemsize:
            problem = (
                f"{len(tensor.content)} bytes came; {size} values of {tensor.datatype} take {size * dtype.itemsize}"
            )
            raise wrong_shape(tensor.name, problem)
        return np.frombuffer(tensor.content, dtype=dtype).reshape(tensor.shape)
    values = _flat(tensor, size)
    wrong = [value for value in values if type(value) not in (int, float, bool)]
    if wrong:
        raise InvalidInput(f"Cannot read input {show(tensor.name)}: it holds {show(wrong[0])}; a number is needed")
    # Python's numbers hold all that JSON says; a float64 would round large integers.
    kind: Any = np.float64 if dtype.kind == "f" or any(type(value) is float for value in values) else None
    try:
        found = np.array(values, dtype=kind)
    except OverflowError:
        found = np.array(values, dtype=np.float64)
    return _cast(found, tensor.name, tensor.datatype).reshape(tensor.shape)


def _cast(array: NDArray[Any], name: str, datatype: str) -> NDArray[Any]:
    """To the datatype, refusing values that it cannot hold; floats may round and become infinite in no other way."""
    dtype = DATATYPES[datatype]
    if array.dtype == dtype:
        return array
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    low, high = LIMITS[datatype]
    with np.errstate(invalid="ignore"):
        fits = (array >= low) & (array <= high)
        if array.dtype.kind == "f":
            fits &= np.floor(array) == array
    if array.dtype.kind == "O" or not fits.all():
        wrong = array.reshape(-1)[int(np.argmin(fits.reshape(-1)))]
        problem = f"it holds {show(wrong.item() if hasattr(wrong, 'item') else wrong)}"
        raise InvalidInput(
            f"Cannot read input {show(name)}: {problem}; {datatype} takes whole numbers from {low} to {high}"
        )
    return array.astype(dtype)


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


def _shape_of(data: Any) -> tuple[int, ...]:
    """By the first element of each level; `_flat` checks the others."""
    shape: list[int] = []
    while isinstance(data, list) and len(shape) < _DEEPEST:
        shape.append(len(data))
        if not data:
            break
        data = data[0]
    return tuple(shape)


def _values(name: str, datatype: str, array: NDArray[Any]) -> Values:
    flat = np.ascontiguousarray(array).reshape(-1)
    if datatype != BYTES:
        return Values(name, datatype, array.shape, flat.astype(DATATYPES[datatype], copy=False))
    return Values(name, datatype, array.shape, [_text(value) for value in flat.tolist()])


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _listed(array: NDArray[Any]) -> Any:
    """JSON's own types."""
    if array.dtype.kind not in "OSU":
        return array.tolist()
    texts = np.frompyfunc(_text, 1, 1)(array)
    return texts.tolist() if isinstance(texts, np.ndarray) else texts
