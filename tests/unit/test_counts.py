"""Counters grow, restart and appear; sums and quantiles of counts are exact."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.counts import add, increase, quantile
from seamark.evidence import Latency


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([], {}, id="no sample says nothing"),
        pytest.param([{"a": 5}], {}, id="one sample says nothing"),
        pytest.param([{"a": 5}, {"a": 7}], {"a": 2}, id="growth since the first sample"),
        pytest.param([{"a": 5}, {"a": 5}], {"a": 0}, id="no growth is zero, not nothing"),
        pytest.param([{"a": 5}, {"a": 3}], {"a": 3}, id="a lower value is a restart from zero"),
        pytest.param([{"a": 5}, {"a": 0}, {"a": 2}], {"a": 2}, id="a restart at zero then growth"),
        pytest.param([{"a": 5}, {"a": 9}, {"a": 1}, {"a": 4}], {"a": 8}, id="growth on both sides of a restart"),
        pytest.param([{}, {"a": 4}], {"a": 4}, id="a key that appears later began at zero"),
        pytest.param([{"a": 4}], {}, id="a key in the first sample has no base"),
        pytest.param([{"a": 5}, {}, {"a": 8}], {"a": 3}, id="a key that was away goes on from its last value"),
        pytest.param([{"a": 5}, {}, {"a": 2}], {"a": 2}, id="a key that was away may have restarted"),
        pytest.param([{"a": 5}, {"b": 1}], {"a": 0, "b": 1}, id="a key that vanished did not grow"),
        pytest.param([{"a": math.nan}, {"a": 3}, {"a": math.nan}], {"a": 3}, id="NaN is no value"),
    ],
)
def test_increase(samples: list[dict[str, float]], expected: dict[str, float]) -> None:
    assert increase(samples) == expected


@given(st.lists(st.integers(0, 50), min_size=2, max_size=20), st.data())
def test_restarts_lose_no_growth_that_was_seen(steps: list[int], data: st.DataObject) -> None:
    value, restarted, samples = 0, [], []
    for step in steps:
        if data.draw(st.booleans()) and step < value:
            value, _ = 0, restarted.append(step)
        value += step
        samples.append({"a": float(value)})
    assert increase(samples) == {"a": float(sum(steps[1:]))}


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), min_size=3, max_size=9), st.integers(1, 7))
def test_windows_that_meet_add_up_to_the_whole(samples: list[dict[str, int]], cut: int) -> None:
    samples = [{"a": 0, "b": 0, "c": 0} | sample for sample in samples]
    cut = min(cut, len(samples) - 2)
    parts = [increase(samples[: cut + 1]), increase(samples[cut:])]
    assert add(parts) == increase(samples)


def test_replicas_add_by_key() -> None:
    assert add([{"a": 1, "b": 2}, {"b": 3.5}]) == {"a": 1, "b": 5.5}
    assert add([]) == {}


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ((0, 0, 0), 0.5, None),
        ((10, 0, 0), 0.5, 0.5),
        ((10, 0, 0), 1.0, 1.0),
        ((0, 10, 0), 0.0, 1.0),
        ((0, 10, 0), 0.5, 2.0),
        ((5, 5, 0), 0.5, 1.0),
        ((5, 5, 0), 0.75, 2.0),
        ((99, 0, 1), 0.99, 1.0),
        ((98, 0, 2), 0.99, math.inf),
    ],
)
def test_quantiles_are_straight_lines_within_buckets(counts: tuple[int, ...], q: float, expected: float | None) -> None:
    assert quantile(Latency((1.0, 3.0), counts), q) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_grow_with_q(counts: list[int], q: float, r: float) -> None:
    latency = Latency((0.1, 1.0, 2.0), tuple(counts))
    low, high = quantile(latency, min(q, r)), quantile(latency, max(q, r))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high
