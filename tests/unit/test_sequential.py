"""Confidence sequences hold the truth at all times at once, however often one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.evidence import Latency, Share
from seamark.sequential import difference, paired_difference, proportion, quantile_bounds

SHARES = st.integers(0, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
ALPHAS = st.floats(1e-9, 0.5)


@given(SHARES, ALPHAS)
def test_a_proportion_lies_in_its_bounds_and_they_in_0_to_1(share: tuple[int, int], alpha: float) -> None:
    count, total = share
    low, high = proportion(count, total, alpha)
    assert 0 <= low <= high <= 1
    if total:
        assert low <= count / total <= high
    assert low == 0 if count == 0 else low > 0
    assert high == 1 if count == total else high < 1


@given(st.integers(0, 50), st.integers(1, 50), ALPHAS, st.integers(2, 100))
def test_bounds_shrink_with_rows_and_grow_with_confidence(count: int, more: int, alpha: float, factor: int) -> None:
    total = count + more
    low, high = proportion(count, total, alpha)
    later_low, later_high = proportion(count * factor, total * factor, alpha)
    assert later_high - later_low < high - low
    surer_low, surer_high = proportion(count, total, alpha / 10)
    assert surer_low <= low <= high <= surer_high


@given(SHARES, ALPHAS)
def test_bounds_mirror_when_right_and_wrong_swap(share: tuple[int, int], alpha: float) -> None:
    count, total = share
    low, high = proportion(count, total, alpha)
    swapped_low, swapped_high = proportion(total - count, total, alpha)
    assert (1 - swapped_high, 1 - swapped_low) == pytest.approx((low, high), abs=1e-9)


def test_the_bounds_are_where_the_mixture_martingale_is_one_over_alpha() -> None:
    for bound in proportion(30, 100, 0.05):
        mixture = math.lgamma(30.5) + math.lgamma(70.5) - math.lgamma(101) - 2 * math.lgamma(0.5)
        likelihood = 30 * math.log(bound) + 70 * math.log1p(-bound)
        assert math.exp(mixture - likelihood) == pytest.approx(20)


def test_no_errors_in_a_thousand_requests_bound_the_rate_below_one_percent() -> None:
    assert proportion(0, 1000, 0.05) == (0.0, pytest.approx(0.00701, abs=1e-4))


def test_billions_of_rows_are_no_trouble() -> None:
    low, high = proportion(10**9, 2 * 10**9, 1e-6)
    assert 0.4999 < low < 0.5 < high < 0.5001


@pytest.mark.parametrize(
    ("count", "total", "alpha"), [(-1, 5, 0.1), (6, 5, 0.1), (1, 5, 0.0), (1, 5, 1.0), (1, 5, math.nan)]
)
def test_what_is_no_share_or_no_error_rate_is_refused(count: int, total: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"^Cannot bound a proportion: "):
        proportion(count, total, alpha)


@pytest.mark.parametrize("p", [0.02, 0.5, 0.95])
def test_looking_after_every_row_keeps_the_error_below_alpha(p: float) -> None:
    alpha, rows, streams = 0.1, 400, 400
    counts = (np.random.default_rng(11).random((streams, rows)) < p).cumsum(axis=1)
    wrong = np.zeros(streams, dtype=bool)
    for n in range(1, rows + 1):
        bounds = {int(count): proportion(int(count), n, alpha) for count in np.unique(counts[:, n - 1])}
        outside = {count: not low <= p <= high for count, (low, high) in bounds.items()}
        wrong |= np.array([outside[int(count)] for count in counts[:, n - 1]])
    # A fixed-sample 90 % interval would miss the truth at some time in more than half of the streams.
    assert 0 < wrong.sum() <= alpha * streams


def test_comparing_after_every_row_keeps_the_error_below_alpha() -> None:
    alpha, rows, streams = 0.2, 200, 50
    generator = np.random.default_rng(12)
    a, b = ((generator.random((streams, rows)) < p).cumsum(axis=1) for p in (0.9, 0.8))
    wrong = 0
    for stream in range(streams):
        intervals = (
            difference(Share(int(a[stream, i]), i + 1), Share(int(b[stream, i]), i + 1), alpha) for i in range(rows)
        )
        wrong += any(not low <= -0.1 <= high for low, high in intervals)
    assert wrong <= alpha * streams


@given(SHARES, SHARES, ALPHAS)
def test_a_difference_lies_in_its_bounds(a: tuple[int, int], b: tuple[int, int], alpha: float) -> None:
    low, high = difference(Share(*a), Share(*b), alpha)
    assert -1 <= low <= high <= 1
    if a[1] and b[1]:
        assert low <= b[0] / b[1] - a[0] / a[1] <= high


def test_pairs_prove_with_fewer_rows_than_two_arms_do() -> None:
    paired_low, paired_high = paired_difference(10, 10, 1000, 0.05)
    low, high = difference(Share(900, 1000), Share(900, 1000), 0.05)
    assert paired_high - paired_low < 0.6 * (high - low)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 2000), ALPHAS)
def test_a_paired_difference_lies_in_its_bounds(only_a: int, only_b: int, same: int, alpha: float) -> None:
    total = only_a + only_b + same
    low, high = paired_difference(only_a, only_b, total, alpha)
    assert -1 <= low <= high <= 1
    if total:
        assert low <= (only_b - only_a) / total <= high


BOUNDS = (0.01, 0.1, 1.0)


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        pytest.param((0, 0, 0, 0), 0.99, (0.0, math.inf), id="nothing is known without requests"),
        pytest.param((5, 0, 0, 0), 0.99, (0.0, math.inf), id="five requests prove nothing"),
        pytest.param((2000, 0, 0, 0), 0.99, (0.0, 0.01), id="all in the first bucket"),
        pytest.param((0, 2000, 0, 0), 0.99, (0.01, 0.1), id="all in the second"),
        pytest.param((0, 0, 0, 2000), 0.99, (1.0, math.inf), id="all beyond the last bound"),
        pytest.param((1800, 0, 200, 0), 0.99, (0.1, 1.0), id="a tenth is slow"),
        pytest.param((1980, 20, 0, 0), 0.99, (0.0, 0.1), id="an edge at the quantile itself is not decided"),
        pytest.param((500, 0, 500, 0), 0.5, (0.0, 1.0), id="a median at an edge"),
    ],
)
def test_quantiles_are_bounded_by_bucket_edges(
    counts: tuple[int, ...], q: float, expected: tuple[float, float]
) -> None:
    assert quantile_bounds(Latency(BOUNDS, counts), q, 0.05) == expected


def test_watching_a_quantile_keeps_the_error_below_alpha() -> None:
    alpha, streams, rows = 0.2, 60, 400
    generator = np.random.default_rng(13)
    edges = tuple(float(edge) for edge in np.quantile(generator.exponential(size=100_000), np.linspace(0.05, 0.95, 19)))
    truth = -math.log(0.2)
    wrong = 0
    for _ in range(streams):
        buckets = np.searchsorted(edges, generator.exponential(size=rows))
        counts = np.zeros(len(edges) + 1, dtype=int)
        missed = False
        for bucket in buckets:
            counts[bucket] += 1
            low, high = quantile_bounds(Latency(edges, tuple(counts.tolist())), 0.8, alpha)
            missed |= not low <= truth <= high
        wrong += missed
    assert wrong <= alpha * streams


@given(st.lists(st.integers(0, 500), min_size=4, max_size=4), st.floats(0.01, 0.99), ALPHAS)
def test_quantile_bounds_are_in_order(counts: list[int], q: float, alpha: float) -> None:
    low, high = quantile_bounds(Latency(BOUNDS, tuple(counts)), q, alpha)
    assert 0 <= low < high
