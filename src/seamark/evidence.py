"""Evidence: the numbers decisions are made from, with sample sizes. Counts, so that they can be added and judged.

None means no data. No data is never good and never bad.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Arm", "Contract", "Drift", "Evidence", "Latency", "Pairs", "Share", "Violation"]


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `total`."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Latency:
    """Requests by server latency: `counts[i]` took at most `bounds[i]` seconds and more than the bound before.

    `counts` has one entry more than `bounds`, for what took longer than the last.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """One revision between `since` and `until` (Unix seconds); errors are answers with status >= 500.

    correct: labelled predictions whose class equals the label (classification); None without labels.
    recent: the same over the monitoring window only, for people to watch.
    """

    revision: str
    since: float
    until: float
    requests: int
    errors: int
    latency: Latency | None = None
    correct: Share | None = None
    recent: Share | None = None
    requests_per_second: float = 0.0
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same request answered by champion and challenger, joined by prediction id.

    agree: equal classes (or, for regression, values within 5 % of the champion's prediction spread).
    The four labelled counts say who was right where the label is known.
    """

    agree: Share
    score_difference: float | None = None
    both_right: int = 0
    only_champion: int = 0
    only_challenger: int = 0
    neither: int = 0


@dataclass(frozen=True, slots=True)
class Drift:
    """One comparison of the champion's window with its profile.

    score and threshold share a scale (see `seamark.drift`); `since` is when the score rose above the threshold and
    stayed there, None while it is below. feature is "" for kinds that have none. impact ranks: effect x importance.
    """

    kind: str
    feature: str
    score: float
    threshold: float
    rows: int
    since: float | None = None
    impact: float = 0.0


@dataclass(frozen=True, slots=True)
class Violation:
    feature: str
    rule: str
    rows: int


@dataclass(frozen=True, slots=True)
class Contract:
    """Rows seen and rows violating the contract in the monitoring window, by feature and rule."""

    rows: int
    violating: int
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known about a deployment at `time`. Arms run since `since`, the start of the rollout.

    `labels_since_drift` counts the champion's labelled predictions since the earliest active drift crossed its
    threshold.
    """

    time: float
    champion: Arm | None = None
    challenger: Arm | None = None
    pairs: Pairs | None = None
    drift: tuple[Drift, ...] = ()
    contract: Contract | None = None
    labels_since_drift: int = 0
    labels_total: int = 0
