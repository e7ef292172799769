"""A turn survives its death at any point, acts on the newest memory only, and does everything once.

Where decisions are injected, what is decided is tested with the core; elsewhere the core decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from seamark.actions import Action, Decision, Notify, Record, Retire, Route, Serve, StopRetraining
from seamark.errors import InvalidSpec, SeamarkError, Unavailable
from seamark.seen import RouteSeen
from seamark.spec import ModelDeployment
from seamark.state import State
from seamark_kubernetes import fault, routes
from seamark_kubernetes.api import (
    BACKEND_TRAFFIC_POLICY,
    EVENT,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    JOB,
    MODEL_DEPLOYMENT,
    MODEL_REVISION,
    STATE,
    Owner,
)
from seamark_kubernetes.effects import fault_name
from seamark_kubernetes.turn import IDLE, LAG, MOVING, SOON, Decide, Turns

A, B = "churn-aaaaaaaa", "churn-bbbbbbbb"
NOTICE = Notify("Promoted", A, "GatesPassed", f"{A} is the champion")
STORY = ["Deployed", "WeightChanged", "Promoted"]


class Recorder:
    """An applier that only takes notes, and fails where it is told to."""

    def __init__(self, **failing: SeamarkError) -> None:
        self.failing = failing
        self.applied: list[Action] = []
        self.resolved: list[str] = []

    async def apply(self, owner: Owner, spec: ModelDeployment, state: State, actions: Iterable[Action]) -> None:
        for action in actions:
            if error := self.failing.get(fault_name(action)):
                raise error
            self.applied.append(action)

    async def resolve(self, owner: Owner, spec: ModelDeployment, nonce: str) -> None:
        self.resolved.append(nonce)


SERVE = Serve(A, "pvc://models/v1", "a" * 64, 1)
ACTIONS: tuple[Action, ...] = (SERVE, Route({A: 100}), Retire(B))


# --- the whole story, by the core


def tell_story(world: Any, turns: Turns) -> None:
    """A first model, then another one, then nothing to do."""
    world.submit("v1")
    world.turn(turns, 6)
    world.submit("v2")
    world.turn(turns, 6)
    world.turn(turns, 3, seconds=400.0)


def outcome(world: Any) -> dict[str, Any]:
    """All that can be seen from outside, without times."""
    status = {key: value for key, value in world.status.items() if key != "conditions"}
    return {
        "events": world.events,
        "served": world.served,
        "backends": world.backends,
        "history": {revision: world.history(revision) for revision in (A, B)},
        "status": status,
        "conditions": [(one["type"], one["status"], one["reason"]) for one in world.status["conditions"]],
        "jobs": [one["metadata"]["name"] for one in world.api.all(JOB)],
        "outbox": world.state["outbox"],
        "champion": world.state["memory"]["champion"],
    }


def test_a_model_is_deployed_and_another_takes_its_place(world: Any) -> None:
    tell_story(world, world.operator())
    found = outcome(world)
    assert found["events"] == STORY
    assert found["served"] == [B]
    assert found["backends"] == [(B, 100)]
    assert found["history"] == {A: ["Promote"], B: ["Promote"]}
    assert (found["champion"], found["outbox"], len(found["jobs"])) == (B, [], 2)
    assert world.condition("Ready")["status"] == "True"


def test_users_get_sides_to_stay_on_once_the_gateway_is_ready_for_it(world: Any) -> None:
    rollout = {"strategy": "abTest", "steps": [{"weight": 40}, {"hold": {}}], "sticky": {"header": "x-user-id"}}
    turns = world.operator()
    world.submit("v1", rollout=rollout)
    world.turn(turns, 6)
    world.submit("v2", rollout=rollout)
    for _ in range(12):
        _look(world.api)
        with suppress(Unavailable):  # the API in memory says that all is old, so the new policy seems overdue
            world.turn(turns, seconds=2.5)
    (found,) = world.api.all(HTTP_ROUTE)
    used = next(rule for rule in found["spec"]["rules"] if rule.get("name") == "sticky")
    assert "headers" not in used["matches"][0]
    assert routes.route_seen(found) == RouteSeen({A: 60, B: 40})
    assert world.status["weights"] == {A: 60, B: 40}


def _look(api: Any) -> None:
    """The gateway's controller looks at everything."""

    def look(found: Any) -> None:
        generation = found["metadata"]["generation"]
        conditions = [
            {"type": kind, "status": "True", "observedGeneration": generation} for kind in ("Accepted", "ResolvedRefs")
        ]
        parent = {"namespace": "kserve", "name": "kserve-ingress-gateway"}
        found["status"] = {
            "ancestors": [{"conditions": conditions}],
            "parents": [{"parentRef": parent, "conditions": conditions}],
        }

    for kind in (HTTP_ROUTE, BACKEND_TRAFFIC_POLICY):
        for one in api.all(kind):
            api.edit(kind, one["metadata"]["namespace"], one["metadata"]["name"], look)


