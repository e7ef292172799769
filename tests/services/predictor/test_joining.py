"""Batches joined and answers split again are what each would have got alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark_predictor.dataplane import Answer
from seamark_predictor.generic import Arrays
from seamark_predictor.joining import (
    answer_bytes,
    arrays_kind,
    compact_answer,
    join_arrays,
    join_rows,
    split_answer,
    split_arrays,
)
from seamark_predictor.model import Output
from seamark_predictor.rows import Rows

counts = st.lists(st.integers(0, 5), min_size=1, max_size=8)
NUMBER = itertools.count()


def rows(count: int, columns: int = 3, texts: int = 2) -> Rows:
    """Rows that are like no others."""
    values = np.array([[float(next(NUMBER)) for _ in range(columns)] for _ in range(count)]).reshape(count, columns)
    return Rows(values, [[str(next(NUMBER)) for _ in range(count)] for _ in range(texts)])


def answer_to(batch: Rows, scored: bool) -> Answer:
    first = batch.numbers[:, 0].copy()
    scores = np.stack([first, first + 1], axis=1) if scored else None
    return Answer(Output(first, scores), np.stack([first, -first], axis=1), first.astype(np.int64))


def same(a: Answer, b: Answer) -> bool:
    first, second = a.output.probabilities, b.output.probabilities
    scores_match = first is second if first is None or second is None else np.array_equal(first, second)
    alike = np.array_equal(a.output.prediction, b.output.prediction) and np.array_equal(a.logged, b.logged)
    return alike and scores_match


@given(counts, st.integers(0, 2), st.booleans())
def test_rows_joined_and_their_answer_split_are_each_ones_own(sizes: list[int], texts: int, scored: bool) -> None:
    batches = [rows(size, texts=texts) for size in sizes]
    joined = join_rows(batches)
    assert joined.count == sum(sizes)
    assert joined.categories == [[t for b in batches for t in b.categories[i]] for i in range(texts)]
    assert np.array_equal(joined.numbers, np.concatenate([b.numbers for b in batches]))
    parts = split_answer(answer_to(joined, scored), sizes)
    assert all(same(part, answer_to(batch, scored)) for part, batch in zip(parts, batches, strict=True))


@pytest.mark.parametrize("scored", [True, False])
def test_a_part_that_is_kept_keeps_nothing_else_alive(scored: bool) -> None:
    part = split_answer(answer_to(rows(100), scored), [1, 99])[0]
    kept = compact_answer(part)
    assert same(kept, part)
    arrays = [kept.output.prediction, kept.logged, *([kept.output.probabilities] if scored else [])]
    assert all(array is not None and array.base is None for array in arrays)
    assert answer_bytes(kept) == (8 + 8 + 16 + 16 if scored else 8 + 8 + 16)
    assert compact_answer(kept).logged is kept.logged


def arrays(count: int, width: int = 2) -> Arrays:
    return Arrays({"x": np.random.default_rng(count).random((count, width)), "y": np.arange(count)})


@given(counts)
def test_arrays_joined_and_split_are_each_ones_own(sizes: list[int]) -> None:
    batches = [arrays(size) for size in sizes]
    parts = split_arrays(join_arrays(batches), sizes)
    for part, batch in zip(parts, batches, strict=True):
        assert list(part.by_name) == list(batch.by_name)
        assert all(np.array_equal(part.by_name[name], batch.by_name[name]) for name in batch.by_name)


def test_arrays_are_joined_only_with_their_kind() -> None:
    assert arrays_kind(arrays(1)) == arrays_kind(arrays(7)) == ((2,), ())
    assert arrays_kind(arrays(1)) != arrays_kind(arrays(1, width=3))


@pytest.mark.parametrize(
    "by_name",
    [{"x": np.float64(1).reshape(())}, {"x": np.zeros(2), "y": np.zeros(3)}, {"x": np.zeros(1), "y": np.zeros(())}],
    ids=["a scalar", "lengths that differ", "a scalar beside rows"],
)
def test_arrays_without_common_rows_are_joined_with_none(by_name: dict[str, Any]) -> None:
    assert arrays_kind(Arrays(by_name)) is None


@pytest.mark.parametrize("shape", [(), (1, 3), (4,)])
def test_an_output_that_has_not_one_row_for_each_cannot_be_split(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"output 'x' has the shape .* for 3 rows"):
        split_arrays(Arrays({"x": np.zeros(shape)}), [1, 2])
