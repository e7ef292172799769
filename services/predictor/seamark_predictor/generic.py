"""A model of free tensors: what comes must fit the model's own inputs, by name, datatype and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark_predictor import logs
from seamark_predictor.arrays import listed, shape_of, to_array, to_values, zeros
from seamark_predictor.model import ModelError, Spec, TensorModel
from seamark_predictor.plane import Recorded, Values
from seamark_predictor.rows import names_text, show
from seamark_predictor.tensors import BYTES, DATATYPES, Tensor, wrong_shape

__all__ = ["Arrays", "TensorPlane"]


class Arrays(msgspec.Struct, frozen=True, eq=False):
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
        self.is_numeric = False
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.batched = model.batched
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
            arrays[tensor.name] = to_array(tensor, spec)
        return self._complete(arrays)

    def _complete(self, arrays: dict[str, NDArray[Any]]) -> Arrays:
        absent = [name for name in self._specs if name not in arrays]
        if absent:
            raise InvalidInput(f"Cannot predict: missing input {names_text(absent)}")
        if self.batched:
            _rows_agree(arrays)
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
            if not isinstance(row, dict) or row.keys() != rows[0].keys():
                raise InvalidInput(
                    f"Cannot read row {i}: it is {show(row)}; an object with {names_text(names)} is needed"
                )
        return {name: [row[name] for row in rows] for name in names}

    def _tensor(self, name: str, data: Any) -> Tensor:
        spec = self._specs.get(name)
        datatype = spec.datatype if spec else "FP64"
        return Tensor(name, datatype, shape_of(data), data)

    def refuse_bare(self, batch: Arrays, complaint: str) -> None:  # noqa: ARG002  # no feature to name
        """JSON has no NaN and no Infinity; binary tensors may hold them."""
        raise InvalidInput(f"Cannot read the body: it is not JSON: {complaint}")

    def warm_up(self) -> None:
        """One run on zeros. A model may refuse zeros or a single row, so a failure is told and no more."""
        try:
            self.predict(self.sample(1))
        except (ModelError, InvalidInput) as error:
            logs.event("not_warm", level=30, model=self.name, reason=str(error.__cause__ or error)[:300])

    def sample(self, rows: int) -> Arrays:
        """Zeros and empty texts; axes of any size have 1, the first axis of a batched model `rows`."""
        arrays = {spec.name: zeros(spec) for spec in self.inputs}
        if self.batched:
            arrays = {name: np.repeat(array, rows, axis=0) for name, array in arrays.items()}
        return Arrays(arrays)

    def predict(self, batch: Arrays) -> Arrays:
        """Outputs of the declared datatypes. Raises `InvalidInput` where the model says so, and `ModelError`."""
        try:
            found = self._model.infer(batch.by_name, [spec.name for spec in self.outputs])
            return Arrays({spec.name: _declared(found[spec.name], spec) for spec in self.outputs})
        except InvalidInput:
            raise
        except Exception as error:
            # A model may raise anything.
            raise ModelError("the model raised") from error

    def to_tensors(self, answer: Arrays, names: Sequence[str]) -> list[Values]:
        """By name; texts as texts."""
        specs = {spec.name: spec for spec in self.outputs}
        return [to_values(answer.by_name[name], specs[name]) for name in names]

    def to_document(self, answer: Arrays) -> dict[str, Any]:
        """`predictions`: the one output's rows, or objects with a row of each output; columns where rows differ."""
        columns = {name: listed(array) for name, array in answer.by_name.items()}
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


def _rows_agree(arrays: Mapping[str, NDArray[Any]]) -> None:
    """A model of independent rows takes as many of each input, and at least one."""
    first: str | None = None
    for name, array in arrays.items():
        rows = len(array)
        if not rows:
            raise wrong_shape(name, "it has no rows; at least one is needed")
        first = first or name
        if rows != len(arrays[first]):
            raise wrong_shape(name, f"it has {rows} rows where {show(first)} has {len(arrays[first])}")


def _declared(found: Any, spec: Spec) -> NDArray[Any]:
    """As the model's metadata say; raises `TypeError` for another kind of value."""
    array = np.asarray(found)
    if spec.datatype == BYTES:
        return array
    return array.astype(DATATYPES[spec.datatype], casting="same_kind", copy=False)
