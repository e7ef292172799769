"""Rollout: a challenger's way through the steps, and the ways it can end.

A step moves only when the challenger answers and the gateway has confirmed the route. No data is neither good nor bad:
it holds, and after the time that `onInconclusive` grants the traffic goes back. A pause stops every clock and advances
nothing, but a challenger that the gates call worse, or that crashes, is still rolled back: safety comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from seamark.actions import Notify, Verdict
from seamark.facts import Facts, Turn
from seamark.revisions import give_up, is_pending, promote, with_phase
from seamark.spec import Hold, Shadow, Step, Weight
from seamark.state import RolloutState, State
from seamark.traffic import is_confirmed

__all__ = ["UNREADY_LIMIT", "begin", "elapsed", "explain", "obstacle", "proceed", "start_clock", "stop_clock"]

#: A challenger that stops answering is given up after this long (seconds): time for one restart, not for many.
UNREADY_LIMIT = 60.0

_Trouble = tuple[str, str] | None


def begin(facts: Facts, state: State) -> Turn:
    """The next revision that waits becomes the challenger, once all traffic is confirmed on the champion.

    The manifest's model goes before a retrained one: a person asked for it.
    """
    if state.champion is None or state.rollout or state.paused or not is_confirmed(facts, state):
        return state, ()
    waiting = [revision for revision in state.revisions if is_pending(state, revision)]
    if not waiting:
        return state, ()
    chosen = next((revision for revision in waiting if revision.origin == "spec"), waiting[0])
    return replace(state, rollout=RolloutState(chosen.name, facts.now)), ()


def proceed(facts: Facts, state: State) -> Turn:
    """Looks at the challenger: gives it up, moves it on, or lets it wait."""
    if state.rollout is None:
        return state, ()
    state, rollout = _watch_readiness(facts, state, state.rollout)
    verdict = facts.verdict(state)
    for find in _TROUBLES:
        if trouble := find(_Look(facts, state, rollout, verdict)):
            return give_up(facts, state, *trouble, verdict)
    if state.paused or rollout.ready_since is None or rollout.unready_since is not None:
        return state, ()
    step = _step(facts, rollout)
    if step is None:
        return _finish(facts, state, rollout, verdict)
    if isinstance(step, Weight):
        return _shift(facts, state, rollout, step)
    return _hold(facts, state, rollout, step, verdict)


# --- clocks


def _is_ticking(state: State, rollout: RolloutState) -> bool:
    return rollout.step_since is not None and rollout.unready_since is None and not state.paused


def elapsed(facts: Facts, state: State, rollout: RolloutState) -> float:
    """Seconds of the step spent so far, without pauses and outages of the challenger."""
    if rollout.step_since is None or not _is_ticking(state, rollout):
        return rollout.held
    return rollout.held + max(0.0, facts.now - rollout.step_since)


def stop_clock(facts: Facts, state: State, rollout: RolloutState) -> RolloutState:
    return replace(rollout, held=elapsed(facts, state, rollout))


def start_clock(facts: Facts, rollout: RolloutState) -> RolloutState:
    return rollout if rollout.step_since is None else replace(rollout, step_since=facts.now)


def _watch_readiness(facts: Facts, state: State, rollout: RolloutState) -> tuple[State, RolloutState]:
    """Notes when the challenger was first ready, and when it stops and starts answering again."""
    name = rollout.challenger
    if rollout.ready_since is None:
        if facts.is_full(name):
            rollout = replace(rollout, ready_since=facts.now)
    elif rollout.unready_since is None:
        if not facts.is_ready(name):
            rollout = replace(stop_clock(facts, state, rollout), unready_since=facts.now)
    elif facts.is_full(name) and not state.paused:
        rollout = replace(start_clock(facts, rollout), unready_since=None)
    return replace(state, rollout=rollout), rollout


# --- troubles: each finds one fact that ends a rollout, as (reason, message)


@dataclass(frozen=True, slots=True)
class _Look:
    facts: Facts
    state: State
    rollout: RolloutState
    verdict: Verdict | None


def _never_became_ready(look: _Look) -> _Trouble:
    deadline, name = look.facts.spec.rollout.progress_deadline, look.rollout.challenger
    if look.rollout.ready_since is not None or look.state.paused or look.facts.now - look.rollout.started < deadline:
        return None
    cause = look.facts.failing(name)
    return "ChallengerNotReady", f"{name} was not ready within {deadline:g} s" + (cause and f": {cause}")


def _crashes(look: _Look) -> _Trouble:
    cause = look.facts.failing(look.rollout.challenger)
    if look.rollout.unready_since is None or not cause:
        return None
    return "ChallengerNotReady", f"{look.rollout.challenger} stopped answering: {cause}"


def _stays_unready(look: _Look) -> _Trouble:
    """A challenger of which some replicas are back gets the time that a new one gets."""
    name, since = look.rollout.challenger, look.rollout.unready_since
    if since is None or look.state.paused:
        return None
    limit = look.facts.spec.rollout.progress_deadline if look.facts.is_ready(name) else UNREADY_LIMIT
    if look.facts.now - since < limit:
        return None
    return "ChallengerNotReady", f"{name} stopped answering and was not back within {limit:g} s"


def _gates_say_worse(look: _Look) -> _Trouble:
    """A person who promoted has overruled the gates, unless the promotion still waits for something else."""
    verdict = look.verdict
    if verdict is None or verdict.outcome != "Worse":
        return None
    waits = look.state.paused or obstacle(look.facts, look.state, look.rollout, is_last=True)
    return None if look.rollout.forced and not waits else (verdict.reason, verdict.message)


def _doubt_lasts(look: _Look) -> _Trouble:
    allowed, doubted = look.facts.spec.rollout.on_inconclusive, look.rollout.doubted
    if doubted is None or allowed.action == "pause" or _is_good(look.facts, look.verdict):
        return None
    if elapsed(look.facts, look.state, look.rollout) - doubted < allowed.seconds:
        return None
    cause = look.verdict.message if look.verdict else "there is no evidence"
    return "Inconclusive", f"no verdict {allowed.seconds:g} s after the end of the step: {cause}"


_TROUBLES: tuple[Callable[[_Look], _Trouble], ...] = (
    _never_became_ready,
    _crashes,
    _stays_unready,
    _gates_say_worse,
    _doubt_lasts,
)


# --- steps


def _step(facts: Facts, rollout: RolloutState) -> Step | None:
    """The step the rollout is at; None after the last (also when the manifest has lost steps meanwhile)."""
    steps = facts.spec.rollout.steps
    return steps[rollout.step] if rollout.step < len(steps) else None


def _next(state: State, rollout: RolloutState) -> State:
    fresh = replace(
        rollout, step=rollout.step + 1, step_since=None, held=0.0, extended=False, passed=False, doubted=None
    )
    return replace(state, rollout=fresh)


def obstacle(facts: Facts, state: State, rollout: RolloutState, *, is_last: bool) -> str:
    """What forbids more traffic, whatever the gates say; "" if nothing does."""
    if state.violations:
        return "promotion is blocked while the input contract is violated"
    if not facts.is_full(rollout.challenger):
        return f"waiting for all replicas of {rollout.challenger}"
    needed, got = facts.spec.governance.approvals, len(rollout.approvers)
    if is_last and got < needed:
        return f"waiting for approval of {rollout.challenger}: {got} of {needed}"
    return ""


def _shift(facts: Facts, state: State, rollout: RolloutState, step: Weight) -> Turn:
    """Asks for the step's weight, and goes on as soon as the gateway has it."""
    if rollout.weight != step.weight:
        if step.weight > rollout.weight and obstacle(facts, state, rollout, is_last=False):
            return state, ()
        return replace(state, rollout=replace(rollout, weight=step.weight)), ()
    if not is_confirmed(facts, state):
        return state, ()
    name = rollout.challenger
    message = f"{step.weight} % of the traffic goes to {name}"
    state = _next(with_phase(state, name, "Canary"), replace(rollout, announced=step.weight))
    return state, (Notify("WeightChanged", name, "WeightChanged", message, {"weight": step.weight}),)