def test_when_nothing_changes_nothing_is_written(world: Any) -> None:
    turns = world.operator()
    tell_story(world, turns)
    before = dict(world.api.calls)
    assert world.turn(turns, 5, seconds=60.0) == IDLE
    assert dict(world.api.calls) == before


def test_the_order_is_commit_apply_tell_report(world: Any, points: list[str]) -> None:
    tell_story(world, world.operator())
    commit = len(points) - points[::-1].index("tell:after") - 1
    last = [name.partition(":")[0] for name in points]
    start = max(i for i in range(commit) if points[i] == "commit:before")
    assert list(dict.fromkeys(last[start : commit + 2])) == ["commit", "tell", "report"]
    first = [name for name in last if name in ("commit", "serve")]
    assert first.index("commit") < first.index("serve")


@pytest.mark.parametrize("number", range(1, 81))
def test_killed_at_any_point_it_comes_to_the_same_end(
    world: Any, killed_at: Callable[[int], None], number: int
) -> None:
    expected = {"events": STORY, "served": [B], "backends": [(B, 100)], "champion": B, "outbox": []}
    world.submit("v1")
    killed_at(number)
    turns = world.operator()
    for path, times in (("v1", 8), ("v2", 12)):
        world.submit(path)
        turns = world.survive(turns, times)
    world.survive(turns, 6, seconds=400.0)
    found = outcome(world)
    assert {key: found[key] for key in expected} == expected
    assert found["history"] == {A: ["Promote"], B: ["Promote"]}
    assert len(found["jobs"]) == 2


def test_the_kills_above_reach_every_point_of_the_story(world: Any, points: list[str]) -> None:
    tell_story(world, world.operator())
    assert len(points) <= 80
    assert {name.partition(":")[0] for name in points} == {"commit", "serve", "route", "retire", "tell", "report"}


def test_applying_the_first_manifest_again_undoes_no_promotion(world: Any) -> None:
    """As GitOps does: v1's Deployment is promoted over by a retraining's model; the manifest still says v1."""
    turns = world.operator()
    world.submit("v1", retraining={"triggers": [{"schedule": "* * * * *"}], "cooldown": "0s"})
    world.turn(turns, 6)
    world.turn(turns, 2, seconds=60.0)
    job = next(one for one in world.api.all(JOB) if "-retrain-" in one["metadata"]["name"])
    folder = "file:///mnt/claim/.seamark/churn/new"
    world.end(job["metadata"]["name"], {"package": folder, "digest": "c" * 64, "version": "c"})
    world.turn(turns, 6, seconds=2.0)
    assert world.state["memory"]["champion"] == "churn-cccccccc"
    world.submit("v1", retraining={"triggers": [], "cooldown": "0s"})
    world.turn(turns, 6)
    assert world.state["memory"]["champion"] == "churn-cccccccc"
    assert world.backends == [("churn-cccccccc", 100)]


