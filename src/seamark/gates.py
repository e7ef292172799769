"""Judges a challenger against its champion: one outcome for each gate, one verdict over all.

Harm is how much worse the challenger is, in the metric's own unit. Worse: harm beyond the gate's bound is proven.
Equivalent: it is excluded. Better: the challenger is proven to be ahead (accuracy only). Else Inconclusive. Proofs are
anytime-valid (`seamark.sequential`), so judging after every request is fine; alpha is split over the gates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from seamark.actions import Outcome, Verdict
from seamark.counts import quantile
from seamark.evidence import Arm, Evidence, Latency, Pairs, Share
from seamark.sequential import difference, paired_difference, proportion, quantile_bounds
from seamark.spec import Gate

__all__ = ["judge"]

#: Requests of each arm before a p99 is believed without proof.
_LATENCY_REQUESTS = 200
#: Which outcome speaks for all: over gates, and over an accuracy gate's two sources.
_OVER_GATES: tuple[Outcome, ...] = ("Worse", "Inconclusive", "Better", "Equivalent")
_OVER_SOURCES: tuple[Outcome, ...] = ("Worse", "Better", "Equivalent", "Inconclusive")


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one gate says; `reason` matters where it decides."""

    outcome: Outcome
    reason: str
    message: str


def judge(gates: Sequence[Gate], evidence: Evidence | None, alpha: float = 0.05) -> Verdict:
    """The verdict of all gates; wrong (Worse, Better or Equivalent) with probability at most alpha over all looks.

    Any Worse is Worse; else any Inconclusive is Inconclusive (reason NoData if a gate has no data at all, else
    NotEnoughData); else any Better is Better; else Equivalent. The exception to alpha is `latencyP99`, whose
    Equivalent is by estimate.
    """
    if not gates:
        return Verdict("Equivalent", "NoGates", "no gates to pass")
    findings = [_judge_one(gate, evidence, alpha / len(gates)) for gate in gates]
    outcome = next(outcome for outcome in _OVER_GATES if any(f.outcome == outcome for f in findings))
    deciding = [finding for finding in findings if finding.outcome == outcome]
    reasons = [finding.reason for finding in deciding]
    return Verdict(
        outcome,
        "NoData" if "NoData" in reasons else reasons[0],
        "; ".join(finding.message for finding in deciding),
        tuple((gate.metric, f.outcome, f.message) for gate, f in zip(gates, findings, strict=True)),
    )


def _judge_one(gate: Gate, evidence: Evidence | None, alpha: float) -> _Finding:
    return _JUDGES[gate.metric](gate, evidence or Evidence(time=0.0), alpha)


def _error_rate(gate: Gate, evidence: Evidence, alpha: float) -> _Finding:
    champion, challenger = _errors(evidence.champion), _errors(evidence.challenger)
    if champion.total == 0 or challenger.total == 0:
        return _no_data("error rate", "requests", champion.total, challenger.total)
    harm = difference(champion, challenger, alpha)
    what = _against("error rate", champion, challenger, "requests")
    return _margin_finding("ErrorRate", harm, gate.margin or 0.0, what)


def _errors(arm: Arm | None) -> Share:
    return Share(arm.errors, arm.requests) if arm else Share(0, 0)


def _accuracy(gate: Gate, evidence: Evidence, alpha: float) -> _Finding:
    """From pairs, and from each arm's own labels: with both, each has half of alpha and the stronger finding counts."""
    margin = gate.margin or 0.0
    paired = _labelled(evidence.pairs)
    champion, challenger = _correct(evidence.champion), _correct(evidence.challenger)
    by_arm = champion.total > 0 and challenger.total > 0
    if not paired and not by_arm:
        return _no_data("accuracy", "labels", champion.total, challenger.total)
    share = alpha / 2 if paired and by_arm else alpha
    findings = []
    if paired:
        findings.append(_paired_accuracy(paired, margin, share))
    if by_arm:
        low, high = difference(champion, challenger, share)
        what = _against("accuracy", champion, challenger, "labels")
        findings.append(_margin_finding("Accuracy", (-high, -low), margin, what, can_be_better=True))
    return min(findings, key=lambda finding: _OVER_SOURCES.index(finding.outcome))


def _labelled(pairs: Pairs | None) -> Pairs | None:
    return pairs if pairs and _labels(pairs) else None


def _labels(pairs: Pairs) -> int:
    return pairs.both_right + pairs.only_champion + pairs.only_challenger + pairs.neither


def _paired_accuracy(pairs: Pairs, margin: float, alpha: float) -> _Finding:
    total = _labels(pairs)
    low, high = paired_difference(pairs.only_champion, pairs.only_challenger, total, alpha)
    champion = (pairs.both_right + pairs.only_champion) / total
    challenger = (pairs.both_right + pairs.only_challenger) / total
    what = f"accuracy {_number(challenger)} against the champion's {_number(champion)} ({total} labelled pairs)"
    return _margin_finding("Accuracy", (-high, -low), margin, what, can_be_better=True)


