"""Counter growth as evidence about one revision: requests, errors, latency, contract."""

from __future__ import annotations

from collections.abc import Mapping

from seamark.counts import quantile
from seamark.evidence import Arm, Contract, Latency, Share, Violation
from seamark.metrics import LATENCY_BOUNDS
from seamark_analyzer.exposition import Series
from seamark_analyzer.history import Window

__all__ = ["arm", "contract", "latency"]

_BUCKET = "seamark_prediction_latency_seconds_bucket"


def arm(
    revision: str,
    since: float,
    until: float,
    whole: Window,
    latest: Window,
    correct: Share | None,
    recent: Share | None,
) -> Arm:
    """The revision's evidence from `since` to `until`.

    whole: growth since `since`, for the counts. latest: growth over the last seconds, for request rate and p99.
    The arm begins where its counting began, which is later than `since` after a restart of the analyzer.
    """
    recent_latency = latency(latest.counts)
    p99 = quantile(recent_latency, 0.99) if recent_latency else None
    return Arm(
        revision=revision,
        since=max(since, whole.start) if whole.counts else since,
        until=until,
        requests=round(whole.total("seamark_requests_total")),
        errors=_errors(whole.counts),
        latency=latency(whole.counts),
        correct=correct,
        recent=recent,
        requests_per_second=latest.total("seamark_requests_total") / latest.seconds if latest.seconds > 0 else 0.0,
        # Beyond the last bound the quantile is infinite, which JSON cannot say: then it reads "at least the bound".
        p99=None if p99 is None else min(p99, LATENCY_BOUNDS[-1]),
    )


def _errors(counts: Mapping[Series, float]) -> int:
    """Answers with status >= 500; a monitor puts rare statuses together as `5xx`."""
    return round(
        sum(
            value
            for series, value in counts.items()
            if series[0] == "seamark_requests_total" and series[1].startswith("5")
        )
    )


def latency(counts: Mapping[Series, float]) -> Latency | None:
    """Requests by latency from cumulative buckets; None without requests."""
    at_most = {float(series[1]): value for series, value in counts.items() if series[0] == _BUCKET}
    if not at_most.get(float("inf")):
        return None
    below = 0.0
    found: list[int] = []
    for bound in (*LATENCY_BOUNDS, float("inf")):
        # A bound that the target does not know adds nothing here and all the more at the next.
        count = max(at_most.get(bound, below), below)
        found.append(round(count - below))
        below = count
    return Latency(LATENCY_BOUNDS, tuple(found))


def contract(counts: Mapping[Series, float]) -> Contract | None:
    """Rows and violations; None without rows."""
    kept = {series[1]: round(value) for series, value in counts.items() if series[0] == "seamark_contract_rows_total"}
    rows = sum(kept.values())
    if not rows:
        return None
    violations = [
        Violation(series[1], series[2], round(value))
        for series, value in counts.items()
        if series[0] == "seamark_contract_violations_total" and round(value) > 0
    ]
    violations.sort(key=lambda violation: (-violation.rows, violation.feature, violation.rule))
    return Contract(rows, rows - kept.get("true", 0), tuple(violations))
