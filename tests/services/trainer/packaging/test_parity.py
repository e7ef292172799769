"""Two models agree where no answer is further off than allowed, and no label differs but at a tie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from seamark.package import Feature, Schema
from seamark_trainer.packaging import timing
from seamark_trainer.packaging.conversion import compare
from seamark_trainer.packaging.existing import Answers, class_indices

FEATURES = (Feature("x"),)
REGRESSION = Schema("regression", FEATURES)
BINARY = Schema("binary", FEATURES, ("no", "yes"))
CLASSES = st.lists(st.one_of(st.integers(), st.text(min_size=1)), unique_by=str, min_size=1)


def scored(*probabilities: float) -> Answers:
    """Of two classes, with the probability of the second."""
    second = np.array(probabilities)
    return Answers((second > 0.5).astype(np.float64), np.column_stack([1 - second, second]))


def values(*numbers: float) -> Answers:
    return Answers(np.array(numbers))


@pytest.mark.parametrize(
    ("got", "wanted", "holds", "labels", "ties"),
    [
        (scored(0.2, 0.9), scored(0.2, 0.9), True, 0, 0),
        (scored(0.2, 0.91), scored(0.2, 0.9), True, 0, 0),
        (scored(0.2, 0.92), scored(0.2, 0.9), False, 0, 0),
        (scored(0.502), scored(0.498), True, 1, 1),
        (scored(0.502), scored(0.48), False, 1, 0),
        (scored(np.nan), scored(0.2), False, 0, 0),
        (scored(0.2), scored(np.nan), False, 0, 0),
    ],
)
def test_probabilities_may_be_off_by_the_tolerance(
    got: Answers, wanted: Answers, holds: bool, labels: int, ties: int
) -> None:
    found = compare(BINARY, got, wanted, 0.0100001)
    assert (found.holds, found.labels, found.ties) == (holds, labels, ties)


def test_without_probabilities_every_label_counts() -> None:
    assert compare(BINARY, values(0, 1), values(0, 1), 0.1).holds
    found = compare(BINARY, values(0, 0), values(0, 1), 0.1)
    assert (found.holds, found.text()) == (False, "1 of 2 labels differ")


def test_values_may_be_off_by_a_share_of_their_spread() -> None:
    wanted = values(0, 1000)
    assert compare(REGRESSION, values(0, 1004), wanted, 0.01).holds
    assert not compare(REGRESSION, values(0, 1006), wanted, 0.01).holds
    assert compare(REGRESSION, values(5.005, 5), values(5, 5), 0.01).holds


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 0.5))
def test_a_model_is_like_itself(probabilities: list[float], tolerance: float) -> None:
    found = compare(BINARY, scored(*probabilities), scored(*probabilities), tolerance)
    assert (found.holds, found.difference, found.labels) == (True, 0.0, 0)


@given(CLASSES)
def test_a_label_is_known_as_itself_and_as_its_text(classes: list[Any]) -> None:
    places = list(range(len(classes)))
    for labels in (classes, [str(label) for label in classes]):
        held = np.empty(len(labels), dtype=object)
        held[:] = labels
        assert class_indices(held, classes).tolist() == places
    assert np.isnan(class_indices(np.array([object()]), classes)).all()


class Slow:
    """Answers, and counts the calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def answers(self, matrix: NDArray[np.generic]) -> Answers:
        self.calls.append(len(matrix))
        return values(*[0.0] * len(matrix))


def test_one_row_is_timed_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SECONDS", 0.0)
    runners = (Slow(), Slow())
    found = timing.one_row(runners, np.zeros((3, 1)))
    assert all(seconds > 0 for seconds in found)
    for runner in runners:
        assert set(runner.calls) == {1}
        # Three rounds, each with three rows to warm up and at least one that counts.
        assert len(runner.calls) == 12
