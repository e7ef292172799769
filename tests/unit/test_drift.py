"""Drift tests keep their false-alarm rate at any alpha, and see real shifts."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from seamark.drift import (
    Comparison,
    QualityDrop,
    alpha_per_test,
    compare,
    compare_all,
    impact,
    quality_drop,
)
from seamark.evidence import Share
from seamark.spec import FalseAlarms

UNIFORM = np.full(10, 0.1)


def counts(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("budget", "interval", "tests", "expected"),
    [
        (FalseAlarms(1, 30 * 86400), 300, 30, 1 / (8640 * 30)),
        (FalseAlarms(2, 86400), 3600, 1, 0.05),
        (FalseAlarms(1, 86400), 3600, 10, 1 / 240),
        (FalseAlarms(1, 60), 3600, 100, 0.01),
        (FalseAlarms(0.5, 86400), 86400, 0, 0.05),
    ],
    ids=["a month of 5-minute looks", "capped", "a day of hours", "an interval beyond the period", "no tests"],
)
def test_the_budget_is_split_over_every_look_at_every_feature(
    budget: FalseAlarms, interval: float, tests: int, expected: float
) -> None:
    assert alpha_per_test(budget, interval, tests) == pytest.approx(expected)


def alarms(probabilities: NDArray[np.float64], n: int, alpha: float, repeats: int) -> int:
    generator = np.random.default_rng(20261121 + n)
    windows = generator.multinomial(n, probabilities, size=repeats)
    references = generator.multinomial(5000, UNIFORM, size=repeats)
    found = compare_all(list(windows), list(references), alpha, 0.0)
    return sum(result is not None and result.score > result.threshold for result in found)


@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize(("alpha", "repeats"), [(1e-2, 40_000), (1e-3, 80_000)])
def test_without_drift_alarms_come_no_oftener_than_asked_for(n: int, alpha: float, repeats: int) -> None:
    # Three deviations of Monte Carlo error, plus 5 % for the chi-squared being a limit.
    allowed = 1.05 * alpha * repeats + 3 * math.sqrt(alpha * repeats)
    assert alarms(UNIFORM, n, alpha, repeats) <= allowed


@pytest.mark.parametrize("n", [60, 120, 200, 1000])
def test_sparse_bins_do_not_raise_the_false_alarm_rate(n: int) -> None:
    sparse = np.array([1 / i**1.5 for i in range(1, 23)])
    sparse /= sparse.sum()
    generator = np.random.default_rng(n)
    windows, references = (generator.multinomial(rows, sparse, size=20_000) for rows in (n, 5000))
    found = compare_all(list(windows), list(references), 1e-2, 0.0)
    wrong = sum(result is not None and result.score > result.threshold for result in found)
    assert wrong <= 1.05 * 200 + 3 * math.sqrt(200)


@pytest.mark.parametrize("n", [200, 1000])
def test_a_shift_by_half_a_deviation_alarms_at_a_month_budget(n: int) -> None:
    edges = stats.norm.ppf(np.linspace(0, 1, 11))
    shifted = np.diff(stats.norm.cdf(edges - (1.0 if n == 200 else 0.5)))
    assert alarms(shifted, n, 4e-6, 200) >= 198


def test_score_and_threshold_are_those_of_the_g_test() -> None:
    window, reference = counts(30, 50, 20, 100), counts(500, 500, 500, 500)
    found = compare(window, reference, 0.01, 0.0)
    assert found is not None
    expected = stats.chi2_contingency(np.array([window, reference]), lambda_="log-likelihood", correction=False)
    assert found.score == pytest.approx(expected.statistic * (1 / 200 + 1 / 2000))
    # Williams's correction is within a percent at these counts.
    assert found.threshold == pytest.approx(stats.chi2.isf(0.01, 3) * (1 / 200 + 1 / 2000), rel=0.01)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.3)
    assert found.rows == 200


def test_effect_sizes_are_on_their_own_scales() -> None:
    window, reference = counts(1000, 2000, 7000), counts(2000, 2000, 6000)
    found = compare(window, reference, 0.01, 0.0)
    assert found is not None
    assert found.psi == pytest.approx(-0.1 * math.log(0.5) + 0.1 * math.log(7 / 6), rel=1e-3)
    assert found.js == pytest.approx(_jensen_shannon(window / 1e4, reference / 1e4))
    assert found.score == pytest.approx(found.psi, rel=0.02)


def _jensen_shannon(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    middle = (p + q) / 2
    divergence = (stats.entropy(p, middle, base=2) + stats.entropy(q, middle, base=2)) / 2
    return math.sqrt(divergence)


def test_distributions_without_a_bin_in_common_are_as_far_apart_as_can_be() -> None:
    found = compare(counts(100, 0), counts(0, 100), 1e-9, 0.1)
    assert found is not None
    assert found.js == pytest.approx(1.0)
    assert math.isfinite(found.psi)
    assert found.score > found.threshold


def test_the_smallest_effect_is_a_floor_for_big_samples() -> None:
    window, reference = counts(51_000, 49_000), counts(500_000, 500_000)
    found = compare(window, reference, 1e-6, 0.1)
    assert found is not None
    assert found.p_value < 1e-6
    assert found.score < found.threshold == 0.1


@pytest.mark.parametrize(
    ("window", "reference", "testable"),
    [
        pytest.param((10, 10), (500, 500), True, id="ten rows for each bin"),
        pytest.param((10, 9), (500, 500), False, id="one row less"),
        pytest.param((500, 500), (10, 9), False, id="one reference row less"),
        pytest.param((0, 0), (500, 500), False, id="an empty window"),
        pytest.param((10, 10), (0, 0), False, id="an empty reference"),
        pytest.param((10, 0), (500, 0), True, id="all rows in one bin"),
        pytest.param((9, 0), (500, 0), False, id="too few rows even for one bin"),
        pytest.param((100, 0), (4990, 10), False, id="one bin left after the other was too sparse"),
        pytest.param((100, 0), (990, 10), False, id="just too sparse"),
        pytest.param((100, 0), (988, 12), True, id="just not too sparse"),
    ],
)
def test_too_few_rows_say_nothing(window: tuple[int, ...], reference: tuple[int, ...], testable: bool) -> None:
    assert (compare(counts(*window), counts(*reference), 0.01, 0.1) is not None) == testable


def test_one_bin_for_all_is_no_drift() -> None:
    assert compare(counts(0, 50, 0), counts(0, 500, 0), 0.01, 0.1) == Comparison(0.0, 0.1, 50, 0.0, 0.0, 1.0)


def test_sparse_bins_are_put_together_with_the_next_larger() -> None:
    together = compare(counts(100, 60, 1, 0), counts(1000, 600, 2, 1), 0.01, 0.0)
    merged = compare(counts(100, 61), counts(1000, 603), 0.01, 0.0)
    assert together is not None
    assert merged is not None
    assert (together.score, together.threshold) == pytest.approx((merged.score, merged.threshold))


def test_missing_values_that_appear_are_seen_though_the_reference_has_none() -> None:
    found = compare(counts(*[16] * 10, 40), counts(*[500] * 10, 0), 4e-6, 0.1)
    assert found is not None
    assert found.score > found.threshold


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=12))
def test_the_order_of_bins_and_empty_bins_do_not_matter(bins: list[tuple[int, int]]) -> None:
    shuffled = sorted([*bins, (0, 0)], reverse=True)
    first = compare(counts(*[w for w, _ in bins]), counts(*[r for _, r in bins]), 1e-3, 0.1)
    second = compare(counts(*[w for w, _ in shuffled]), counts(*[r for _, r in shuffled]), 1e-3, 0.1)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.rows == second.rows
        for name in ("score", "threshold", "psi", "js", "p_value"):
            assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-6, abs=1e-6)
        assert first.score >= 0
        assert 0 <= first.js <= 1
        assert 0 <= first.p_value <= 1
        assert first.threshold >= 0.1


def test_many_features_are_compared_as_each_alone() -> None:
    generator = np.random.default_rng(3)
    windows = [generator.multinomial(300, np.full(k, 1 / k)) for k in (2, 5, 11)]
    references = [generator.multinomial(900, np.full(k, 1 / k)) for k in (2, 5, 11)]
    together = compare_all(windows, references, 0.01, 0.1)
    for found, window, reference in zip(together, windows, references, strict=True):
        alone = compare(window, reference, 0.01, 0.1)
        assert found is not None
        assert alone is not None
        assert asdict(found) == pytest.approx(asdict(alone))
    assert compare_all([], [], 0.01, 0.1) == []


@pytest.mark.parametrize(("importance", "expected"), [(0.5, 0.1), (0.0, 0.0), (-0.2, 0.0), (None, 0.2)])
def test_impact_is_effect_times_importance(importance: float | None, expected: float) -> None:
    assert impact(Comparison(0.2, 0.1, 100, 0.2, 0.1, 0.0), importance) == pytest.approx(expected)
    assert impact(QualityDrop(0.2, 0.1, 100, 0.0), importance) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("live", "rows"), [(Share(0, 0), 100), (Share(80, 100), 0), (Share(0, 2), 100)], ids=["live", "reference", "few"]
)
def test_no_drop_is_judged_without_enough_data(live: Share, rows: int) -> None:
    assert quality_drop(live, 0.95, rows, 1e-6, 0.0) is None


@pytest.mark.parametrize("alpha", [0.05, 1e-6])
@pytest.mark.parametrize("total", [60, 500, 20_000])
def test_the_drops_threshold_is_where_fishers_exact_test_changes_its_mind(alpha: float, total: int) -> None:
    dropped = {
        count: quality_drop(Share(count, total), 0.9, 1000, alpha, 0.0) for count in range(0, total + 1, total // 60)
    }
    for count, found in dropped.items():
        table = [[count, total - count], [900, 100]]
        exact = stats.fisher_exact(table, alternative="less").pvalue
        assert found is not None
        assert found.p_value == pytest.approx(exact, rel=1e-6, abs=1e-12)
        assert (found.score > found.threshold) == (found.p_value <= alpha)
        assert found.score == pytest.approx(0.9 - count / total)
        assert found.rows == total


def test_a_small_drop_is_no_drop() -> None:
    found = quality_drop(Share(93_000, 100_000), 0.95, 100_000, 1e-6, 0.05)
    assert found is not None
    assert found.score < found.threshold == 0.05


@pytest.mark.parametrize("reference", [0.0, 0.5, 0.95, 1.0])
def test_quality_that_did_not_change_rarely_alarms(reference: float) -> None:
    generator = np.random.default_rng(5)
    wrong = 0
    for _ in range(1000):
        measured = generator.binomial(400, reference) / 400
        found = quality_drop(Share(int(generator.binomial(150, reference)), 150), measured, 400, 0.02, 0.0)
        wrong += found is not None and found.score > found.threshold
    assert wrong <= 20 + 3 * math.sqrt(20)
