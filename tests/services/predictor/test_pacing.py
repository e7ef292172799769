"""How requests are run follows from what a run costs, by arithmetic that has no clock."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark_predictor.pacing import INLINE, LONGEST, MOST_ROWS, Costs, Pace, measure, pace

US = 1e-6


@pytest.mark.parametrize(
    ("costs", "fixed", "per_row"),
    [
        (Costs(100 * US, 131 * US, 32), 99 * US, US),
        (Costs(100 * US, 100 * US, 32), 100 * US, 0.0),
        (Costs(100 * US, 90 * US, 32), 100 * US, 0.0),  # the larger run was disturbed less
        (Costs(100 * US, 3200 * US, 32), 0.0, 100 * US),
        (Costs(100 * US, 6400 * US, 32), 0.0, 6300 / 31 * US),  # rows disturb each other
    ],
)
def test_costs_are_a_fixed_part_and_one_for_each_row(costs: Costs, fixed: float, per_row: float) -> None:
    assert (costs.fixed, costs.per_row) == (pytest.approx(fixed, abs=1e-9), pytest.approx(per_row, abs=1e-9))


@pytest.mark.parametrize(
    ("reason", "costs", "expected"),
    [
        ("a small one: joining costs more than it saves", Costs(6 * US, 20 * US, 32), (False, True)),
        ("just below what joining costs", Costs(7 * US, 7 * US, 32), (False, True)),
        ("just above", Costs(8 * US, 8 * US, 32), (True, True)),
        ("scikit-learn: its fixed cost is nearly all", Costs(200 * US, 210 * US, 32), (True, True)),
        ("a forest: as before, but too long for the loop", Costs(4000 * US, 4500 * US, 32), (True, False)),
        ("neighbours: each row costs as much as the first", Costs(5000 * US, 160_000 * US, 32), (False, False)),
        ("just short enough for the loop", Costs(INLINE, INLINE, 32), (True, True)),
        ("just too long for the loop", Costs(INLINE * 1.01, INLINE * 1.01, 32), (True, False)),
    ],
)
def test_waiting_pays_where_a_run_costs_much_whatever_its_rows(
    reason: str, costs: Costs, expected: tuple[bool, bool]
) -> None:
    found = pace(costs)
    assert (found.joins, found.inline_rows > 0) == expected, reason


def test_a_run_that_costs_nothing_more_for_more_rows_has_the_most_rows() -> None:
    found = pace(Costs(200 * US, 200 * US, 32))
    assert found == Pace(True, MOST_ROWS, MOST_ROWS, pytest.approx(20 * US), pytest.approx(200 / 193))


def test_rows_are_joined_until_more_would_save_nothing() -> None:
    """After 50 times 2 ms / 100 us = 1,000 rows the fixed part would be small, but a run may take 50 ms only."""
    assert pace(Costs(2000 * US, 5100 * US, 32)).most_rows == pytest.approx(481, abs=1)
    assert pace(Costs(110 * US, 3210 * US, 32)).most_rows == pytest.approx(5, abs=1)


costs_of_models = st.builds(
    Costs,
    one=st.floats(1e-6, 10.0),
    many=st.floats(1e-6, 100.0),
    rows=st.integers(2, 1000),
)


@given(costs_of_models)
def test_runs_keep_to_the_time_they_are_given(costs: Costs) -> None:
    found = pace(costs)
    assert 0 <= found.inline_rows <= MOST_ROWS
    assert 1 <= found.most_rows <= MOST_ROWS
    if found.inline_rows:
        assert costs.fixed + found.inline_rows * costs.per_row <= INLINE * 1.0001
    if found.most_rows > 1:
        assert costs.fixed + found.most_rows * costs.per_row <= max(LONGEST, 2 * costs.one) * 1.0001
    assert 0 <= found.linger <= costs.one / 10


@given(costs_of_models, st.floats(1.1, 100))
def test_a_higher_fixed_cost_never_makes_waiting_pay_less(costs: Costs, factor: float) -> None:
    more = costs.one * (factor - 1)
    dearer = Costs(costs.one + more, costs.many + more, costs.rows)
    assert pace(dearer).joins >= pace(costs).joins


def test_the_fastest_of_some_runs_is_measured() -> None:
    """Ten runs of each size; the first is slow, as first runs are."""
    taken = {1: itertools.chain([0.05], itertools.repeat(0.002)), 32: itertools.repeat(0.003)}
    now, sizes = [0.0], list[int]()

    def run(rows: int) -> None:
        sizes.append(rows)
        now[0] += next(taken[rows])

    assert measure(run, lambda: now[0]) == Costs(pytest.approx(0.002), pytest.approx(0.003), 32)
    assert sizes == [1] * 10 + [32] * 10


def test_a_slow_model_is_not_run_more_than_twice() -> None:
    now, sizes = [0.0], list[int]()

    def run(rows: int) -> None:
        sizes.append(rows)
        now[0] += 1.0

    assert measure(run, lambda: now[0]) == Costs(1.0, 1.0, 32)
    assert sizes == [1, 1, 32, 32]
