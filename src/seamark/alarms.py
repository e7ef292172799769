"""Alarms: drift that lasts, and input that breaks the contract. No data raises nothing and clears nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from seamark.actions import Action, Notify
from seamark.evidence import Contract, Drift
from seamark.facts import Facts, Turn, finite
from seamark.state import State

__all__ = ["CLEAR_BELOW", "MIN_ROWS", "active_drift", "drift_name", "ring", "watch_contract"]

#: Rows a window needs before the share of violations means anything: below it one bad row is more than 5 %.
MIN_ROWS = 20
#: An alarm lasts until its score is below this share of the threshold: a score at the threshold must not flap.
CLEAR_BELOW = 0.8
#: Features named in a message; all are in the event's evidence.
_NAMED = 10


def active_drift(facts: Facts, state: State) -> tuple[Drift, ...]:
    """Findings above their threshold that are to be acted on, the gravest first.

    They have lasted one evaluation interval; or, where an alert manager is used, its alert fires: the rule waits.
    """
    evidence, alerts = facts.evidence(state), facts.seen.alerts
    above = [finding for finding in (evidence.drift if evidence else ()) if finding.since is not None]
    if alerts is None:
        return tuple(sorted((finding for finding in above if _lasts(facts, finding)), key=_rank))
    firing = alerts.firing or frozenset()
    return tuple(sorted((finding for finding in above if (finding.kind, finding.feature) in firing), key=_rank))


def _lasts(facts: Facts, finding: Drift) -> bool:
    return finding.since is not None and facts.now - finding.since >= facts.spec.monitoring.interval


def _rank(finding: Drift) -> tuple[float, str, str]:
    """By impact, NaN last."""
    impact = -math.inf if math.isnan(finding.impact) else finding.impact
    return -impact, finding.kind, finding.feature


def ring(facts: Facts, state: State) -> Turn:
    """Alarm when drift appears that was not known; AlarmCleared when all of it is known to be gone."""
    evidence, alerts = facts.evidence(state), facts.seen.alerts
    if evidence is None or (alerts is not None and alerts.firing is None):
        return state, ()
    active = active_drift(facts, state)
    keys = {(finding.kind, finding.feature) for finding in active}
    before = set(state.alarms)
    after = keys | {alarm for alarm in before if not _is_over(alarm, evidence.drift)}
    if after == before:
        return state, ()
    champion = state.champion or ""
    actions: list[Action] = []
    if keys - before:
        actions.append(_alarm(champion, active))
    if not after:
        message = "no drift any more in " + _names(feature or kind for kind, feature in state.alarms)
        actions.append(Notify("AlarmCleared", champion, "BelowThreshold", message, _as_evidence(evidence.drift)))
    return replace(state, alarms=tuple(sorted(after))), tuple(actions)


def _is_over(alarm: tuple[str, str], findings: Sequence[Drift]) -> bool:
    """Is it known to be well below its threshold, or not watched any more though its kind is?"""
    same_kind = [finding for finding in findings if finding.kind == alarm[0]]
    same = [finding for finding in same_kind if finding.feature == alarm[1]]
    if same:
        return all(_is_calm(finding) for finding in same)
    return any(finding.rows > 0 for finding in same_kind)


def _is_calm(finding: Drift) -> bool:
    return finding.since is None and finding.rows > 0 and finding.score < CLEAR_BELOW * finding.threshold


def drift_name(kinds: Iterable[str]) -> str:
    """FeatureDrift for one kind, Drift for several: the event's reason."""
    names = sorted(set(kinds))
    return f"{names[0].capitalize()}Drift" if len(names) == 1 else "Drift"


def _alarm(champion: str, active: Sequence[Drift]) -> Notify:
    texts = [
        f"{finding.feature or finding.kind} (score {finding.score:.3g}, threshold {finding.threshold:.3g})"
        for finding in active
    ]
    kinds = sorted({finding.kind for finding in active})
    listed = " and ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
    message = f"{listed} drift: {_names(texts)}"
    return Notify("Alarm", champion, drift_name(kinds), message, _as_evidence(active))


def _names(texts: Iterable[str]) -> str:
    names = list(texts)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _as_evidence(findings: Iterable[Drift]) -> dict[str, Any]:
    fields = ("kind", "feature", "score", "threshold", "rows", "impact")
    ranked = sorted(findings, key=_rank)
    return {"findings": [{field: finite(getattr(finding, field)) for field in fields} for finding in ranked]}


def watch_contract(facts: Facts, state: State) -> Turn:
    """Bad data must not train and must not promote: both are blocked while too many rows break the contract."""
    evidence = facts.evidence(state)
    contract = evidence.contract if evidence else None
    if contract is None or contract.rows <= 0:
        return state, ()
    if contract.violating / contract.rows <= facts.spec.monitoring.max_violations:
        return _with_violations(state, (), ""), ()
    if state.violations or contract.rows < MIN_ROWS:
        return state, ()
    trains = bool(facts.spec.retraining.on)
    broken = tuple(sorted({(violation.feature, violation.rule) for violation in contract.violations}))
    state = _with_violations(state, broken or (("", "contract"),), "ContractViolated" if trains else "")
    return state, _contract_events(state.champion or "", contract, trains=trains)


def _with_violations(state: State, violations: tuple[tuple[str, str], ...], blocked: str) -> State:
    return replace(state, violations=violations, retraining=replace(state.retraining, blocked=blocked))


def _contract_events(champion: str, contract: Contract, *, trains: bool) -> tuple[Action, ...]:
    ranked = sorted(contract.violations, key=lambda violation: (-violation.rows, violation.feature, violation.rule))
    listed = [{"feature": one.feature, "rule": one.rule, "rows": one.rows} for one in ranked]
    evidence = {"rows": contract.rows, "violating": contract.violating, "violations": listed}
    share = f"{contract.violating} of {contract.rows} rows break the contract"
    names = _names(f"{one.feature} {one.rule} ({one.rows} rows)" for one in ranked)
    violated = Notify("ContractViolated", champion, "ContractViolated", f"{share}: {names}", evidence)
    message = f"no retraining while {share}"
    blocked = Notify("RetrainingBlocked", champion, "ContractViolated", message, evidence)
    return (violated, blocked) if trains else (violated,)
