"""Has a distribution moved? Tests on counts, with thresholds that keep a budget of false alarms.

The two-sample G-test (likelihood ratio) compares a window of n rows with m reference rows, bin by bin. Its statistic
times 1/n + 1/m is on PSI's scale, so score and threshold read like a PSI whose limit fits the sample size: with no
drift, PSI itself is about (1/n + 1/m) times a chi-squared with bins - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from seamark.evidence import Share
from seamark.spec import FalseAlarms

__all__ = ["Comparison", "QualityDrop", "alpha_per_test", "compare", "compare_all", "impact", "quality_drop"]

#: A test that is wrong more often than this tells nobody anything, whatever the budget.
_MAX_ALPHA = 0.05
#: Bins in which fewer rows than this are expected are put together.
_MIN_EXPECTED = 1.0
#: Rows needed in the window and the reference for each bin left.
_ROWS_PER_BIN = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """A window of `rows` rows against its reference: drift when score > threshold.

    score and threshold are on PSI's scale; psi adds half a row to each bin in use, so that empty bins do not make it
    infinite. js is the Jensen-Shannon distance to base 2, 0..1. p_value ignores the smallest effect asked for.
    """

    score: float
    threshold: float
    rows: int
    psi: float
    js: float
    p_value: float


@dataclass(frozen=True, slots=True)
class QualityDrop:
    """How far live quality is below the reference, in shares: a real drop when score > threshold."""

    score: float
    threshold: float
    rows: int
    p_value: float


def alpha_per_test(budget: FalseAlarms, interval: float, tests: int) -> float:
    """The error rate of one test so that `tests` tests every `interval` seconds keep the budget.

    By the union bound, which holds however much windows overlap and features depend; at most 0.05.
    """
    evaluations = max(1.0, budget.seconds / interval)
    return min(_MAX_ALPHA, budget.count / (evaluations * max(1, tests)))


def compare(
    window: NDArray[np.int64], reference: NDArray[np.int64], alpha: float, min_effect: float
) -> Comparison | None:
    """Compares counts over the same bins (missing included); None when there are too few rows for the test.

    Bins with less than 1 expected row in the window or the reference are put together, by the pooled counts alone,
    which say nothing about drift. Both sides then need 10 rows for each bin left, and more than one bin must be left
    unless one bin held every row to begin with.
    """
    return compare_all([window], [reference], alpha, min_effect)[0]


def compare_all(
    windows: Sequence[NDArray[np.int64]], references: Sequence[NDArray[np.int64]], alpha: float, min_effect: float
) -> list[Comparison | None]:
    """`compare` for many features at once; each may have its own number of bins."""
    if not windows:
        return []
    width = max(len(counts) for counts in windows) + 1
    w, r = _padded(windows, width), _padded(references, width)
    n, m = w.sum(axis=1, keepdims=True), r.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        psi, js = _effects(w, r, n, m)
        used_before = np.count_nonzero(w + r, axis=1)
        w, r = _without_sparse_bins(w, r, n, m)
        g, correction, bins = _g_test(w, r, n, m)
        scale = (1 / n + 1 / m)[:, 0]
        noise = np.where(bins > 1, correction * special.chdtri(np.maximum(bins - 1, 1), alpha), 0.0)
        p_values = special.chdtrc(np.maximum(bins - 1, 1), g / correction)
    smaller = np.minimum(n, m)[:, 0]
    testable = (smaller > 0) & (smaller >= _ROWS_PER_BIN * bins) & ((bins > 1) | (used_before == 1))
    return [
        Comparison(
            score=float(scale[i] * g[i]),
            threshold=float(max(min_effect, scale[i] * noise[i])),
            rows=int(n[i, 0]),
            psi=float(psi[i]),
            js=float(js[i]),
            p_value=float(p_values[i]),
        )
        if testable[i]
        else None
        for i in range(len(windows))
    ]


def _padded(counts: Sequence[NDArray[np.int64]], width: int) -> NDArray[np.float64]:
    """One row per feature; bins beyond a feature's own are empty, and empty bins take no part."""
    result = np.zeros((len(counts), width))
    for row, own in zip(result, counts, strict=True):
        row[: len(own)] = own
    return result