def test_a_retraining_job_is_started_once_however_often_the_operator_dies(
    world: Any, killed_at: Callable[[int], None]
) -> None:
    world.submit("v1", retraining={"triggers": [{"schedule": "0 * * * *"}]})
    turns = world.operator()
    world.turn(turns, 6)
    for number in (2, 3, 4):
        killed_at(number)
        turns = world.survive(turns, 1, seconds=3600.0 if number == 2 else 3.0)
    killed_at(10**9)
    world.turn(turns, 5)
    jobs = [one["metadata"]["name"] for one in world.api.all(JOB) if "-retrain-" in one["metadata"]["name"]]
    assert jobs == ["churn-retrain-1"]
    assert world.events.count("RetrainingStarted") == 1


# --- commit


def test_of_two_operators_one_applies_nothing(world: Any, decided: Callable[..., Decide]) -> None:
    world.submit("v1")
    appliers = [Recorder(), Recorder()]
    both = [world.operator(decided(*ACTIONS, NOTICE), applier) for applier in appliers]

    async def race() -> list[float | None]:
        return list(await asyncio.gather(*(turns.turn(("shop", "churn")) for turns in both)))

    waits = asyncio.run(race())
    assert sorted(len(applier.applied) for applier in appliers) == [0, len(ACTIONS)]
    assert SOON in waits
    assert world.events == ["Promoted"]


def test_actions_without_news_in_the_memory_need_the_newest_memory_too(world: Any) -> None:
    """An old cache shows a memory in which nothing was decided; what it decides again must not be applied."""
    world.submit("v1")
    world.turn(world.operator(lambda _, state, __: Decision(state), Recorder()))
    world.turn(world.operator(lambda _, state, __: Decision(replace(state, message="one")), Recorder()))
    world.cache.freeze(STATE)
    world.api.edit(STATE, "shop", "churn", lambda found: found["memory"].update(message="by another"))
    applier = Recorder()
    assert world.turn(world.operator(lambda _, state, __: Decision(state, ACTIONS), applier)) == SOON
    assert applier.applied == []


def test_on_a_cache_older_than_its_own_commit_nothing_is_done(world: Any, decided: Callable[..., Decide]) -> None:
    world.submit("v1")
    applier = Recorder()
    turns = world.operator(decided(*ACTIONS), applier)
    world.cache.freeze(STATE)
    world.turn(turns)
    calls = dict(world.api.calls)
    assert world.turn(turns, 5) == SOON
    assert applier.applied == list(ACTIONS)
    assert dict(world.api.calls) == calls
    world.cache.thaw()
    world.turn(turns)
    assert applier.applied == list(ACTIONS)


def test_a_memory_that_was_deleted_while_the_cache_lagged_is_begun_anew(
    world: Any, decided: Callable[..., Decide]
) -> None:
    world.submit("v1")
    turns = world.operator(decided(), Recorder())
    world.cache.freeze(STATE)
    world.turn(turns)
    world.cache.thaw()
    world.api.remove(STATE, "shop", "churn")
    assert world.turn(turns) == SOON
    assert world.api.all(STATE) == []
    world.turn(turns, 3, seconds=LAG)
    assert len(world.api.all(STATE)) == 1


def test_before_all_was_listed_once_nothing_is_done(world: Any) -> None:
    world.submit("v1")
    world.cache.synced = False
    assert world.turn(world.operator()) == SOON
    assert world.api.all(STATE) == []
    assert world.status == {}


def test_no_answer_to_the_commit_applies_nothing(world: Any, decided: Callable[..., Decide]) -> None:
    world.submit("v1")
    world.api.fail_next("create", Unavailable("Cannot create: no answer"), kind=STATE, late=True)
    applier = Recorder()
    with pytest.raises(Unavailable):
        world.turn(world.operator(decided(*ACTIONS), applier))
    assert applier.applied == []


# --- apply


