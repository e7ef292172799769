"""Counters that add up: increases over scrapes, sums over replicas, quantiles of latency histograms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from seamark.evidence import Latency

__all__ = ["add", "increase", "quantile"]

_K = TypeVar("_K", bound=Hashable)


def increase(samples: Sequence[Mapping[_K, float]]) -> dict[_K, float]:
    """How much each counter of one process grew over successive samples, oldest first.

    - The first sample is the base: what it holds is not growth.
    - A value lower than the key's last one is a restart: the counter began at 0 again, so the whole value is growth.
    - A key that no earlier sample holds began at 0 after the sample before it, so its whole value is growth.
    - A key that a sample lacks is compared with its last value when it comes back.
    - NaN is no value.

    Fewer than two samples say nothing: the result is empty. A failed scrape is not a sample; leave it out.
    """
    if len(samples) < 2:
        return {}
    last = {key: value for key, value in samples[0].items() if not math.isnan(value)}
    grown = dict.fromkeys(last, 0.0)
    for sample in samples[1:]:
        for key, value in sample.items():
            if math.isnan(value):
                continue
            before = last.get(key, 0.0)
            grown[key] = grown.get(key, 0.0) + (value - before if value >= before else value)
            last[key] = value
    return grown


def add(parts: Sequence[Mapping[_K, float]]) -> dict[_K, float]:
    """The sum by key, over replicas say; a key that a part lacks adds nothing."""
    total: dict[_K, float] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total.get(key, 0.0) + value
    return total


def quantile(latency: Latency, q: float) -> float | None:
    """The q-quantile in seconds, straight-line within its bucket; None without requests, inf beyond the last bound."""
    cumulative = list(accumulate(latency.counts))
    total = cumulative[-1]
    if total == 0:
        return None
    rank = q * total
    bucket = next(i for i, count in enumerate(cumulative) if count >= rank and latency.counts[i])
    if bucket == len(latency.bounds):
        return math.inf
    low = latency.bounds[bucket - 1] if bucket else 0.0
    share = 1 - (cumulative[bucket] - rank) / latency.counts[bucket]
    return low + (latency.bounds[bucket] - low) * share