def _effects(
    w: NDArray[np.float64], r: NDArray[np.float64], n: NDArray[np.float64], m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    used = (w + r) > 0
    bins = used.sum(axis=1, keepdims=True)
    p = np.where(used, (w + 0.5) / (n + 0.5 * bins), 1.0)
    q = np.where(used, (r + 0.5) / (m + 0.5 * bins), 1.0)
    psi = ((p - q) * np.log(p / q)).sum(axis=1)
    p, q = w / n, r / m
    middle = (p + q) / 2
    entropy = special.entr(middle) - (special.entr(p) + special.entr(q)) / 2
    return psi, np.sqrt(np.clip(entropy.sum(axis=1) / math.log(2), 0.0, 1.0))


def _without_sparse_bins(
    w: NDArray[np.float64], r: NDArray[np.float64], n: NDArray[np.float64], m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sparse bins put together in the last column, with the next larger bin where together they are sparse too."""
    pooled = w + r
    expected = pooled * np.minimum(n, m) / (n + m)
    sparse = ~(expected >= _MIN_EXPECTED)
    together = (expected * sparse).sum(axis=1)
    short = np.flatnonzero((together > 0) & (together < _MIN_EXPECTED))
    next_larger = np.where(sparse, np.inf, pooled).argmin(axis=1)
    sparse[short, next_larger[short]] = True
    return tuple(  # type: ignore[return-value]  # one for each of the two
        np.concatenate([np.where(sparse, 0.0, side), (side * sparse).sum(axis=1, keepdims=True)], axis=1)
        for side in (w, r)
    )


def _g_test(
    w: NDArray[np.float64], r: NDArray[np.float64], n: NDArray[np.float64], m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """G, the divisor that brings its tail to the chi-squared's (Williams 1976), and the number of bins in use."""
    pooled = w + r
    rows = (n + m)[:, 0]
    n_, m_ = n[:, 0], m[:, 0]
    bins = np.count_nonzero(pooled, axis=1)
    g = 2 * (
        special.xlogy(w, w).sum(axis=1)
        + special.xlogy(r, r).sum(axis=1)
        - special.xlogy(pooled, pooled).sum(axis=1)
        - special.xlogy(n_, n_)
        - special.xlogy(m_, m_)
        + special.xlogy(rows, rows)
    )
    inverse = np.where(pooled > 0, 1 / pooled, 0.0).sum(axis=1)
    correction = 1 + (rows / n_ + rows / m_ - 1) * (rows * inverse - 1) / (6 * rows * np.maximum(bins - 1, 1))
    return np.maximum(g, 0.0), correction, bins


def impact(comparison: Comparison | QualityDrop, importance: float | None) -> float:
    """Ranks drift by what it may do: effect times the feature's importance, or the effect where that is unknown."""
    return comparison.score * (1.0 if importance is None else max(0.0, importance))


def quality_drop(
    live: Share, reference: float, reference_rows: int, alpha: float, min_effect: float
) -> QualityDrop | None:
    """How far the live share of right answers fell below the reference's, measured on `reference_rows` rows.

    Fisher's exact test, one-sided: honest at any alpha and size. The threshold is half a row short of the smallest
    drop that is significant. None when no result of so few rows could be.
    """
    value = live.value
    if value is None or reference_rows <= 0:
        return None
    right = round(reference * reference_rows)
    allowed = _most_significant_count(live.total, right, reference_rows, alpha)
    if allowed is None:
        return None
    return QualityDrop(
        score=reference - value,
        threshold=max(min_effect, reference - (allowed + 0.5) / live.total),
        rows=live.total,
        p_value=_fisher(live.count, live.total, right, reference_rows),
    )


def _most_significant_count(total: int, right: int, rows: int, alpha: float) -> int | None:
    """The largest count of `total` that is significantly low; the p-value grows with the count."""
    if _fisher(0, total, right, rows) > alpha:
        return None
    low, high = 0, total + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _fisher(middle, total, right, rows) <= alpha:
            low = middle
        else:
            high = middle
    return low


def _fisher(count: int, total: int, right: int, rows: int) -> float:
    """P(at most `count` right among the live rows), given how many are right among live and reference rows."""
    all_right, all_wrong = count + right, total - count + rows - right
    # Terms further down are less than 1e-30 of the first: the distribution's deviation is at most sqrt(total) / 2.
    first = max(0, total - all_wrong, count - 1000 - 12 * math.isqrt(total))
    k = np.arange(first, count + 1)
    logs = _log_choose(all_right, k) + _log_choose(all_wrong, total - k)
    logs -= _log_choose(all_right + all_wrong, np.array(total))
    return float(min(1.0, np.exp(logs).sum()))


def _log_choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return result
