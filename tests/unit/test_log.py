"""The prediction log's tables and columns have names that every reader takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.log import columns, table


@pytest.mark.parametrize("root", ["/data", "/data/"])
def test_a_table_lies_under_its_namespace_and_deployment(root: str) -> None:
    assert table(root, "predictions", "default", "churn") == "/data/predictions/default/churn"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["mean radius", "mean_radius", "Age"], ["x_mean_radius", "x_mean_radius_2", "x_age"]),
        (["a", "A", "a_2"], ["x_a", "x_a_2", "x_a_2_2"]),
        (["ção", ""], ["x___o", "x_"]),
    ],
)
def test_columns_are_named_in_order(names: list[str], expected: list[str]) -> None:
    assert columns("x", names) == expected


@given(st.lists(st.text(max_size=6), max_size=12))
def test_every_name_has_its_own_column(names: list[str]) -> None:
    found = columns("x", names)
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"x_[0-9a-z_]*", column) for column in found)
    assert columns("x", names[:5]) == found[:5]
