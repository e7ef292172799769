"""Revisions: how a model version comes in, becomes the champion, or is given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from seamark.actions import Action, Notify, Promote, Record, RollBack, Verdict
from seamark.facts import Facts, Turn
from seamark.seen import ModelSeen
from seamark.state import Phase, Revision, RolloutState, State
from seamark.traffic import first_revision, is_confirmed

__all__ = [
    "HISTORY",
    "add_revision",
    "deploy_first",
    "forget_previous",
    "give_up",
    "is_pending",
    "promote",
    "revision_name",
    "take_up_model",
    "with_phase",
]

#: Revisions remembered, beside those in use.
HISTORY = 10
#: How long (seconds, at most) the champion before is kept warm: long enough to notice a bad promotion by eye.
_KEEP_PREVIOUS = 300.0


def revision_name(deployment: str, digest: str) -> str:
    return f"{deployment}-{digest[:8]}"


def with_phase(state: State, name: str, phase: Phase) -> State:
    revisions = tuple(
        replace(revision, phase=phase) if revision.name == name else revision for revision in state.revisions
    )
    return replace(state, revisions=revisions)


def is_pending(state: State, revision: Revision) -> bool:
    """Is it waiting for its rollout to begin?"""
    challenger = state.rollout.challenger if state.rollout else None
    return revision.phase == "Pending" and revision.name != challenger


def add_revision(state: State, revision: Revision) -> State:
    """Adds a revision, in place of an earlier try of the same version, and forgets the oldest no longer in use."""
    others = tuple(other for other in state.revisions if other.name != revision.name)
    if state.previous == revision.name:
        state = replace(state, previous=None, previous_until=None)
    challenger = state.rollout.challenger if state.rollout else None
    in_use = {state.champion, challenger, state.previous}
    old = [other for other in others if other.name not in in_use and other.phase != "Pending"]
    surplus = {other.name for other in old[: max(0, len(others) + 1 - HISTORY)]}
    kept = tuple(other for other in others if other.name not in surplus)
    return replace(state, revisions=(*kept, revision))


def take_up_model(facts: Facts, state: State) -> Turn:
    """Makes a revision of the manifest's model when it resolves to another digest than the one last taken up.

    So the same manifest, applied again, undoes neither a promotion nor a rollback. A pause puts it off, except for the
    very first model: there is nothing to protect yet.
    """
    model = facts.seen.model
    if model is None or model.error or not model.digest or model.uri != facts.spec.model.uri:
        return state, ()
    if model.digest == state.model or (state.paused and state.champion is not None):
        return state, ()
    state = replace(state, model=model.digest)
    known = {revision.digest: revision for revision in _live(state)}.get(model.digest)
    state = _drop_pending(state, keep=known)
    if known is not None and state.rollout is not None and known.name == state.rollout.challenger:
        return state, ()
    state, actions = _supersede(facts, state, model)
    return (state if known else add_revision(state, _from_model(facts, model))), actions


def _live(state: State) -> list[Revision]:
    challenger = state.rollout.challenger if state.rollout else None
    in_use = (state.champion, challenger)
    return [revision for revision in state.revisions if revision.name in in_use or is_pending(state, revision)]


def _from_model(facts: Facts, model: ModelSeen) -> Revision:
    name = revision_name(facts.spec.name, model.digest)
    return Revision(name, model.uri, model.digest, "spec", facts.now, model.version)


def _drop_pending(state: State, keep: Revision | None) -> State:
    """The manifest names one model: an earlier one from it that still waits will not be tried."""
    for revision in state.revisions:
        if is_pending(state, revision) and revision.origin == "spec" and revision != keep:
            state = with_phase(state, revision.name, "Retired")
    return state


def _supersede(facts: Facts, state: State, model: ModelSeen) -> Turn:
    if state.rollout is None:
        return state, ()
    message = f"the manifest now names {revision_name(facts.spec.name, model.digest)}"
    return give_up(facts, state, "Superseded", message, None)


def deploy_first(facts: Facts, state: State) -> Turn:
    """The first model becomes the champion as soon as users reach it: there is nothing to compare it with."""
    name = first_revision(state)
    if name is None or not is_confirmed(facts, state):
        return state, ()
    state = with_phase(replace(state, champion=name), name, "Champion")
    return state, (
        Promote(name, None),
        Record("Promote", name, "Deployed"),
        Notify("Deployed", name, "Deployed", f"{name} answers all requests"),
    )


def promote(facts: Facts, state: State, verdict: Verdict | None) -> Turn:
    """The challenger, which has all the traffic, becomes the champion; the old one stays warm for a while."""
    assert state.rollout is not None
    name, before = state.rollout.challenger, state.champion
    reason = "PromotedByPerson" if state.rollout.forced else "GatesPassed"
    evidence = _describe(verdict) | {"previous": before, "approvers": list(state.rollout.approvers)}
    if state.rollout.forced:
        evidence |= {"by": state.rollout.by, "because": state.rollout.because}
    actions: list[Action] = [Promote(name, before), Record("Promote", name, reason, evidence)]
    if state.rollout.announced < 100:
        actions.append(
            Notify("WeightChanged", name, "WeightChanged", f"100 % of the traffic goes to {name}", {"weight": 100})
        )
    message = f"{name} is the champion, after {before}: {_why(facts, state.rollout, verdict)}"
    actions.append(Notify("Promoted", name, reason, message, evidence))
    until = facts.now + min(facts.spec.rollout.progress_deadline, _KEEP_PREVIOUS)
    state = with_phase(state, name, "Champion")
    state = with_phase(state, before, "Retired") if before else state
    state = _with_failures(facts, state, name, failed=False)
    return replace(state, champion=name, previous=before, previous_until=until, rollout=None), tuple(actions)


def _why(facts: Facts, rollout: RolloutState, verdict: Verdict | None) -> str:
    if rollout.forced:
        return f"{rollout.by or 'a person'} promoted it" + (rollout.because and f": {rollout.because}")
    if not facts.spec.rollout.gates:
        return "no gates to pass"
    return f"the gates say {verdict.outcome}" if verdict else "the gates were passed"


def give_up(facts: Facts, state: State, reason: str, message: str, verdict: Verdict | None) -> Turn:
    """Ends the rollout; the route goes back to the champion in the same decision, for no challenger is left."""
    assert state.rollout is not None
    rollout, champion = state.rollout, state.champion
    name = rollout.challenger
    evidence = _describe(verdict) | {
        "weight": rollout.weight,
        "step": rollout.step,
        "champion": champion,
        "why": message,
    }
    text = f"all traffic is back on {champion}: {message}" if rollout.weight else f"{champion} stays: {message}"
    state = with_phase(replace(state, rollout=None), name, "RolledBack")
    if reason != "Superseded":
        state = _with_failures(facts, state, name, failed=True)
    return state, (
        RollBack(name, champion),
        Record("RollBack", name, reason, evidence),
        Notify("RolledBack", name, reason, text, evidence),
    )


def _with_failures(facts: Facts, state: State, name: str, *, failed: bool) -> State:
    """A retrained challenger's end: failures in a row grow the cooldown, which begins now."""
    revision = state.revision(name)
    if revision is None or revision.origin != "retraining":
        return state
    failures = state.retraining.failures + 1 if failed else 0
    return replace(state, retraining=replace(state.retraining, failures=failures, finished=facts.now))


def _describe(verdict: Verdict | None) -> dict[str, Any]:
    """The verdict as JSON for events and the audit trail."""
    if verdict is None:
        return {"verdict": None}
    gates: list[Mapping[str, str]] = [
        {"metric": metric, "outcome": outcome, "message": message} for metric, outcome, message in verdict.gates
    ]
    return {"verdict": verdict.outcome, "reason": verdict.reason, "message": verdict.message, "gates": gates}


def forget_previous(facts: Facts, state: State) -> Turn:
    """The champion before is let go when its time is over; a pause keeps it."""
    if state.previous is None or state.previous_until is None or state.paused or facts.now < state.previous_until:
        return state, ()
    return replace(state, previous=None, previous_until=None), ()
