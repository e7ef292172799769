"""ONNX models without a schema: the file's own inputs and outputs, of any rank."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, RuntimeException

from seamark.errors import InvalidInput, InvalidPackage
from seamark_predictor.model import Spec
from seamark_predictor.tensors import BYTES, DATATYPES

__all__ = ["OnnxTensors"]

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": BYTES,
}
#: What classifiers converted with a ZipMap give: one {class: probability} for each row.
_ZIPMAPS = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")
_STATUS = re.compile(r"Status Message: (.*)", re.DOTALL)


class OnnxTensors:
    """A `TensorModel`. A ZipMap's output becomes probabilities, FP32 [rows, classes] in ascending order of classes."""

    def __init__(self, session: Any, file: str) -> None:
        self.platform = "onnx_onnxv1"
        self._session = session
        self.inputs = tuple(_input(node, file) for node in session.get_inputs())
        self.outputs = tuple(_output(node, file) for node in session.get_outputs())
        self._zipped = frozenset(node.name for node in session.get_outputs() if node.type in _ZIPMAPS)
        self.batched = _first_axes_agree(session) and self._rows_are_independent()

    def infer(self, inputs: Mapping[str, NDArray[Any]], wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Raises `InvalidInput` where the runtime refuses the inputs: sizes that do not meet, an index out of range."""
        try:
            found = self._session.run(list(wanted), dict(inputs))
        except (InvalidArgument, RuntimeException) as error:
            raise InvalidInput(f"Cannot predict: the model refuses these inputs{_reason(error)}", status=422) from error
        return {
            name: _probabilities(value) if name in self._zipped else np.asarray(value)
            for name, value in zip(wanted, found, strict=True)
        }

    def _rows_are_independent(self) -> bool:
        """Whether rows answered together and alone get the same answers.

        A free first axis may as well be a sequence, whose answers depend on all of it.
        """
        random = np.random.default_rng(0)
        rows = {spec.name: _sample(spec, random) for spec in self.inputs}
        wanted = [spec.name for spec in self.outputs]
        try:
            together = self.infer(rows, wanted)
            alone = [self.infer({name: array[i : i + 1] for name, array in rows.items()}, wanted) for i in range(2)]
        except Exception:
            # The runtime may raise anything for inputs made up; then nothing is proved.
            return False
        return all(_same(together[name], [one[name] for one in alone]) for name in wanted)


def _input(node: Any, file: str) -> Spec:
    if node.type not in _DATATYPES:
        raise InvalidPackage(f"Cannot use {file}: input {node.name!r} is {node.type}; allowed: {', '.join(_DATATYPES)}")
    return Spec(node.name, _DATATYPES[node.type], _shape(node))


def _output(node: Any, file: str) -> Spec:
    if node.type in _ZIPMAPS:
        return Spec(node.name, "FP32", (-1, -1))
    if node.type not in _DATATYPES:
        allowed = ", ".join([*_DATATYPES, *_ZIPMAPS])
        raise InvalidPackage(f"Cannot use {file}: output {node.name!r} is {node.type}; allowed: {allowed}")
    return Spec(node.name, _DATATYPES[node.type], _shape(node))


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(n if isinstance(n, int) and n > 0 else -1 for n in node.shape)


def _first_axes_agree(session: Any) -> bool:
    """Every first axis is free, and those that have a name have the same."""
    names = set()
    for node in (*session.get_inputs(), *session.get_outputs()):
        if node.type in _ZIPMAPS:
            continue
        if not node.shape or isinstance(node.shape[0], int):
            return False
        names.add(node.shape[0])
    return len(names - {None}) <= 1


def _sample(spec: Spec, random: np.random.Generator) -> NDArray[Any]:
    """Two rows that differ; an axis that may have any size has 1."""
    shape = (2, *(1 if n < 0 else n for n in spec.shape[1:]))
    if spec.datatype == BYTES:
        return np.full(shape, "", dtype=object)
    dtype = DATATYPES[spec.datatype]
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    return random.integers(0, 2, size=shape).astype(dtype)


def _same(together: NDArray[Any], alone: list[NDArray[Any]]) -> bool:
    if together.shape[:1] != (2,) or any(one.shape[:1] != (1,) for one in alone):
        return False
    joined = np.concatenate(alone)
    if together.dtype.kind not in "fc":
        return bool(np.array_equal(together, joined))
    return bool(np.allclose(together, joined, rtol=1e-3, atol=1e-5, equal_nan=True))


def _probabilities(rows: list[dict[Any, float]]) -> NDArray[np.float32]:
    order = sorted(rows[0]) if rows else []
    return np.array([[row[label] for label in order] for row in rows], dtype=np.float32).reshape(len(rows), len(order))


def _reason(error: Exception) -> str:
    """The runtime's status without its source paths and names."""
    found = _STATUS.search(str(error))
    text = " ".join(found.group(1).split()) if found else ""
    return "" if not text or "/" in text else f": {text[:200]}"