def test_one_action_that_fails_stops_no_other(world: Any, decided: Callable[..., Decide]) -> None:
    world.submit("v1")
    applier = Recorder(serve=InvalidSpec("spec.predictor", "is refused"))
    turns = world.operator(decided(*ACTIONS), applier)
    world.turn(turns)
    assert applier.applied == list(ACTIONS[1:])
    assert world.condition("Stalled")["reason"] == "Refused"
    assert world.status["message"] == "decided; spec.predictor: is refused"


def test_a_passing_trouble_is_told_only_when_it_comes_again(world: Any) -> None:
    world.submit("v1")
    world.packages = None
    applier = Recorder()
    turns = world.operator(applier=applier)

    async def unreachable(owner: Owner, spec: ModelDeployment, nonce: str) -> None:
        raise Unavailable("Cannot create Job: no answer")

    applier.resolve = unreachable  # type: ignore[method-assign]
    world.turn(turns)
    assert "message" not in world.status
    world.turn(turns, seconds=3.0)
    assert world.status["message"] == "Cannot create Job: no answer"
    assert world.condition("Stalled") == {}
    world.turn(turns, seconds=0.5)
    assert world.status["message"] == "Cannot create Job: no answer"


def test_a_retraining_is_told_to_stop_until_it_is_told(world: Any, decided: Callable[..., Decide]) -> None:
    world.submit("v1")
    applier = Recorder(stop_retraining=Unavailable("Cannot delete: no answer"))
    turns = world.operator(decided(StopRetraining("churn-retrain-1")), applier)
    world.turn(turns, 3)
    assert [entry["kind"] for entry in world.state["outbox"]] == ["stop"]
    applier.failing.clear()
    world.turn(turns, 3)
    assert applier.applied == [StopRetraining("churn-retrain-1")]
    assert world.state["outbox"] == []


# --- tell and report


def test_a_failing_event_stops_neither_report_nor_is_it_lost(world: Any, decided: Callable[..., Decide]) -> None:
    world.submit("v1")
    turns = world.operator(decided(NOTICE, *ACTIONS), Recorder())
    world.api.fail_next("create", Unavailable("Cannot create: forbidden"), kind=EVENT)
    with pytest.raises(Unavailable):
        world.turn(turns)
    assert world.status["phase"] == "Pending"
    world.turn(turns, 3)
    assert world.events == ["Promoted"]
    assert world.state["outbox"] == []


def test_records_are_not_lost_when_the_cache_of_revisions_is_old(world: Any, decided: Callable[..., Decide]) -> None:
    world.submit("v1")
    world.turn(world.operator(), 8)
    world.cache.freeze(MODEL_REVISION)
    notes = iter([(Record("First", A, "One"),), (Record("Second", A, "Two"),)])

    def decide(spec: Any, state: Any, seen: Any) -> Any:
        return decided(*next(notes, ()))(spec, State(revisions=state.revisions), seen)

    turns = world.operator(decide, Recorder())
    world.turn(turns, 4)
    world.cache.thaw()
    world.turn(turns, 4)
    assert world.history(A) == ["Promote", "First", "Second"]
    assert world.state["outbox"] == []


# --- commands


def running(world: Any) -> Turns:
    """v2 is on trial until a person promotes it."""
    steps = [{"weight": 10}, {"hold": {}}]
    turns = world.operator()
    world.submit("v1", rollout={"steps": steps, "gates": []})
    world.turn(turns, 6)
    world.submit("v2", rollout={"steps": steps, "gates": []})
    world.turn(turns, 8)
    assert world.status["weight"] == 10
    return turns


def annotations(world: Any) -> dict[str, str]:
    found: dict[str, str] = world.cache.deployments["shop", "churn"]["metadata"]["annotations"]
    return found


def test_a_command_is_obeyed_and_its_annotation_removed(world: Any) -> None:
    turns = running(world)
    world.annotate(command="promote by ana")
    world.turn(turns, 6)
    assert world.state["memory"]["champion"] == B
    assert annotations(world) == {}
    assert world.state["handled"] == ""


