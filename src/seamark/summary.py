"""What people are shown about a deployment, from what was seen and decided: status, demo and the cluster print it."""

from __future__ import annotations

from typing import Any, assert_never

from seamark import durations
from seamark.actions import Decision, Verdict
from seamark.evidence import Arm, Drift, Evidence
from seamark.facts import Facts
from seamark.rollout import elapsed
from seamark.seen import Seen
from seamark.spec import Hold, ModelDeployment, Shadow, Weight
from seamark.state import Revision, State

__all__ = ["role", "summarise"]

_SHOWN = 5


def summarise(spec: ModelDeployment, state: State, seen: Seen, decision: Decision) -> dict[str, Any]:
    """One deployment for people; champion first, then the challenger, then the newest others."""
    order = sorted(state.revisions, key=lambda r: (_rank(state, r.name), -r.created))[:_SHOWN]
    champion = seen.revisions.get(state.champion or "")
    carried = seen.route is not None and seen.route.weights.get(state.champion or "", 0) > 0
    return {
        "name": spec.name,
        "namespace": spec.namespace,
        "ready": champion is not None and champion.ready > 0 and carried,
        "phase": _phase(state),
        "message": state.message or _complaints(seen),
        "step": _step(Facts(spec, seen), state),
        "verdict": _verdict(decision.verdict),
        "retraining": _retraining(state),
        "alarms": _alarms(state),
        "revisions": [_revision(state, revision, seen) for revision in order],
    }


def role(state: State, revision: str) -> str:
    """champion, challenger, shadow, previous or retired."""
    if revision == state.champion:
        return "champion"
    if state.rollout and revision == state.rollout.challenger:
        found = state.revision(revision)
        return "shadow" if found and found.phase == "Shadow" else "challenger"
    return "previous" if revision == state.previous else "retired"


def _rank(state: State, name: str) -> int:
    return ("champion", "challenger", "shadow", "previous", "retired").index(role(state, name))


def _phase(state: State) -> str:
    if state.paused:
        return "Paused"
    challenger = state.revision(state.rollout.challenger) if state.rollout else None
    if challenger and challenger.phase in ("Shadow", "Canary"):
        return challenger.phase
    return "Serving" if state.champion else "Pending"


def _complaints(seen: Seen) -> str:
    failing = [
        f"{name} is failing: {revision.failing}" for name, revision in seen.revisions.items() if revision.failing
    ]
    if seen.model and seen.model.error:
        failing.insert(0, seen.model.error)
    return "; ".join(failing)


def _step(facts: Facts, state: State) -> str:
    """As `3 of 5: hold 12s of 20s at 10 %`; "" without a rollout."""
    rollout, steps = state.rollout, facts.spec.rollout.steps
    if rollout is None:
        return ""
    if rollout.step >= len(steps):
        return "all steps are done: promoting"
    spent = durations.text(elapsed(facts, state, rollout) // 1)
    place = f"{rollout.step + 1} of {len(steps)}"
    step = steps[rollout.step]
    match step:
        case Shadow(percent, seconds):
            return f"{place}: shadow {spent} of {durations.text(seconds)}, {percent} % copied"
        case Weight(weight):
            return f"{place}: weight {weight} %"
        case Hold(seconds):
            weight = _weight_before(facts.spec, rollout.step)
            if seconds is None:
                return f"{place}: hold until a person promotes, at {weight} %"
            return f"{place}: hold {spent} of {durations.text(seconds)} at {weight} %"
        case _:
            assert_never(step)


def _weight_before(spec: ModelDeployment, step: int) -> int:
    return next((s.weight for s in reversed(spec.rollout.steps[:step]) if isinstance(s, Weight)), 0)


def _verdict(verdict: Verdict | None) -> dict[str, str] | None:
    if verdict is None:
        return None
    return {"outcome": verdict.outcome, "reason": verdict.reason, "message": verdict.message}


def _alarms(state: State) -> list[str]:
    drift = [kind if feature in ("", kind) else f"{kind} {feature}" for kind, feature in state.alarms]
    return drift + [f"contract {feature} {rule}".replace("  ", " ") for feature, rule in state.violations]


def _retraining(state: State) -> str:
    retraining = state.retraining
    if retraining.job:
        return f"running {retraining.job} ({retraining.cause})"
    if retraining.blocked:
        return "blocked while the input contract is violated"
    return retraining.waiting


def _revision(state: State, revision: Revision, seen: Seen) -> dict[str, Any]:
    name = revision.name
    replicas = seen.revisions.get(name)
    arm = _arm(seen.evidence, name)
    recent = arm.recent if arm else None
    mirror = seen.route.mirror if seen.route else None
    return {
        "name": name,
        "version": revision.version,
        "role": role(state, name),
        "phase": revision.phase,
        "weight": seen.route.weights.get(name, 0) if seen.route else 0,
        "mirror": mirror[1] if mirror and mirror[0] == name else 0,
        "ready": f"{replicas.ready}/{replicas.replicas}" if replicas else "0/0",
        "requests_per_second": arm.requests_per_second if arm else None,
        "error_rate": arm.errors / arm.requests if arm and arm.requests else None,
        "p99": arm.p99 if arm else None,
        "drift": _drift(seen.evidence) if name == state.champion else None,
        "quality": recent.value if recent else None,
        "quality_rows": recent.total if recent else 0,
    }


def _arm(evidence: Evidence | None, name: str) -> Arm | None:
    arms = (evidence.champion, evidence.challenger) if evidence else ()
    return next((arm for arm in arms if arm and arm.revision == name), None)


def _drift(evidence: Evidence | None) -> dict[str, Any] | None:
    """The drift furthest over its own threshold, or nearest to it."""
    found = [drift for drift in evidence.drift if drift.threshold > 0] if evidence else []
    if not found:
        return None
    worst: Drift = max(found, key=lambda drift: drift.score / drift.threshold)
    return {"score": worst.score, "threshold": worst.threshold, "feature": worst.feature}