def _correct(arm: Arm | None) -> Share:
    return arm.correct if arm and arm.correct else Share(0, 0)


def _shadow_agreement(gate: Gate, evidence: Evidence, alpha: float) -> _Finding:
    agree = evidence.pairs.agree if evidence.pairs else Share(0, 0)
    if agree.value is None:
        return _Finding("Inconclusive", "NoData", "shadow agreement: no paired answers")
    least = gate.min or 0.0
    low, high = proportion(agree.count, agree.total, alpha)
    what = f"shadow agreement {_number(agree.value)} ({agree.total} pairs), needs {_number(least)}"
    if high < least:
        return _Finding("Worse", "AgreementTooLow", f"{what}: at most {_number(high)}")
    if low >= least:
        return _Finding("Equivalent", "WithinBounds", f"{what}: at least {_number(low)}")
    return _not_enough(f"{what}: between {_number(low)} and {_number(high)}")


def _latency(gate: Gate, evidence: Evidence, alpha: float) -> _Finding:
    """Worse by proof. Equivalent by estimate: a proof of "not slower" takes tens of thousands of requests."""
    champion, challenger = _latencies(evidence.champion), _latencies(evidence.challenger)
    a, b = quantile(champion, 0.99), quantile(challenger, 0.99)
    n, m = sum(champion.counts), sum(challenger.counts)
    if a is None or b is None:
        return _no_data("p99", "requests", n, m)
    what = f"p99 {_seconds(b)} against the champion's {_seconds(a)} ({m} and {n} requests)"
    a_high = quantile_bounds(champion, 0.99, alpha / 2)[1]
    b_low = quantile_bounds(challenger, 0.99, alpha / 2)[0]
    if _is_slower(gate, a_high, b_low):
        return _Finding(
            "Worse", "LatencyWorse", f"{what}: at least {_seconds(b_low)} against at most {_seconds(a_high)}"
        )
    if math.isinf(b):
        return _not_enough(f"{what}: slower than the last bucket tells")
    if _is_slower(gate, a, b):
        return _not_enough(f"{what}: slower, not proven")
    if min(n, m) < _LATENCY_REQUESTS:
        return _not_enough(f"{what}: fewer than {_LATENCY_REQUESTS} requests")
    return _Finding("Equivalent", "WithinBounds", f"{what}: within bounds")


def _latencies(arm: Arm | None) -> Latency:
    return arm.latency if arm and arm.latency else Latency((), (0,))


def _is_slower(gate: Gate, champion: float, challenger: float) -> bool:
    """Whether the challenger's seconds exceed both bounds: the ratio, and the margin below which nothing matters."""
    return challenger > (gate.max_ratio or 1.0) * champion and challenger - champion > (gate.margin or 0.0)


_JUDGES: dict[str, Callable[[Gate, Evidence, float], _Finding]] = {
    "errorRate": _error_rate,
    "latencyP99": _latency,
    "shadowAgreement": _shadow_agreement,
    "accuracy": _accuracy,
}


def _margin_finding(
    name: str, harm: tuple[float, float], margin: float, what: str, *, can_be_better: bool = False
) -> _Finding:
    low, high = harm
    if low > margin:
        return _Finding("Worse", f"{name}Worse", f"{what}: at least {_number(low)} worse")
    if can_be_better and high < 0:
        return _Finding("Better", f"{name}Better", f"{what}: at least {_number(-high)} better")
    if high <= margin:
        within = f"at most {_number(high)} worse" if high >= 0 else f"at least {_number(-high)} better"
        return _Finding("Equivalent", "WithinBounds", f"{what}: {within}")
    return _not_enough(f"{what}: between {' and '.join(_signed(low, high))}; {margin:g} worse is allowed")


def _signed(low: float, high: float) -> Iterator[str]:
    for harm in (low, high):
        yield f"{_number(abs(harm))} {'worse' if harm > 0 else 'better'}"


def _not_enough(message: str) -> _Finding:
    return _Finding("Inconclusive", "NotEnoughData", message)


def _no_data(metric: str, of: str, champion: int, challenger: int) -> _Finding:
    counts = f"challenger {challenger}, champion {champion}"
    return _Finding("Inconclusive", "NoData", f"{metric}: no {of} to compare ({counts})")


def _against(metric: str, champion: Share, challenger: Share, of: str) -> str:
    values = f"{_number(challenger.value or 0.0)} against the champion's {_number(champion.value or 0.0)}"
    return f"{metric} {values} ({challenger.total} and {champion.total} {of})"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
