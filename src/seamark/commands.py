"""Commands: what people ask for. Each is obeyed or refused once, by its id, and answered in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from seamark.facts import Facts, Turn
from seamark.revisions import give_up
from seamark.rollout import start_clock, stop_clock
from seamark.seen import Command, Verb
from seamark.state import RolloutState, State

__all__ = ["ANSWER_SHOWN", "obey"]

#: How long (seconds) an answer stays in the message.
ANSWER_SHOWN = 600.0


def obey(facts: Facts, state: State) -> Turn:
    """Obeys the commands not seen before, in order; drops an answer that was shown long enough."""
    if state.answer and not 0 <= facts.now - state.answered < ANSWER_SHOWN:
        state = replace(state, answer="", answered=0.0)
    turn: Turn = state, ()
    for command in sorted(facts.seen.commands, key=lambda command: command.id):
        if command.id > turn[0].last_command:
            turn = _obey_one(facts, turn, command)
    return turn


def _obey_one(facts: Facts, turn: Turn, command: Command) -> Turn:
    state, actions = turn
    state, more = _VERBS[command.verb](facts, replace(state, last_command=command.id, answer=""), command)
    answered = facts.now if state.answer else 0.0
    return replace(state, answered=answered), actions + more


def _refuse(facts: Facts, state: State, verb: str, cause: str) -> Turn:
    name = state.rollout.challenger if state.rollout else facts.spec.name
    return replace(state, answer=f"Cannot {verb} {name}: {cause}"), ()


def _promote(facts: Facts, state: State, command: Command) -> Turn:
    """Skips to the end. A person may overrule gates and clock, but never readiness, approvals or the contract."""
    rollout = state.rollout
    if rollout is None:
        return _refuse(facts, state, "promote", "no rollout is running")
    if state.paused:
        return _refuse(facts, state, "promote", "it is paused; resume it first")
    if rollout.ready_since is None or not facts.is_full(rollout.challenger):
        return _refuse(facts, state, "promote", "it is not ready")
    end = replace(rollout, step=len(facts.spec.rollout.steps), forced=True)
    end = replace(end, by=command.by, because=command.reason)
    end = replace(end, step_since=None, held=0.0, extended=False, passed=False, doubted=None)
    return replace(state, rollout=end), ()


def _abort(facts: Facts, state: State, command: Command) -> Turn:
    if state.rollout is None:
        return _refuse(facts, state, "abort", "no rollout is running")
    by = f" by {command.by}" if command.by else ""
    because = f": {command.reason}" if command.reason else ""
    return give_up(facts, state, "Aborted", f"aborted{by}{because}", facts.verdict(state))


def _pause(facts: Facts, state: State, _: Command) -> Turn:
    if state.paused:
        return state, ()
    rollout = state.rollout and stop_clock(facts, state, state.rollout)
    return replace(state, paused=True, paused_since=facts.now, rollout=rollout), ()


def _resume(facts: Facts, state: State, _: Command) -> Turn:
    """Starts the clocks again where they stopped."""
    if not state.paused:
        return state, ()
    since = state.paused_since if state.paused_since is not None else facts.now
    rollout = state.rollout and _shifted(facts, state.rollout, max(0.0, facts.now - since))
    return replace(state, paused=False, paused_since=None, rollout=rollout), ()


def _shifted(facts: Facts, rollout: RolloutState, lost: float) -> RolloutState:
    """The clocks that run from a moment run from a later one."""
    started = rollout.started + lost if rollout.ready_since is None else rollout.started
    unready = None if rollout.unready_since is None else rollout.unready_since + lost
    return replace(start_clock(facts, rollout), started=started, unready_since=unready)


def _approve(facts: Facts, state: State, command: Command) -> Turn:
    rollout = state.rollout
    if rollout is None:
        return _refuse(facts, state, "approve", "no rollout is running")
    approvers = tuple(sorted({*rollout.approvers, command.by}))
    approved = len(approvers) >= facts.spec.governance.approvals
    return replace(state, rollout=replace(rollout, approvers=approvers, approved=approved)), ()


_VERBS: Mapping[Verb, Callable[[Facts, State, Command], Turn]] = {
    "promote": _promote,
    "abort": _abort,
    "pause": _pause,
    "resume": _resume,
    "approve": _approve,
}
