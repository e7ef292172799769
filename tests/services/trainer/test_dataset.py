"""Labelled rows: their order, their split, and which of them are fit to learn from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seamark import profile
from seamark.package import CATEGORY, Feature, Schema
from seamark_trainer.dataset import Dataset, keeps_contract, split

MIXED = Schema("binary", (Feature("colour", CATEGORY), Feature("age"), Feature("shape", CATEGORY)), (0, 1))


def mixed() -> Dataset:
    numbers = np.array([[1.0], [2.0], [np.nan]])
    return Dataset(MIXED, numbers, (("red", None, "blue"), ("a", "b", "c")), np.array([0.0, 1.0, 0.0]), np.zeros(3))


def test_the_matrix_has_the_features_in_schema_order() -> None:
    matrix = mixed().matrix()
    assert matrix[:2].tolist() == [["red", 1.0, "a"], ["", 2.0, "b"]]
    assert np.isnan(matrix[2, 1])


def test_rows_are_taken_with_all_they_have() -> None:
    taken = mixed().take(np.array([2, 0]))
    assert taken.categories == (("blue", "red"), ("c", "a"))
    assert taken.numbers[1].tolist() == [1.0]
    assert taken.labels.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("rows", "held"), [(10, 3), (11, 3), (0, 0), (1, 0)])
def test_the_newest_rows_are_held_out(world: Any, rows: int, held: int) -> None:
    data = replace(world.dataset(rows), labels=np.arange(float(rows)))
    older, newer = split(data, 0.3)
    assert (older.rows, newer.rows) == (rows - held, held)
    assert [*older.labels, *newer.labels] == list(range(rows))


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ([0.0, 0.0], True),
        ([1.5, 0.0], True),
        ([100.0, 0.0], False),
        ([np.nan, 0.0], False),
        ([0.0, np.inf], False),
        ([0.0, -np.inf], False),
    ],
)
def test_rows_that_break_the_contract_are_not_learned_from(world: Any, row: list[float], kept: bool) -> None:
    data = world.dataset(100)
    reference = profile.build(data.schema, data.numbers, (), np.zeros((100, 2)), None)
    one = replace(data.take(np.array([0])), numbers=np.array([row]))
    assert keeps_contract(one, reference).tolist() == [kept]


def test_a_category_that_is_new_is_learned_from() -> None:
    known = profile.build(MIXED, np.array([[1.0], [2.0]]), (("red", "red"), ("a", "a")), np.zeros((2, 2)), None)
    data = mixed()
    assert keeps_contract(data, known).tolist() == [True, False, False]
