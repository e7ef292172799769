"""Reference rows look like the profile, feature by feature, and the same profile gives the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seamark.package import CATEGORY, NUMBER, Feature, Schema
from seamark.profile import Column, Profile, build
from seamark_predictor.explain_background import NoBackground, draw

MANY = settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def numbers(values: Any, count: int = 100, nullable: bool = True) -> Any:
    """The drawn values of one number that had these values."""
    schema = Schema("regression", (Feature("x", NUMBER, nullable),))
    values = np.asarray(values, dtype=float).reshape(-1, 1)
    profile = build(schema, values, [], np.zeros((len(values), 1)), None)
    return draw(schema, profile, count).rows.numbers[:, 0]


def texts(values: list[str | None], count: int = 100, nullable: bool = True) -> list[str | None]:
    schema = Schema("regression", (Feature("x", CATEGORY, nullable),))
    profile = build(schema, np.zeros((len(values), 0)), [values], np.zeros((len(values), 1)), None)
    return draw(schema, profile, count).rows.categories[0]


def test_the_same_profile_gives_the_same_rows_and_another_count_others() -> None:
    values = np.random.default_rng(0).normal(size=500)
    np.testing.assert_array_equal(numbers(values), numbers(values))
    assert len(numbers(values, 7)) == 7


@pytest.mark.parametrize("law", ["normal", "uniform", "exponential"])
def test_drawn_numbers_have_the_mean_and_the_quantiles_of_the_reference(law: str) -> None:
    values = getattr(np.random.default_rng(0), law)(size=5000)
    drawn = numbers(values)
    assert abs(drawn.mean() - values.mean()) < 0.35 * values.std()
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert abs(np.quantile(drawn, share) - np.quantile(values, share)) < 0.15 * values.std()


def test_features_are_drawn_independently() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 1)).repeat(2, axis=1)
    schema = Schema("regression", (Feature("a"), Feature("b")))
    drawn = draw(schema, build(schema, values, [], np.zeros((1000, 1)), None), 100).rows.numbers
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.3


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.97])
def test_flags_stay_flags_in_their_share(share: float) -> None:
    drawn = numbers((np.arange(1000) < 1000 * share).astype(float))
    assert set(drawn.tolist()) <= {0.0, 1.0}
    assert abs(drawn.mean() - share) <= 0.01


@MANY
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=200))
def test_counts_stay_whole_and_within_what_was_seen(values: list[int]) -> None:
    drawn = numbers(values)
    assert (drawn == np.floor(drawn)).all()
    assert min(values) <= drawn.min() <= drawn.max() <= max(values)


@MANY
@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_infinity=False, width=64)), st.integers(1, 40))
def test_any_numbers_give_numbers_within_what_was_seen(values: Any, count: int) -> None:
    drawn = numbers(values, count)
    seen, known = values[~np.isnan(values)], drawn[~np.isnan(drawn)]
    assert len(drawn) == count
    assert not seen.size or not known.size or (seen.min() <= known.min() and known.max() <= seen.max())
    assert abs(np.isnan(drawn).mean() - np.isnan(values).mean()) <= 1 / count


@MANY
@given(st.lists(st.sampled_from(["a", "b", "日本", "", None]), min_size=1, max_size=60), st.integers(1, 40))
def test_categories_come_in_their_shares(values: list[str | None], count: int) -> None:
    drawn = texts(values, count)
    assert set(drawn) <= set(values)
    for value in set(values):
        assert abs(drawn.count(value) / count - values.count(value) / len(values)) <= 1 / count + 1e-9


def test_missing_values_are_drawn_only_where_the_model_takes_them() -> None:
    assert np.isfinite(numbers([1.5, 2.5, np.nan, np.nan], nullable=False)).all()
    assert None not in texts(["a", None, None], nullable=False)
    assert np.isnan(numbers([np.nan, np.nan])).all()
    assert texts([None, None]) == [None] * 100


def test_categories_that_the_profile_does_not_name_are_not_drawn() -> None:
    values: list[str | None] = [f"town {i:02}" for i in range(40)]
    drawn = texts(values)
    assert set(drawn) == set(values[:20])


@pytest.mark.parametrize(
    "column",
    [
        None,
        Column("x", NUMBER, counts=(0, 0), low=1.0, high=1.0),
        Column("x", NUMBER, counts=(5, 0)),
        Column("x", NUMBER, counts=(0, 5)),
        Column("x", CATEGORY, values=("a",), counts=(0, 9, 9)),
        Column("x", CATEGORY, counts=(9, 9)),
    ],
    ids=["absent", "no rows", "no bounds", "only missing", "only others", "no names"],
)
def test_a_profile_that_knows_no_values_gives_no_background(column: Column | None) -> None:
    kind = column.type if column else NUMBER
    schema = Schema("regression", (Feature("x", kind),))
    with pytest.raises(NoBackground, match="does not say what values feature 'x' had"):
        draw(schema, Profile(0, (column,) if column else ()), 10)