def test_a_command_is_obeyed_once_though_its_annotation_stays(world: Any) -> None:
    turns = running(world)
    world.annotate(command="pause")
    for _ in range(4):
        world.api.fail_next("patch", Unavailable("Cannot patch: no answer"), kind=MODEL_DEPLOYMENT)
        with pytest.raises(Unavailable):
            world.turn(turns)
    assert annotations(world)["seamark.dev/command"] == "pause"
    assert world.state["memory"]["last_command"] == 1
    assert world.status["phase"] == "Paused"
    world.turn(world.operator(), 3)
    assert annotations(world) == {}
    assert (world.state["memory"]["last_command"], world.state["handled"]) == (1, "")


@pytest.mark.parametrize("number", range(1, 9))
def test_killed_anywhere_a_command_is_obeyed_once(world: Any, killed_at: Callable[[int], None], number: int) -> None:
    turns = running(world)
    world.annotate(command="abort by ana: too slow")
    killed_at(number)
    world.survive(turns, 6)
    assert world.events.count("RolledBack") == 1
    assert (world.state["memory"]["last_command"], annotations(world)) == (1, {})


def test_the_same_command_again_is_another_command(world: Any) -> None:
    turns = running(world)
    for number in (1, 2, 3):
        world.annotate(command="pause")
        world.turn(turns, 3)
        assert world.state["memory"]["last_command"] == number


def test_the_same_command_right_after_its_removal_is_another_command(world: Any) -> None:
    """Before the operator has had a turn in which the annotation was gone."""
    turns = running(world)
    world.annotate(command="pause")
    world.turn(turns)
    assert annotations(world) == {}
    world.annotate(command="pause")
    world.turn(turns, 2)
    assert world.state["memory"]["last_command"] == 2


def test_a_command_that_cannot_be_read_is_answered_once_and_removed(world: Any) -> None:
    turns = running(world)
    world.annotate(command="rollback now")
    world.turn(turns, 4)
    refusals = [one for one in world.api.all(EVENT) if one["reason"] == "CommandRefused"]
    assert [(one["type"], "got 'rollback now'; allowed: promote" in one["message"]) for one in refusals] == [
        ("Warning", True)
    ]
    assert annotations(world) == {}
    assert world.state["memory"]["last_command"] == 0


# --- what cannot be decided about


def test_a_manifest_that_cannot_be_read_is_said_and_touches_nothing(world: Any) -> None:
    turns = world.operator()
    world.submit("v1")
    world.turn(turns, 6)
    before = world.state
    world.submit("v2", rollout={"strategy": "sideways"})
    assert world.turn(turns) == IDLE
    assert world.condition("Ready")["reason"] == world.condition("Stalled")["reason"] == "InvalidSpec"
    assert "'sideways' is not one of direct" in world.status["message"]
    assert world.status["observedGeneration"] == 2
    assert world.state == before
    world.submit("v1")
    world.turn(turns, 3)
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Stalled") == {}


def test_a_deployment_that_is_to_be_left_alone_is_left_alone(world: Any) -> None:
    turns = world.operator()
    world.submit("v1")
    world.turn(turns, 6)
    world.annotate(reconcile="disabled")
    world.submit("v2")
    assert world.turn(turns, 3) == IDLE
    assert world.served == [A]
    assert world.condition("Progressing")["reason"] == "Disabled"
    assert world.condition("Ready")["status"] == "True"
    assert world.status["observedGeneration"] == 1
    world.annotate(reconcile="enabled")
    world.turn(turns, 6)
    assert world.backends == [(B, 100)]