def _hold(facts: Facts, state: State, rollout: RolloutState, step: Shadow | Hold, verdict: Verdict | None) -> Turn:
    """Lets the step's time pass from the moment its route is confirmed, then asks for a verdict."""
    if rollout.step_since is None:
        return _start_step(facts, state, rollout, step) if is_confirmed(facts, state) else (state, ())
    time = elapsed(facts, state, rollout)
    if step.seconds is None or time < step.seconds:
        return state, ()
    if not _is_good(facts, verdict):
        since = rollout.doubted if rollout.doubted is not None else time if rollout.passed else step.seconds
        return replace(state, rollout=replace(rollout, doubted=since, extended=True)), ()
    is_last = rollout.step + 1 >= len(facts.spec.rollout.steps)
    if obstacle(facts, state, rollout, is_last=is_last) or not is_confirmed(facts, state):
        return replace(state, rollout=replace(rollout, passed=True, doubted=None, extended=False)), ()
    return _next(state, rollout), ()


def _start_step(facts: Facts, state: State, rollout: RolloutState, step: Shadow | Hold) -> Turn:
    name = rollout.challenger
    state = replace(state, rollout=replace(rollout, step_since=facts.now))
    if isinstance(step, Hold):
        return state, ()
    message = f"{name} gets copies of {step.percent} % of the requests; users do not see its answers"
    event = Notify("ShadowStarted", name, "ShadowStarted", message, {"percent": step.percent})
    return with_phase(state, name, "Shadow"), (event,)


def _is_good(facts: Facts, verdict: Verdict | None) -> bool:
    """May the rollout go on? Without any evidence never, even where the manifest promotes on inconclusive evidence."""
    if verdict is None:
        return False
    promotes = facts.spec.rollout.on_inconclusive.action == "promote"
    return verdict.outcome in ("Better", "Equivalent") or (verdict.outcome == "Inconclusive" and promotes)


def _finish(facts: Facts, state: State, rollout: RolloutState, verdict: Verdict | None) -> Turn:
    """After the last step: all traffic, and when the gateway has confirmed it, the title."""
    if obstacle(facts, state, rollout, is_last=True):
        return state, ()
    if rollout.weight < 100:
        return replace(state, rollout=replace(rollout, weight=100)), ()
    if not is_confirmed(facts, state):
        return state, ()
    return promote(facts, state, verdict)


# --- for people


def explain(facts: Facts, state: State) -> str:
    """What the rollout waits for, in words that do not change with every look; "" if it just takes its time."""
    rollout = state.rollout
    if rollout is None or state.paused:
        return ""
    if rollout.ready_since is None or rollout.unready_since is not None:
        cause = facts.failing(rollout.challenger)
        return f"waiting for {rollout.challenger} to be ready" + (cause and f": {cause}")
    step = _step(facts, rollout)
    if rollout.extended:
        return _explain_doubt(facts, rollout)
    if step is None or rollout.passed or (isinstance(step, Weight) and rollout.weight < step.weight):
        is_last = rollout.step + 1 >= len(facts.spec.rollout.steps)
        return obstacle(facts, state, rollout, is_last=is_last)
    if isinstance(step, Hold) and step.seconds is None:
        return f"waiting for a person to promote {rollout.challenger}"
    return ""


def _explain_doubt(facts: Facts, rollout: RolloutState) -> str:
    if facts.spec.rollout.on_inconclusive.action == "pause":
        return f"waiting for a person: the gates cannot judge {rollout.challenger}"
    return f"the step is extended: the gates cannot judge {rollout.challenger} yet"
