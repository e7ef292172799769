"""The decision: from the manifest, the memory and an observation to the next memory and what to do.

Pure: the time comes in with the observation. Level-triggered: an action comes only where what is seen differs from what
is wanted, so deciding again on the same facts, with the memory the first decision returned, does nothing. If a driver
dies between applying a decision and writing it down, the same decision is made again; the actions bear that.

A pause advances no step and starts no retraining, and its time does not count. It does not stop a rollback when the
gates say Worse or the challenger crashes, nor does it stop serving what is served.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from seamark import alarms, commands, retraining, revisions, rollout, traffic
from seamark.actions import Action, Decision, Retire, Serve, StartRetraining
from seamark.clocks import wake_after
from seamark.facts import Facts, Turn
from seamark.seen import Seen
from seamark.spec import ModelDeployment
from seamark.state import State

__all__ = ["decide"]

_STAGES: tuple[Callable[[Facts, State], Turn], ...] = (
    commands.obey,
    revisions.take_up_model,
    alarms.ring,
    alarms.watch_contract,
    retraining.finish,
    revisions.deploy_first,
    rollout.begin,
    rollout.proceed,
    revisions.forget_previous,
    retraining.start,
)


def decide(spec: ModelDeployment, state: State, seen: Seen) -> Decision:
    """What to remember, what to do, what the gates say, and when to look again at the latest.

    `state` is `State()` for a deployment never seen before, else what the last decision returned.
    """
    facts = Facts(spec, seen)
    verdict = facts.verdict(state)
    state, events = _settle(facts, replace(state, generation=seen.generation))
    state, actions = _converge(facts, state, events)
    state = replace(state, message=_message(facts, state))
    return Decision(state, actions, verdict, wake_after(facts, state))


def _settle(facts: Facts, state: State) -> Turn:
    """Goes through the stages until nothing changes, so that deciding again on the same facts is quiet.

    A pass may move the rollout by one step, and a few more passes see to the rest; the bound is above that.
    """
    events: list[Action] = []
    for _ in range(len(facts.spec.rollout.steps) + 20):  # pragma: no branch  # it has always settled before
        before = state
        for stage in _STAGES:
            state, more = stage(facts, state)
            events.extend(more)
        if state == before:
            break
    return state, tuple(events)


def _converge(facts: Facts, state: State, events: tuple[Action, ...]) -> Turn:
    """Adds what is wanted and not seen to the events: traffic is asked back before a rollback is told, and revisions
    are retired after everything else. What was just asked for is not asked for again at every look.
    """
    state, routes = traffic.reroute(facts, state)
    before = traffic.missing(facts, state)
    after: list[StartRetraining | Retire] = [*retraining.pending_job(facts, state), *traffic.unwanted(facts, state)]
    known = dict(state.asked)
    times = {key: known.get(key, -math.inf) for key in (*map(_key, before), *map(_key, after))}
    due = {key for key, time in times.items() if traffic.ask_again(facts.now, time)}
    asked = tuple(sorted((key, facts.now if key in due else time) for key, time in times.items()))
    serves = [action for action in before if _key(action) in due]
    others = [action for action in after if _key(action) in due]
    return replace(state, asked=asked), (*serves, *routes, *events, *others)


def _key(action: Serve | StartRetraining | Retire) -> str:
    match action:
        case Serve():
            return f"serve {action.revision} {action.digest} {action.replicas}"
        case StartRetraining():
            return f"start {action.job}"
        case Retire():
            return f"retire {action.revision}"
        case _:
            assert_never(action)


def _message(facts: Facts, state: State) -> str:
    """Everything people should know now; it stays the same while nothing changes."""
    model = facts.seen.model
    first = traffic.first_revision(state)
    first = None if first and facts.is_full(first) else first
    cause = facts.failing(first) if first else ""
    parts = (
        model.error if model and model.uri == facts.spec.model.uri else "",
        "paused" if state.paused else "",
        f"waiting for {first} to be ready" + (cause and f": {cause}") if first else "",
        rollout.explain(facts, state),
        state.answer,
    )
    return "; ".join(part for part in parts if part)
