"""A simulated driver and gateway: it applies decisions, and checks at each one what must always hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, assert_never

import pytest

from seamark import gates
from seamark.actions import (
    Action,
    Decision,
    Notify,
    Outcome,
    Promote,
    Record,
    Retire,
    RollBack,
    Serve,
    StartRetraining,
    StopRetraining,
    Verdict,
)
from seamark.decide import decide
from seamark.evidence import Arm, Contract, Drift, Evidence, Violation
from seamark.seen import Alerts, Command, JobSeen, ModelSeen, RevisionSeen, RouteSeen, Seen, Verb
from seamark.spec import Gate, Model, ModelDeployment
from seamark.state import Route, State

OUTCOMES: tuple[Outcome, ...] = ("Equivalent", "Better", "Worse", "Inconclusive")
START = 1_800_000_000.0


def judge(rules: Sequence[Gate], evidence: Evidence | None, alpha: float = 0.05) -> Verdict:
    """Stands in for the gates: the test writes the outcome it wants into the evidence, as the number of errors."""
    if not rules:
        return Verdict("Equivalent", "NoGates", "no gates")
    assert evidence is not None
    assert evidence.challenger is not None
    assert 0 < alpha < 1
    outcome = OUTCOMES[evidence.challenger.errors]
    return Verdict(outcome, f"Is{outcome}", f"it is {outcome}", (("errorRate", outcome, "as told"),))


class World:
    """Everything around the decision. Public fields are what a test may change between ticks."""

    def __init__(self, spec: ModelDeployment, model: str = "a") -> None:
        self.spec = spec
        self.state = State()
        self.now = START
        self.model: ModelSeen | None = None
        self.name_model(model)
        self.revisions: dict[str, RevisionSeen] = {}
        self.ready: dict[str, bool] = {}  # what becomes of served revisions; ready where nothing is said
        self.route: RouteSeen | None = None
        self.gateway_works = True
        self.jobs: dict[str, JobSeen] = {}
        self.started: list[StartRetraining] = []
        self.commands: list[Command] = []
        self.outcome: Outcome | None = "Equivalent"  # None: no evidence at all
        self.has_challenger_evidence = True
        self.drift: tuple[Drift, ...] = ()
        self.contract: Contract | None = None
        self.alerts: Alerts | None = None  # None: no alert manager is used
        self.labels = (0, 0)  # since the drift began, in all
        self.events: list[Notify] = []
        self.records: list[Record] = []
        self.decisions: list[Decision] = []

    # --- what a test does

    def digest(self, letter: str) -> str:
        return letter * 64

    def name(self, letter: str) -> str:
        return f"{self.spec.name}-{letter * 8}"

    def name_model(self, letter: str, error: str = "") -> None:
        """The manifest's model resolves to another digest."""
        digest = "" if error else self.digest(letter)
        self.model = ModelSeen(self.spec.model.uri, digest, version=letter, error=error)

    def command(self, verb: Verb, by: str = "", reason: str = "") -> None:
        self.commands.append(Command(len(self.commands) + 1, verb, by, reason))

    def change(self, **parts: Any) -> None:
        """Changes fields of the spec's rollout, retraining, governance...: change(rollout={"steps": ()})."""
        for part, fields in parts.items():
            self.spec = replace(self.spec, **{part: replace(getattr(self.spec, part), **fields)})

    def job_ends(self, letter: str | None, **fields: Any) -> None:
        """The running Job ends: with a package, or failed."""
        assert self.state.retraining.job is not None
        phase: Any = "succeeded" if letter else "failed"
        given = {"package": f"file:///{letter}", "digest": self.digest(letter), "version": letter} if letter else {}
        self.jobs[self.state.retraining.job] = JobSeen(phase, self.now, self.now, **{**given, **fields})

    def drift_in(self, *features: str, kind: str = "feature", since: float | None = None) -> None:
        began = self.now - 10_000 if since is None else since
        self.drift = tuple(
            Drift(kind, feature, 0.5, 0.1, 1000, began, impact=float(len(features) - i))
            for i, feature in enumerate(features)
        )

    def no_drift(self, *features: str) -> None:
        self.drift = tuple(Drift("feature", feature, 0.01, 0.1, 1000) for feature in features)

    def fire(self, *features: str, kind: str = "feature") -> None:
        """An alert manager is used, and just these alerts fire there."""
        self.alerts = Alerts(frozenset((kind, feature) for feature in features))

    def violate(self, violating: int, rows: int = 100) -> None:
        self.contract = Contract(rows, violating, (Violation("age", "range", violating),) if violating else ())

    # --- what is seen

    def evidence(self) -> Evidence | None:
        if self.outcome is None:
            return None
        rollout = self.state.rollout
        arm = None
        if rollout and rollout.ready_since is not None and self.has_challenger_evidence:
            errors = OUTCOMES.index(self.outcome)
            arm = Arm(rollout.challenger, rollout.ready_since, self.now, 100, errors)
        champion = Arm(self.state.champion, START, self.now, 100, 0) if self.state.champion else None
        since, total = self.labels
        return Evidence(self.now, champion, arm, None, self.drift, self.contract, since, total)

    def see(self) -> Seen:
        revisions = {
            name: seen if self.ready.get(name, True) else replace(seen, ready=0)
            for name, seen in self.revisions.items()
        }
        return Seen(
            now=self.now,
            model=self.model,
            revisions=revisions,
            route=self.route,
            evidence=self.evidence(),
            jobs=dict(self.jobs),
            commands=tuple(self.commands),
            alerts=self.alerts,
        )

    # --- decide and apply

    def decide(self, seen: Seen | None = None) -> Decision:
        seen = seen or self.see()
        decision = decide(self.spec, self.state, seen)
        assert decide(self.spec, self.state, seen) == decision, "replaying gives the same decision"
        again = decide(self.spec, decision.state, seen)
        assert (again.actions, again.state) == ((), decision.state), "deciding again is quiet"
        self.check(decision, seen)
        return decision

    def check(self, decision: Decision, seen: Seen) -> None:
        assert 0.2 <= decision.wake_after <= 60
        state = decision.state
        for route in (action for action in decision.actions if isinstance(action, Route)):
            assert sum(route.weights.values()) == 100
            assert all(type(weight) is int and 0 <= weight <= 100 for weight in route.weights.values())
            for name, weight in route.weights.items():
                is_served = name in seen.revisions and seen.revisions[name].ready > 0
                assert weight == 0 or name == state.champion or is_served, "no traffic to what is not ready"
            if route.mirror:
                assert route.fallback != route.mirror[0], "users never see a shadow's answers"
        if state.champion != self.state.champion:
            assert Promote(state.champion or "", self.state.champion) in decision.actions
        for action in decision.actions:
            if isinstance(action, StartRetraining):
                assert action.job not in seen.jobs, "what is seen is not asked for"
            if isinstance(action, Retire):
                assert not seen.route or not seen.route.weights.get(action.revision), "it still has traffic"
                assert seen.route is not None or self.state.route is None, "it may still have traffic"
        for given_up in (action for action in decision.actions if isinstance(action, RollBack)):
            assert state.route is not None
            assert given_up.revision not in state.route.weights, "a rollback takes all traffic back at once"
            assert state.rollout or state.route.weights == {state.champion: 100}
        assert sum(revision.phase in ("Shadow", "Canary") for revision in state.revisions) <= 1
        assert len(state.revisions) <= 14
        assert len(state.message) < 1000

    def apply(self, action: Action) -> None:
        match action:
            case Serve():
                self.revisions[action.revision] = RevisionSeen(action.replicas, action.replicas)
            case Route():
                if self.gateway_works:
                    self.route = RouteSeen(action.weights, action.mirror)
            case Retire():
                self.revisions.pop(action.revision, None)
            case StartRetraining():
                if action.job not in self.jobs:
                    assert not [job for job in self.jobs.values() if job.phase == "running"], "one Job at a time"
                    self.started.append(action)
                    self.jobs[action.job] = JobSeen("running", self.now)
            case StopRetraining():
                self.jobs[action.job] = JobSeen("failed", self.now, self.now, message="stopped")
            case Promote() | RollBack() | Notify() | Record():
                pass
            case _:
                assert_never(action)

    def commit(self, decision: Decision) -> None:
        self.state = decision.state
        self.decisions.append(decision)
        self.events += [action for action in decision.actions if isinstance(action, Notify)]
        self.records += [action for action in decision.actions if isinstance(action, Record)]

    def tick(self, seconds: float = 1.0) -> Decision:
        """Time passes, and the driver gathers, decides, applies and commits."""
        self.now += seconds
        decision = self.decide()
        for action in decision.actions:
            self.apply(action)
        self.commit(decision)
        return decision

    def ticks(self, count: int, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.tick(seconds)

    def until(self, holds: Callable[[], object], limit: int = 40, seconds: float = 1.0) -> None:
        for _ in range(limit):
            if holds():
                return
            self.tick(seconds)
        assert holds(), f"not within {limit} ticks; the memory is {self.state}"

    def told(self) -> list[tuple[str, str]]:
        """Events so far as (kind, reason)."""
        return [(event.kind, event.reason) for event in self.events]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def weight(self, letter: str) -> int:
        """Percent of the traffic that the gateway gives the revision."""
        return self.route.weights.get(self.name(letter), 0) if self.route else 0

    def phase(self, letter: str) -> str:
        revision = self.state.revision(self.name(letter))
        return revision.phase if revision else "unknown"


@pytest.fixture(scope="module")
def _told_verdicts() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "judge", judge)
        yield


@pytest.fixture
def make_world(_told_verdicts: None) -> Callable[..., World]:
    """make_world(rollout={...}, retraining={...}, ...): a deployment named churn, with one gate and no steps."""

    def make(**parts: Any) -> World:
        world = World(ModelDeployment("churn", "default", Model("models:/churn")))
        world.change(rollout={"gates": (Gate("errorRate", margin=0.01),)})
        world.change(**parts)
        return world

    return make


@pytest.fixture
def deployed(make_world: Callable[..., World]) -> Callable[..., World]:
    """deployed(rollout={...}, ...): the same with model a as its champion."""

    def make(**parts: Any) -> World:
        world = make_world(**parts)
        world.until(lambda: world.state.champion)
        world.ticks(1)
        return world

    return make
