"""Whatever happens in whatever order, traffic is safe, nothing happens twice, and everything comes to an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from seamark.actions import Decision, Record, StartRetraining
from seamark.evidence import Drift
from seamark.seen import Alerts, RevisionSeen, RouteSeen, Seen
from seamark.spec import Hold, Inconclusive, Shadow, Step, Trigger, Weight
from seamark.state import State

Make = Callable[..., Any]

STEPS: tuple[tuple[Step, ...], ...] = (
    (),
    (Weight(10), Weight(50), Hold(10)),
    (Shadow(100, 10), Weight(10), Hold(10), Weight(50), Hold(10)),
    (Shadow(50, 10), Hold(None)),
    (Weight(50), Hold(10)),
    (Hold(10), Weight(100), Hold(10)),
)
BUDGET = 40.0
LETTERS = "abcd"
DRIFTS = (("feature", "age"), ("prediction", ""))
DRIFTING = ((), DRIFTS[:1], DRIFTS[:1], DRIFTS)
ALERTS = (None, (), DRIFTS[:1], DRIFTS[1:], DRIFTS, (("feature", "income"),))  # None: the alert manager does not answer


def is_judged(steps: tuple[Step, ...], reached: int) -> bool:
    return any(not isinstance(step, Weight) for step in steps[:reached])


def _gateway_stops(world: Any, name: str, is_on: bool) -> None:
    world.gateway_works = not is_on


def _others_change_the_route(world: Any, name: str, is_on: bool) -> None:
    world.route = RouteSeen({name: 100}) if is_on else None


def _revision_is_unready(world: Any, name: str, is_on: bool) -> None:
    world.ready[name] = not is_on


def _replica_fails(world: Any, name: str, is_on: bool) -> None:
    if name in world.revisions:
        failing = "" if is_on else "out of memory"
        world.revisions[name] = replace(world.revisions[name], ready=1 if is_on else 0, failing=failing)


def _process_is_lost(world: Any, name: str, is_on: bool) -> None:
    world.revisions.pop(name, None)


FAULTS: dict[str, Callable[[Any, str, bool], None]] = {
    "gateway": _gateway_stops,
    "route": _others_change_the_route,
    "ready": _revision_is_unready,
    "replica": _replica_fails,
    "process": _process_is_lost,
}


class Machine(RuleBasedStateMachine):
    """The world of these tests, with faults. Subclassed with a `make`."""

    make: Make

    @initialize(
        steps=st.sampled_from(STEPS),
        action=st.sampled_from(["extend", "extend", "pause", "promote"]),
        approvals=st.sampled_from([0, 0, 1]),
        replicas=st.sampled_from([1, 1, 2]),
        models=st.sampled_from(["", "a", "ab", "ab"]),
        has_alerts=st.sampled_from([False, True, True]),
        drifts=st.sampled_from(DRIFTING),
        firing=st.sampled_from(ALERTS),
    )
    def begin(
        self,
        steps: tuple[Step, ...],
        action: str,
        approvals: int,
        replicas: int,
        models: str,
        has_alerts: bool,
        drifts: Any,
        firing: Any,
    ) -> None:
        self.world = type(self).make(
            rollout={"steps": steps, "on_inconclusive": Inconclusive(action, BUDGET), "progress_deadline": 60.0},
            retraining={
                "on": (Trigger(drift="feature"), Trigger(drift="prediction")),
                "min_labels": 1,
                "cooldown": 20.0,
                "deadline": 50.0,
            },
            governance={"approvals": approvals},
            serving={"replicas": replicas},
        )
        self.world.labels = (10, 10)
        self.world.alerts = Alerts(None) if has_alerts else None
        self.episodes: dict[str, int] = {}
        for letter in models:
            self.world.name_model(letter)
            self.some_ticks()
        self.data(drifts, 0, firing)

    # --- the driver

    def look(self, seconds: float) -> Decision:
        world, before = self.world, self.world.state
        world.now += seconds
        seen = world.see()
        decision = world.decide(seen)
        self.check_pause(before, decision, seen)
        self.check_raise(before, decision)
        self.check_abort(before, decision, seen)
        self.check_confirmed(before, decision, seen)
        self.check_alerts(before, decision, seen)
        return decision

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 12.0, 45.0]))
    def tick(self, seconds: float) -> None:
        decision = self.look(seconds)
        for action in decision.actions:
            self.world.apply(action)
        self.note_jobs(decision)
        self.world.commit(decision)

    @rule()
    def some_ticks(self) -> None:
        for _ in range(4):
            self.tick(2.0)

    @rule(seconds=st.sampled_from([0.3, 5.0]), share=st.floats(0, 1))
    def crash(self, seconds: float, share: float) -> None:
        """The driver dies after some of the actions, and forgets the decision."""
        decision = self.look(seconds)
        for action in decision.actions[: round(share * len(decision.actions))]:
            self.world.apply(action)

    def note_jobs(self, decision: Decision) -> None:
        for action in decision.actions:
            if isinstance(action, StartRetraining):
                episode = decision.state.retraining.episode
                assert self.episodes.setdefault(action.job, episode) == episode, "one name, one episode"

    # --- what must hold

    def check_pause(self, before: State, decision: Decision, seen: Seen) -> None:
        after = decision.state
        fresh = {command.verb for command in seen.commands if command.id > before.last_command}
        if not (before.paused and after.paused) or "resume" in fresh:
            return
        assert after.retraining.episode == before.retraining.episode, "a pause starts no Job"
        if after.rollout and before.rollout:
            assert after.rollout.challenger == before.rollout.challenger
            assert (after.rollout.step, after.rollout.weight) == (before.rollout.step, before.rollout.weight)
        elif before.champion:
            assert after.rollout is None, "a pause begins no rollout"
            assert after.champion == before.champion

    def check_raise(self, before: State, decision: Decision) -> None:
        """A bad or missing metric never raises weight: not what was earned, and not what is routed beyond it."""
        rollout, old = decision.state.rollout, before.rollout
        if rollout is None:
            return
        routed = decision.state.route.weights.get(rollout.challenger, 0) if decision.state.route else 0
        assert routed <= rollout.weight
        earned = old.weight if old and old.challenger == rollout.challenger else 0
        if rollout.weight <= earned or rollout.forced:
            return
        assert not decision.state.violations, "broken input never raises weight"
        assert rollout.ready_since is not None
        wish, verdict = self.world.spec.rollout, decision.verdict
        assert verdict is None or verdict.outcome != "Worse"
        if is_judged(wish.steps, rollout.step):
            assert verdict is not None, "no evidence never raises weight"
            allowed = ("Better", "Equivalent", "Inconclusive")[: 3 if wish.on_inconclusive.action == "promote" else 2]
            assert verdict.outcome in allowed

    def check_abort(self, before: State, decision: Decision, seen: Seen) -> None:
        fresh = [command for command in seen.commands if command.id > before.last_command]
        if fresh and fresh[-1].verb == "abort" and before.rollout and not decision.state.rollout:
            assert decision.state.route is not None
            assert decision.state.route.weights == {decision.state.champion: 100}

    def check_confirmed(self, before: State, decision: Decision, seen: Seen) -> None:
        """A challenger is asked to get more only when the gateway has the route before, or already the new one."""
        rollout, route = decision.state.rollout, decision.state.route
        if rollout is None or route is None or before.route is None:
            return
        name = rollout.challenger
        if route.weights.get(name, 0) > before.route.weights.get(name, 0):
            assert seen.route is not None
            assert seen.route.weights in (before.route.weights, route.weights)

    def check_alerts(self, before: State, decision: Decision, seen: Seen) -> None:
        """Where an alert manager is used, drift is acted on only while its alert fires; unknown holds."""
        if seen.alerts is None:
            return
        firing, after = seen.alerts.firing, decision.state
        kinds = {kind for kind, _ in firing or ()}
        for action in decision.actions:
            if isinstance(action, Record) and action.what == "StartRetraining":
                assert action.evidence["cause"].split()[:2] in [[kind, "drift"] for kind in kinds], (
                    "no alert of it fires"
                )
        if before.retraining.episode == after.retraining.episode:
            assert before.retraining.starts == after.retraining.starts
        else:
            assert kinds, "an episode is a start, and no alert fires"
        assert set(after.alarms) - set(before.alarms) <= (firing or set()), "an alarm without its alert"
        assert firing is not None or after.alarms == before.alarms, "unknown raises nothing and clears nothing"

    # --- what happens: few rules, so that time passes in every third or so and deep states are reached

    @rule(kind=st.sampled_from(sorted(FAULTS)), letter=st.sampled_from(LETTERS), is_on=st.booleans())
    def fault(self, kind: str, letter: str, is_on: bool) -> None:
        FAULTS[kind](self.world, self.world.name(letter), is_on)

    @rule(outcome=st.sampled_from(["Equivalent", "Better", "Worse", "Inconclusive", None]), has=st.booleans())
    def evidence(self, outcome: Any, has: bool) -> None:
        self.world.outcome = outcome
        self.world.has_challenger_evidence = has or outcome == "Worse"

    @rule(letter=st.sampled_from(LETTERS), error=st.sampled_from(["", "", "", "Cannot read it"]))
    def manifest(self, letter: str, error: str) -> None:
        self.world.name_model(letter, error)

    @rule(verb=st.sampled_from(["promote", "abort", "pause", "pause", "resume", "approve"]), by=st.sampled_from("xy"))
    def person(self, verb: Any, by: str) -> None:
        self.world.command(verb, by)

    @rule(
        drifts=st.sampled_from(DRIFTING),
        violating=st.sampled_from([0, 0, 50]),
        firing=st.sampled_from(ALERTS),
    )
    def data(self, drifts: Any, violating: int, firing: Any) -> None:
        world = self.world
        world.violate(violating)
        world.drift = tuple(
            Drift(*key, 0.5, 0.1, 1000, world.now - 10_000) if key in drifts else Drift(*key, 0.01, 0.1, 1000)
            for key in DRIFTS
        )
        if world.alerts is not None:
            world.alerts = Alerts(None if firing is None else frozenset(firing))
        self.tick(1.0)

    @precondition(lambda self: self.is_training())
    @rule(letter=st.sampled_from([None, "a", "b", "c"]), digest=st.sampled_from([None, None, "garbage", ""]))
    def job_ends(self, letter: str | None, digest: str | None) -> None:
        self.world.job_ends(letter, **({} if digest is None or letter is None else {"digest": digest}))

    def is_training(self) -> bool:
        job = self.world.state.retraining.job
        return job in self.world.jobs and self.world.jobs[job].phase == "running"

    # --- the end

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.stop_faults()
        for _ in range(60):
            self.tick(10.0)
            if self.is_training():
                self.job_ends(None, None)
        world, state = self.world, self.world.state
        waits = isinstance(self.step(state), Hold) and self.step(state).seconds is None
        assert state.rollout is None or (state.message and (waits or "waiting" in state.message)), state
        if state.champion:
            assert (world.route.weights == {state.champion: 100}) or state.rollout
        names = {state.champion, state.rollout.challenger if state.rollout else None, state.previous}
        names |= set(world.route.weights) if world.route else set()
        assert set(world.revisions) <= names, "what is not needed is retired"

    def stop_faults(self) -> None:
        """Everything works again, except that there is no evidence about the challenger."""
        world = self.world
        world.gateway_works, world.outcome, world.has_challenger_evidence = True, "Equivalent", False
        world.ready.clear()
        replicas = world.spec.serving.replicas
        world.revisions = {name: RevisionSeen(replicas, replicas) for name in world.revisions}
        world.violate(0)
        world.no_drift("age")
        world.command("resume")

    def step(self, state: State) -> Any:
        steps = self.world.spec.rollout.steps
        return steps[state.rollout.step] if state.rollout and state.rollout.step < len(steps) else None


@pytest.mark.timeout(400)  # a failure takes minutes to shrink
def test_whatever_happens_traffic_is_safe_and_everything_comes_to_an_end(make_world: Make) -> None:
    machine = type("MachineOfWorlds", (Machine,), {"make": staticmethod(make_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,  # the same runs for everyone; raise max_examples and drop this to search
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.parametrize("action", ["extend", "promote"])
def test_with_evidence_dead_a_rollback_comes_within_a_bounded_time(deployed: Make, action: str) -> None:
    world = deployed(rollout={"steps": STEPS[2], "on_inconclusive": Inconclusive(action, BUDGET)})
    world.name_model("b")
    world.until(lambda: world.weight("b") == 10, limit=20)
    world.outcome = None
    world.until(lambda: world.weight("a") == 100 and world.state.rollout is None, limit=10 + int(BUDGET) + 3)
    assert world.told()[-1] == ("RolledBack", "Inconclusive")
