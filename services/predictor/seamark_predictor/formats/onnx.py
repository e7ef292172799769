"""ONNX models, loaded from memory with one thread per call: more throughput comes from more replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from seamark.errors import InvalidInput, InvalidPackage
from seamark.onnx_external import has_external_data
from seamark.package import NUMBER, Schema
from seamark.texts import first_line
from seamark_predictor.model import Output
from seamark_predictor.rows import Rows, show

__all__ = ["OnnxModel", "read", "serve"]

#: Rows from which labels are turned into places together, and not one by one.
_MANY = 32

_NUMERIC: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def read(content: bytes, file: str, form: str) -> Any:  # noqa: ARG001  # one signature for all formats
    """An inference session; raises `InvalidPackage`."""
    try:
        if has_external_data(content):
            raise InvalidPackage(
                f"Cannot load {file}: it keeps data in other files (external_data); save the model as one file"
            )
    except ValueError as error:
        raise InvalidPackage(f"Cannot load {file}: it is not an ONNX file: {error}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        raise InvalidPackage(f"Cannot load {file}: {first_line(error)}") from error


def serve(session: Any, schema: Schema, file: str, form: str) -> OnnxModel:  # noqa: ARG001  # one signature for all
    return OnnxModel(session, schema, file)


class OnnxModel:
    """Takes one [rows, features] tensor, or one [rows, 1] tensor for each feature by name."""

    def __init__(self, session: Any, schema: Schema, file: str) -> None:
        self.platform = "onnx_onnxv1"
        self._session = session
        self._schema = schema
        inputs = {i.name: i.type for i in session.get_inputs()}
        self._feed = _feed(inputs, schema, file)
        outputs = session.get_outputs()
        label, score = _find_outputs([(o.name, o.type) for o in outputs], schema, file)
        self._labelled, self._scored = label is not None, score is not None
        self._wanted = [name for name in (label, score) if name is not None]
        # Labels come as integers or texts whatever the classes are: 1, True and "1" are the same class.
        self._index: dict[Any, int] = {}
        for i, known in enumerate(schema.classes):
            self._index |= {known: i, str(known): i}
        #: Whether labels are places already, as the classes 0, 1, 2 are.
        self._are_places = [*schema.classes] == [*range(len(schema.classes))] and bool not in map(type, schema.classes)

    def predict(self, rows: Rows) -> Output:
        found = self._session.run(self._wanted, self._feed(rows))
        if self._schema.task == "regression":
            return Output(np.asarray(found[0], dtype=np.float64).reshape(rows.count))
        probabilities = self._probabilities(found[-1]) if self._scored else None
        if not self._labelled and probabilities is not None:
            return Output(np.argmax(probabilities, axis=1).astype(np.float64), probabilities)
        labels = np.asarray(found[0]).reshape(rows.count)
        if self._are_places and rows.count >= _MANY and labels.dtype == np.int64:
            places = labels.view(np.uint64)
            if (places < len(self._schema.classes)).all():
                return Output(places.astype(np.float64), probabilities)
        return Output(np.array([self._index[label] for label in labels.tolist()], dtype=np.float64), probabilities)

    def _probabilities(self, scores: Any) -> NDArray[np.floating[Any]]:
        if isinstance(scores, list):
            # A ZipMap: one {class: probability} for each row.
            order = sorted(scores[0], key=self._index.__getitem__)
            return np.array([[row[label] for label in order] for row in scores], dtype=np.float32)
        return np.asarray(scores)


def _feed(inputs: Mapping[str, str], schema: Schema, file: str) -> Callable[[Rows], dict[str, Any]]:
    """How to turn rows into the model's inputs."""
    if len(inputs) == 1 and not schema.categories and set(inputs) != set(schema.numbers):
        (name, kind), *_ = inputs.items()
        dtype = _numeric_type(name, kind, file)
        features = schema.numbers
        return lambda rows: {name: _cast(rows.numbers, dtype, features)}
    _inputs_match(inputs, schema, file)
    numbers = [(name, _numeric_type(name, inputs[name], file)) for name in schema.numbers]

    def by_feature(rows: Rows) -> dict[str, Any]:
        feed: dict[str, Any] = {
            name: _cast(rows.numbers[:, i : i + 1], dtype, (name,)) for i, (name, dtype) in enumerate(numbers)
        }
        for name, values in zip(schema.categories, rows.categories, strict=True):
            texts = ["" if value is None else value for value in values]
            feed[name] = np.array(texts, dtype=object).reshape(-1, 1)
        return feed

    return by_feature


def _inputs_match(inputs: Mapping[str, str], schema: Schema, file: str) -> None:
    wanted = {f.name: f.type for f in schema.features}
    if set(inputs) != set(wanted):
        raise InvalidPackage(
            f"Cannot use {file}: its inputs are {', '.join(inputs)[:200]}; seamark.json names {', '.join(wanted)[:200]}"
        )
    for name, kind in inputs.items():
        if (kind == "tensor(string)") != (wanted[name] != NUMBER):
            raise InvalidPackage(f"Cannot use {file}: input {name!r} is {kind}; seamark.json says {wanted[name]}")


def _numeric_type(name: str, kind: str, file: str) -> type[np.generic]:
    if kind not in _NUMERIC:
        raise InvalidPackage(f"Cannot use {file}: input {name!r} is {kind}; allowed: {', '.join(_NUMERIC)}")
    return _NUMERIC[kind]


def _cast(numbers: NDArray[np.float64], dtype: type[np.generic], names: tuple[str, ...]) -> NDArray[Any]:
    if issubclass(dtype, np.floating):
        return numbers.astype(dtype)
    with np.errstate(invalid="ignore"):
        whole = numbers.astype(dtype)
    lost = np.count_nonzero(whole != numbers, axis=0)
    if lost.any():
        i = int(np.argmax(lost > 0))
        value = numbers[whole[:, i] != numbers[:, i], i][0]
        raise InvalidInput(
            f"Cannot predict: feature {show(names[i])} is {value:g}; the model takes {np.dtype(dtype).name} only",
            status=422,
            violations=tuple((name, "type", int(n)) for name, n in zip(names, lost, strict=True) if n),
        )
    return whole


def _find_outputs(outputs: list[tuple[str, str]], schema: Schema, file: str) -> tuple[str | None, str | None]:
    """The names of the label (or value) and the probabilities among the model's outputs."""
    floats = [name for name, kind in outputs if kind in ("tensor(float)", "tensor(double)")]
    if schema.task == "regression":
        if not floats:
            raise _no_output(file, "a float tensor", outputs)
        return floats[0], None
    labels = [name for name, kind in outputs if kind in ("tensor(int64)", "tensor(int32)", "tensor(string)")]
    scores = floats + [name for name, kind in outputs if kind.startswith("seq(map(")]
    if not labels and not scores:
        raise _no_output(file, "labels or probabilities", outputs)
    return (labels[0] if labels else None), (scores[0] if scores else None)


def _no_output(file: str, wanted: str, outputs: list[tuple[str, str]]) -> InvalidPackage:
    found = ", ".join(f"{name} {kind}" for name, kind in outputs)[:200]
    return InvalidPackage(f"Cannot use {file}: none of its outputs is {wanted}; it has {found or 'none'}")
