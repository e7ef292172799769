"""The unit of a model's sum is the one whose link makes its answer; where none does, there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seamark_predictor.explain_terms import Margins
from seamark_predictor.explain_units import unit_of
from seamark_predictor.model import Output


def sums(total: Any) -> Margins:
    """Margins of two features that add up to rows x outputs."""
    total = np.asarray(total, dtype=float)
    base = np.full(total.shape[1], 0.25)
    return Margins(base, np.stack([total - 1, np.full_like(total, 0.75)], axis=1))


def binary(*second: float) -> Output:
    scores = np.array(second)
    return Output((scores > 0.5).astype(float), np.column_stack([1 - scores, scores]))


E2 = float(np.exp(2))
CASES: dict[str, tuple[Any, Output, int, str | None]] = {
    "a value": ([[2.0], [3.0]], Output(np.array([2.0, 3.0])), 0, "value"),
    "a large value": ([[2e9], [3.0]], Output(np.array([2e9, 3.0])), 0, "value"),
    "its logarithm": ([[2.0], [0.0]], Output(np.array([E2, 1.0])), 0, "logarithm of the value"),
    "a logarithm too large": ([[2.0], [800.0]], Output(np.array([E2, 5.0])), 0, None),
    "another value": ([[2.0], [3.0]], Output(np.array([2.0, 3.01])), 0, None),
    "two values": ([[2.0, 1.0]], Output(np.array([2.0])), 0, None),
    "log-odds": ([[0.0], [-1000.0], [1000.0]], binary(0.5, 0.0, 1.0), 2, "log-odds"),
    "both probabilities": ([[0.3, 0.7], [1.0, 0.0]], binary(0.7, 0.0), 2, "probability"),
    "nearly": ([[0.30005, 0.7]], binary(0.7), 2, "probability"),
    "not nearly": ([[0.3002, 0.7]], binary(0.7), 2, None),
    "softmax": ([[1000.0, 1000.0]], binary(0.5), 2, "softmax input"),
    "one sum for three classes": ([[0.0]], Output(np.zeros(1), np.array([[0.4, 0.3, 0.3]])), 3, None),
    "not a number": ([[np.nan]], binary(0.5), 2, None),
    "signs": ([[-0.1], [0.1]], Output(np.array([0.0, 1.0])), 2, "margin"),
    "a wrong sign": ([[-0.1], [-0.1]], Output(np.array([0.0, 1.0])), 2, None),
    "the largest": ([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0]], Output(np.array([0.0, 2.0])), 3, "margin"),
}


@pytest.mark.parametrize(("total", "served", "classes", "unit"), CASES.values(), ids=CASES)
def test_the_unit_is_found_from_the_answers(total: Any, served: Output, classes: int, unit: str | None) -> None:
    found = unit_of(sums(total), served, classes)
    assert (found.name if found else None) == unit
