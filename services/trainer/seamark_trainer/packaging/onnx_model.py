"""An ONNX model that somebody already has: its facts, and its answers, as a predictor finds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidPackage, UserError
from seamark.onnx_external import has_external_data
from seamark.package import CATEGORY, NUMBER, Schema
from seamark.texts import first_line
from seamark_trainer.packaging.existing import Answers, class_indices

__all__ = ["OnnxModel", "OnnxRunner"]

# ONNX Runtime reports to its maker unless told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_NUMERIC: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)")
_FLOATS = ("tensor(float)", "tensor(double)")
#: Attributes of operators that hold the classes, in the order of the scores.
_CLASSES = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")


class OnnxModel:
    """An `Existing` model; raises `InvalidPackage` for what is not one that can be packaged.

    classes: as the user says; None for those in the file. Without either, `classes` is None for a classifier.
    """

    def __init__(self, content: bytes, classes: tuple[Any, ...] | None = None) -> None:
        graph = _graph(content)
        self.session = _session(content)
        inputs = self.session.get_inputs()
        _are_columns(inputs)
        self._types = {entry.name: CATEGORY if entry.type == "tensor(string)" else NUMBER for entry in inputs}
        # One wide tensor holds all features, whose names it does not tell.
        is_wide = len(inputs) == 1 and inputs[0].shape[1] != 1
        self.names = None if is_wide else tuple(self._types)
        width = inputs[0].shape[1] if is_wide else len(inputs)
        self.count = width if isinstance(width, int) else None
        self._wide_type = self._types[inputs[0].name] if is_wide else None
        is_regressor = _label(self.session) is None and _width(self.session) == 1
        self.classes = () if is_regressor else classes or _classes(graph)

    def types(self, names: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(names, self._wide_type) if self._wide_type else self._types

    def runner(self, schema: Schema) -> OnnxRunner:
        return OnnxRunner(self.session, schema)


def _graph(content: bytes) -> Any:
    import onnx

    try:
        if has_external_data(content):
            raise InvalidPackage("it keeps data in other files (external_data); save the model as one file")
    except ValueError as error:
        raise InvalidPackage(f"it is not an ONNX file: {error}") from error
    try:
        model = onnx.load_model_from_string(content)
    # The protobuf library has an exception of its own for each of its engines.
    except Exception as error:
        raise InvalidPackage(f"it is not an ONNX file: {str(error)[:200]}") from error
    return model.graph


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # The runtime's exceptions have no common base but Exception.
    except Exception as error:
        raise InvalidPackage(f"ONNX Runtime cannot load it: {first_line(error)}") from error


def _are_columns(inputs: Sequence[Any]) -> None:
    """[rows, features], or [rows, 1] for each feature."""
    for entry in inputs:
        is_wide = len(inputs) == 1 and entry.type != "tensor(string)"
        fits = len(entry.shape) == 2 and (is_wide or entry.shape[1] == 1)
        if not fits or not (entry.type in _NUMERIC or entry.type == "tensor(string)"):
            raise InvalidPackage(
                f"its input {entry.name!r} is {entry.type} {entry.shape}; a package holds models of tables: numbers "
                "[rows, features], or [rows, 1] for each feature. Serve it as it is: seamark serve FILE"
            )


def _label(session: Any) -> str | None:
    """The name of the label output."""
    return next((entry.name for entry in session.get_outputs() if entry.type in _LABELS), None)


def _scores(session: Any) -> str | None:
    """The name of the output with probabilities, or with values where there is no label."""
    found = [entry.name for entry in session.get_outputs() if entry.type in _FLOATS]
    maps = [entry.name for entry in session.get_outputs() if entry.type.startswith("seq(map(")]
    if not found and not maps and _label(session) is None:
        kinds = ", ".join(f"{entry.name} {entry.type}" for entry in session.get_outputs())
        raise InvalidPackage(f"none of its outputs is labels, probabilities or values; it has {kinds[:200]}")
    return next(iter(found + maps), None)


def _width(session: Any) -> int | None:
    """Columns of the output with probabilities or values; None where that is not known."""
    wanted = _scores(session)
    shape = next(entry.shape for entry in session.get_outputs() if entry.name == wanted)
    if len(shape) < 2:
        return 1
    return shape[1] if isinstance(shape[1], int) else None


def _classes(graph: Any) -> tuple[Any, ...] | None:
    """As the last operator that knows them says: what stands at the end answers."""
    for node in reversed(graph.node):
        for attribute in node.attribute:
            if attribute.name in _CLASSES and (attribute.ints or attribute.strings):
                return tuple(attribute.ints) or tuple(text.decode() for text in attribute.strings)
    return None


class OnnxRunner:
    """A `Runner`."""

    def __init__(self, session: Any, schema: Schema) -> None:
        self._session = session
        self._schema = schema
        self._inputs = {entry.name: entry.type for entry in session.get_inputs()}
        self._is_wide = len(self._inputs) == 1 and tuple(self._inputs) != tuple(f.name for f in schema.features)
        self._label = None if schema.task == "regression" else _label(session)
        self._scores = _scores(session)
        self._wanted = [name for name in (self._label, self._scores) if name is not None]

    def answers(self, matrix: NDArray[np.generic]) -> Answers:
        """See `Runner`."""
        found = dict(zip(self._wanted, self._session.run(self._wanted, self._feed(matrix)), strict=True))
        rows = len(matrix)
        if self._schema.task == "regression":
            return Answers(np.asarray(found[self._wanted[0]], dtype=np.float64).reshape(rows))
        probabilities = None if self._scores is None else self._probabilities(found[self._scores], rows)
        if self._label is not None:
            labels = np.asarray(found[self._label]).reshape(rows)
            return Answers(class_indices(labels, self._schema.classes), probabilities)
        assert probabilities is not None
        return Answers(np.argmax(probabilities, axis=1).astype(np.float64), probabilities)

    def _probabilities(self, scores: Any, rows: int) -> NDArray[np.float64]:
        classes = len(self._schema.classes)
        if isinstance(scores, list):
            # One {class: probability} for each row.
            places = class_indices(np.array(list(scores[0]), dtype=object), self._schema.classes)
            order = [label for _, label in sorted(zip(places.tolist(), scores[0], strict=True))]
            scores = [[row[label] for label in order] for row in scores]
        found = np.asarray(scores, dtype=np.float64)
        if found.shape != (rows, classes):
            raise UserError(f"the model answers {found.shape} probabilities for {rows} rows and {classes} classes")
        return found

    def _feed(self, matrix: NDArray[np.generic]) -> dict[str, NDArray[Any]]:
        if self._is_wide:
            ((name, kind),) = self._inputs.items()
            return {name: _cast(matrix, kind)}
        places = {feature.name: i for i, feature in enumerate(self._schema.features)}
        return {name: _cast(matrix[:, [places[name]]], kind) for name, kind in self._inputs.items()}


def _cast(values: NDArray[np.generic], kind: str) -> NDArray[Any]:
    if kind == "tensor(string)":
        return values.astype(object)
    numbers = values.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        found = numbers.astype(_NUMERIC[kind])
    if not issubclass(_NUMERIC[kind], np.floating) and (found != numbers).any():
        lost = numbers[found != numbers][0]
        raise UserError(f"the model takes {kind}, and the sample holds {lost:g}")
    return found
