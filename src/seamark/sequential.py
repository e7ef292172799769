"""Anytime-valid bounds: look after every request and stop when you like, the error stays below alpha.

Each is a confidence sequence: with probability at least 1 - alpha it holds the truth at all times at once.

The mixture martingale of Robbins (1970, "Statistical methods related to the law of the iterated logarithm") for a
Bernoulli stream with k successes in n and the mixture Beta(1/2, 1/2), which is never far from the best one:

    M_n(p) = B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) / (p^k (1 - p)^(n - k))

By Ville's inequality M_n at the true p ever reaches 1/alpha with probability at most alpha, so the p with
M_n(p) < 1/alpha remain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

from seamark.evidence import Latency, Share

__all__ = ["difference", "paired_difference", "proportion", "quantile_bounds"]

_PRIOR = 0.5
#: Halvings of an interval of length 1; more do not change a double.
_HALVINGS = 60


def proportion(count: int, total: int, alpha: float) -> tuple[float, float]:
    """Bounds on the probability behind `count` of `total`; (0, 1) without data."""
    _is_sound(count, total, alpha)
    if total == 0:
        return 0.0, 1.0
    center = count / total

    least = _least_log_likelihood(count, total, alpha)

    def excluded(p: float) -> bool:
        return _log_likelihood(count, total, p) <= least

    low = _edge(0.0, center, excluded) if count > 0 else 0.0
    high = _edge(1.0, center, excluded) if count < total else 1.0
    return low, high


def difference(a: Share, b: Share, alpha: float) -> tuple[float, float]:
    """Bounds on b's probability minus a's, by the union of two sequences at alpha / 2."""
    a_low, a_high = proportion(a.count, a.total, alpha / 2)
    b_low, b_high = proportion(b.count, b.total, alpha / 2)
    return b_low - a_high, b_high - a_low


def paired_difference(only_a: int, only_b: int, total: int, alpha: float) -> tuple[float, float]:
    """Bounds on b's success probability minus a's, when both answered the same `total` requests.

    Requests that both or neither got right cancel out, so only those that one alone got right count, which are few
    when a and b are alike: by the union of two sequences at alpha / 2 on those.
    """
    return difference(Share(only_a, total), Share(only_b, total), alpha)


def quantile_bounds(latency: Latency, q: float, alpha: float) -> tuple[float, float]:
    """Bounds in seconds on the q-quantile, both bucket edges; 0 or infinity where the counts prove none.

    The quantile is above an edge when less than q of the requests are at or below it. A false bound at any edge implies
    one at the single edge next to the true quantile, as the counts only grow from edge to edge; so alpha / 2 for each
    side is enough, however many edges there are.
    """
    at_most = list(accumulate(latency.counts))
    total = at_most[-1]
    _is_sound(total, total, alpha)
    low, high = 0.0, math.inf
    for edge, count in zip(latency.bounds, at_most, strict=False):
        if _log_likelihood(count, total, q) > _least_log_likelihood(count, total, alpha / 2):
            continue
        if count < q * total:
            low = edge
        else:
            high = edge
            break
    return low, high


def _is_sound(count: int, total: int, alpha: float) -> None:
    if not 0 <= count <= total:
        raise ValueError(f"Cannot bound a proportion: {count} of {total} is not a share")
    if not 0 < alpha < 1:
        raise ValueError(f"Cannot bound a proportion: alpha is {alpha}, allowed is more than 0 and less than 1")


def _least_log_likelihood(count: int, total: int, alpha: float) -> float:
    """The data exclude a probability whose log-likelihood is not more than this: there M_n reaches 1/alpha."""
    return _log_beta(count + _PRIOR, total - count + _PRIOR) - _log_beta(_PRIOR, _PRIOR) + math.log(alpha)


def _log_likelihood(count: int, total: int, p: float) -> float:
    """Of `count` in `total` at p, which must be more than 0 and less than 1."""
    return count * math.log(p) + (total - count) * math.log1p(-p)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _edge(outside: float, inside: float, excluded: Callable[[float], bool]) -> float:
    """The excluded point nearest to `inside`: the martingale grows away from the estimate on either side."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if middle in (outside, inside):
            break
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside
