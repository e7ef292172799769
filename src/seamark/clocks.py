"""Clocks: when something can happen without anything else changing."""

from __future__ import annotations

from collections.abc import Iterator

from seamark.commands import ANSWER_SHOWN
from seamark.facts import Facts
from seamark.retraining import cooldown_end, job_deadline
from seamark.rollout import UNREADY_LIMIT, elapsed
from seamark.spec import Weight
from seamark.state import RolloutState, State
from seamark.traffic import ASK_AGAIN

__all__ = ["LATEST", "SOONEST", "wake_after"]

#: Limits in seconds. Never busy, and never asleep for longer than a person would wait for a changed manifest.
SOONEST, LATEST = 0.2, 60.0


def wake_after(facts: Facts, state: State) -> float:
    """Seconds until the next clock can fire; what the driver sees may change earlier."""
    waits = [clock - facts.now for clock in _clocks(facts, state) if clock > facts.now]
    return max(SOONEST, min(waits))


def _clocks(facts: Facts, state: State) -> Iterator[float]:
    """Unix seconds; some may be past."""
    yield facts.now + LATEST
    if facts.now == state.route_asked:
        yield facts.now + SOONEST
    yield state.route_asked + ASK_AGAIN
    yield from (time + ASK_AGAIN for _, time in state.asked)
    if state.previous_until is not None:
        yield state.previous_until
    if state.answer:
        yield state.answered + ANSWER_SHOWN
    if state.rollout and not state.paused:
        yield from _rollout_clocks(facts, state, state.rollout)
    yield from _retraining_clocks(facts, state)


def _rollout_clocks(facts: Facts, state: State, rollout: RolloutState) -> Iterator[float]:
    if rollout.ready_since is None:
        yield rollout.started + facts.spec.rollout.progress_deadline
    if rollout.unready_since is not None:
        yield rollout.unready_since + UNREADY_LIMIT
    spent, steps = elapsed(facts, state, rollout), facts.spec.rollout.steps
    step = steps[rollout.step] if rollout.step < len(steps) else None
    if step is not None and not isinstance(step, Weight) and step.seconds is not None:
        yield facts.now + step.seconds - spent
    if rollout.doubted is not None:
        yield facts.now + facts.spec.rollout.on_inconclusive.seconds - (spent - rollout.doubted)


def _retraining_clocks(facts: Facts, state: State) -> Iterator[float]:
    if state.retraining.job is not None:
        yield job_deadline(facts, state.retraining)
    if state.retraining.waiting:
        yield cooldown_end(facts, state)
    for finding in facts.seen.evidence.drift if facts.seen.evidence else ():
        if finding.since is not None:
            yield finding.since + facts.spec.monitoring.interval