def test_a_memory_that_cannot_be_read_is_said_and_kept(world: Any) -> None:
    world.submit("v1")
    turns = world.operator()
    world.turn(turns, 6)
    world.api.edit(STATE, "shop", "churn", lambda found: found.update(memory={"champion": 5}))
    assert world.turn(turns) == IDLE
    assert world.condition("Stalled")["reason"] == "MemoryUnreadable"
    assert world.state["memory"] == {"champion": 5}
    assert world.served == [A]


def test_a_deleted_deployment_has_no_turn(world: Any) -> None:
    turns = world.operator()
    assert world.turn(turns) is None
    world.submit("v1")
    world.turn(turns, 2)
    world.api.edit(
        MODEL_DEPLOYMENT,
        "shop",
        "churn",
        lambda found: found["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
    )
    before = dict(world.api.calls)
    assert asyncio.run(turns.turn(("shop", "churn"))) is None
    assert dict(world.api.calls) == before


def test_made_again_under_its_name_it_waits_for_what_the_old_one_left_and_begins_anew(world: Any) -> None:
    turns = world.operator()
    world.submit("v1")
    world.turn(turns, 6)
    left = {kind: world.api.all(kind) for kind in (STATE, INFERENCE_SERVICE, HTTP_ROUTE)}
    world.api.remove(MODEL_DEPLOYMENT, "shop", "churn")
    for kind, documents in left.items():  # the garbage collector has not come yet
        for document in documents:
            asyncio.run(world.api.create(kind, "shop", document))
    world.submit("v2")
    assert world.turn(turns, 3) == MOVING
    assert world.condition("Progressing")["reason"] == "WaitingForRemoval"
    assert "ModelDeploymentState/churn" in world.status["message"]
    assert world.served == [A]
    for kind, documents in left.items():
        for document in documents:
            world.api.remove(kind, "shop", document["metadata"]["name"])
    world.turn(turns, 6)
    assert world.backends == [(B, 100)]
    assert [one["reason"] for one in world.api.all(EVENT)].count("Deployed") == 2


# --- time


def test_a_lost_route_is_told_late_and_readiness_lost_later(world: Any) -> None:
    turns = world.operator()
    world.submit("v1")
    world.turn(turns, 6)
    world.gateway.is_down = True
    assert world.turn(turns) <= MOVING
    assert world.condition("Progressing")["status"] == "False"
    world.turn(turns, 6)
    assert world.condition("Progressing")["reason"] == "RouteUnconfirmed"
    assert world.condition("Ready")["status"] == "True"
    assert world.status["message"] == "the gateway is down"
    world.turn(turns, seconds=60.0)
    assert world.condition("Ready")["reason"] == "RouteUnconfirmed"
    world.gateway.is_down = False
    world.turn(turns, 3)
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize(("interval", "wait"), [("1s", 1.0), ("10s", 5.0), ("119s", 59.5), ("30m", 60.0)])
def test_with_nothing_on_its_way_it_looks_twice_per_evaluation(world: Any, interval: str, wait: float) -> None:
    turns = world.operator()
    world.submit("v1", monitoring={"window": "1h", "interval": interval})
    assert world.turn(turns, 8) == wait


# --- the log


def test_every_decision_that_asks_for_something_is_one_line(
    world: Any, decided: Callable[..., Decide], caplog: pytest.LogCaptureFixture
) -> None:
    world.submit("v1")
    turns = world.operator(decided(SERVE, NOTICE), Recorder())
    with caplog.at_level("INFO", "seamark.operator"):
        world.turn(turns, 3)
    lines = [record.getMessage() for record in caplog.records if "event=decision" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("event=decision deployment=shop/churn decision={")
    assert f'"actions": ["Serve {A}", "Notify {A}"]' in lines[0]


# --- faults


def test_each_fault_point_is_named_before_and_after() -> None:
    assert len(fault.points()) == len(set(fault.points())) == 2 * len(fault.POINTS)


def test_every_action_that_is_applied_has_a_fault_point() -> None:
    applied = [*ACTIONS, StopRetraining("j")]
    assert {fault_name(action) for action in applied} <= set(fault.POINTS)
