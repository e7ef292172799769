"""The conditions of a ModelDeployment: what holds, why, and since when. Pure.

Each bears a CamelCase reason and a message that stays while nothing happens: no times, no counters. `Ready` and
`Progressing` are always there. The others come only when they have something to say, so that `kubectl describe` fits on
a screen; `Reconciling` and `Stalled` only while they are true, as tools that wait for objects expect it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from seamark.seen import Seen
from seamark.spec import ModelDeployment
from seamark.state import State
from seamark.traffic import first_revision
from seamark_kubernetes.api import Document
from seamark_kubernetes.outbox import timestamp
from seamark_kubernetes.words import listed, shortened

__all__ = ["LOST_ROUTE", "SLOW_ROUTE", "Finding", "Trouble", "documents", "findings", "kept"]

#: Seconds that the gateway may need for a route before people are told, and before users may be without answers.
SLOW_ROUTE = 5.0
LOST_ROUTE = 60.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that could not be applied. reason: CamelCase. stalls: trying again will not help."""

    reason: str
    message: str
    stalls: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition without its times. status: True, False or Unknown."""

    type: str
    status: str
    reason: str
    message: str


def kept(document: Document, changed: Iterable[str]) -> list[Finding]:
    """The conditions that the document has, but for those of the types in `changed`."""
    return [
        Finding(old["type"], old["status"], old["reason"], old.get("message", ""))
        for old in (document.get("status") or {}).get("conditions") or []
        if old["type"] not in changed
    ]


def findings(
    spec: ModelDeployment,
    state: State,
    seen: Seen,
    *,
    ready: bool,
    troubles: Sequence[Trouble],
    unconfirmed: float,
) -> list[Finding]:
    """What is to be said. ready: users are answered. unconfirmed: seconds since the gateway confirmed the route."""
    progressing = _progressing(spec, state, seen, unconfirmed)
    stalled = _stalled(seen, troubles)
    is_moving = progressing.status == "True" and stalled is None
    found = [
        _ready(state, ready, unconfirmed),
        progressing,
        stalled,
        replace(progressing, type="Reconciling") if is_moving else None,
        _model_resolved(seen),
        _drift_detected(state),
        _retraining(state),
    ]
    return [finding for finding in found if finding is not None]


def _ready(state: State, ready: bool, unconfirmed: float) -> Finding:
    if state.champion is None:
        return Finding("Ready", "False", "Deploying", "no model answers users yet")
    if unconfirmed > LOST_ROUTE:
        return Finding("Ready", "False", "RouteUnconfirmed", "the gateway does not show the route")
    if not ready:
        return Finding("Ready", "False", "ChampionNotReady", f"{state.champion} does not answer users")
    return Finding("Ready", "True", "Serving", f"{state.champion} answers users")


def _model_resolved(seen: Seen) -> Finding | None:
    """Only while it fails: the digest in the status says that it went well."""
    if seen.model is None or not seen.model.error:
        return None
    return Finding("ModelResolved", "False", "ModelRejected", shortened(seen.model.error))


def _progressing(spec: ModelDeployment, state: State, seen: Seen, unconfirmed: float) -> Finding:
    def finding(status: str, reason: str, message: str) -> Finding:
        return Finding("Progressing", status, reason, message)

    first, champion = first_revision(state), seen.revisions.get(state.champion or "")
    if state.paused:
        return finding("False", "Paused", "a person paused it")
    if state.rollout is not None:
        return finding("True", "RolloutRunning", f"{state.rollout.challenger} is on trial")
    if first is not None:
        return finding("True", "Deploying", f"{first} is on its way to users")
    if seen.model is None:
        return finding("True", "Resolving", "a Job reads the model package")
    if state.champion is None:
        return finding("False", "NoModel", "there is no model to serve")
    if unconfirmed > SLOW_ROUTE:
        return finding("True", "RouteUnconfirmed", "the gateway does not show the route yet")
    if champion is None or champion.ready < spec.serving.replicas:
        return finding("True", "WaitingForReplicas", f"not all replicas of {state.champion} answer")
    return finding("False", "Settled", "all is as it should be")


def _drift_detected(state: State) -> Finding | None:
    """Only while there is drift."""
    kinds = sorted({kind for kind, _ in state.alarms})
    if not kinds:
        return None
    features = ", ".join(listed([feature or kind for kind, feature in state.alarms]))
    reason = f"{kinds[0].capitalize()}Drift" if len(kinds) == 1 else "Drift"
    return Finding("DriftDetected", "True", reason, f"drift in {features}")


def _retraining(state: State) -> Finding | None:
    """While a retraining runs, or is wanted and may not run yet."""
    retraining = state.retraining
    if retraining.job:
        return Finding("Retraining", "True", "Running", f"{retraining.job}: {retraining.cause}")
    if retraining.blocked:
        return Finding("Retraining", "False", "Blocked", "blocked while the input contract is violated")
    if retraining.waiting:
        # What comes after the colon is a counter.
        return Finding("Retraining", "False", "Waiting", retraining.waiting.partition(":")[0])
    return None


def _stalled(seen: Seen, troubles: Sequence[Trouble]) -> Finding | None:
    if seen.model is not None and seen.model.error:
        return Finding("Stalled", "True", "ModelRejected", shortened(seen.model.error))
    stuck = next((trouble for trouble in troubles if trouble.stalls), None)
    return Finding("Stalled", "True", stuck.reason, shortened(stuck.message)) if stuck else None


def documents(document: Document, found: Iterable[Finding], now: float) -> list[Document]:
    """As objects: each with the time (now in Unix seconds) at which its status changed last."""
    before = {old["type"]: old for old in (document.get("status") or {}).get("conditions") or []}
    generation, time = int(document["metadata"].get("generation", 1)), timestamp(now)

    def since(finding: Finding) -> str:
        old = before.get(finding.type)
        return str(old["lastTransitionTime"]) if old and old["status"] == finding.status else time

    return [
        {
            "type": finding.type,
            "status": finding.status,
            "reason": finding.reason,
            "message": finding.message,
            "lastTransitionTime": since(finding),
            "observedGeneration": generation,
        }
        for finding in found
    ]
