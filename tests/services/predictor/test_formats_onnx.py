"""ONNX models of one schema: labels become places among the classes, however many rows there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seamark.package import Feature, Schema
from seamark_predictor.formats.onnx import OnnxModel
from seamark_predictor.rows import Rows


class Session:
    """Stands for a runtime's session: answers each row with a label."""

    def __init__(self, labels: list[Any], dtype: Any) -> None:
        self._labels = np.array(labels, dtype=dtype)

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="X", type="tensor(float)")]

    def get_outputs(self) -> list[Any]:
        kind = "tensor(string)" if self._labels.dtype == object else "tensor(int64)"
        return [SimpleNamespace(name="label", type=kind)]

    def run(self, _: list[str], feed: dict[str, Any]) -> list[Any]:
        return [np.resize(self._labels, len(feed["X"]))]


def places(labels: list[Any], classes: tuple[Any, ...], rows: int, dtype: Any = np.int64) -> list[float]:
    schema = Schema("multiclass", (Feature("a"), Feature("b")), classes)
    model = OnnxModel(Session(labels, dtype), schema, "model.onnx")
    return model.predict(Rows(np.zeros((rows, 2)), [])).prediction.tolist()


@pytest.mark.parametrize("rows", [1, 3, 31, 32, 1000])
@pytest.mark.parametrize(
    ("labels", "classes", "dtype", "expected"),
    [
        ([2, 0, 1], (0, 1, 2), np.int64, [2, 0, 1]),
        ([2, 0, 1], (0, 1, 2), np.int32, [2, 0, 1]),
        ([3, 1, 2], (1, 2, 3), np.int64, [2, 0, 1]),
        ([1, 0, 2], (2, 0, 1), np.int64, [2, 1, 0]),
        ([1, 0, 5], (False, True, 5), np.int64, [1, 0, 2]),
        (["b", "a", "c"], ("a", "b", "c"), object, [1, 0, 2]),
        (["1", "0", "2"], (0, 1, 2), object, [1, 0, 2]),
    ],
    ids=str,
)
def test_labels_become_places(
    labels: list[Any], classes: tuple[Any, ...], dtype: Any, expected: list[int], rows: int
) -> None:
    assert places(labels, classes, rows, dtype) == np.resize(expected, rows).tolist()


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("label", [3, -1, -(2**63), 2**63 - 1])
def test_a_label_that_is_no_class_is_an_error(label: int, rows: int) -> None:
    with pytest.raises(KeyError):
        places([label], (0, 1, 2), rows)
