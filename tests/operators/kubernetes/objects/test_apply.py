"""Writing the world: each action does what it says, twice is as good as once, and no failure blocks the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from seamark import tokens
from seamark.actions import (
    Action,
    Notify,
    Promote,
    Record,
    Retire,
    RollBack,
    Route,
    Serve,
    StartRetraining,
    StopRetraining,
)
from seamark.errors import Conflict, InvalidSpec, Unavailable
from seamark.state import Revision, State
from seamark_kubernetes import routes
from seamark_kubernetes.api import (
    BACKEND_TRAFFIC_POLICY,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    JOB,
    POD,
    Document,
    Owner,
)
from seamark_kubernetes.apply import Applier
from seamark_kubernetes.refusals import Refusals
from seamark_kubernetes.testing import FakeApi

KEY = ("shop", "churn")
URI = "pvc://models/churn/v1"
START = StartRetraining("churn-retrain-1", "churn-1", 1.0, "feature drift")
STATE = State(revisions=tuple(Revision(f"churn-{n}", URI, "d" * 64, "spec", 1.0) for n in (1, 2)))


def serve(revision: str = "churn-1", replicas: int = 1) -> Serve:
    return Serve(revision, URI, "d" * 64, replicas)


class World:
    def __init__(self, make: Any) -> None:
        self.make = make
        self.api = FakeApi()
        self.refusals = Refusals()
        self.settings = make.settings
        self.owner: Owner = make.owner
        self.spec = make.spec()
        self.state = STATE
        self.now = float(make.now)

    @property
    def applier(self) -> Applier:
        return Applier(self.api, self.settings, self.refusals, clock=lambda: self.now)

    def apply(self, *actions: Action) -> None:
        run(self.applier.apply(self.owner, self.spec, self.state, actions))

    def resolve(self, nonce: str = "") -> None:
        run(self.applier.resolve(self.owner, self.spec, nonce))

    def names(self, kind: Any) -> list[str]:
        return [found["metadata"]["name"] for found in self.api.all(kind)]

    def failing(self) -> dict[str, str]:
        return {name: seen.failing for name, seen in self.refusals.revisions(KEY, {}).items()}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture
def world(make: Any) -> World:
    return World(make)


# --- serving


def test_serving_applies_the_inference_service_and_again_changes_nothing(world: World) -> None:
    world.apply(serve())
    before = world.api.all(INFERENCE_SERVICE)
    world.apply(serve())
    assert world.api.all(INFERENCE_SERVICE) == before
    assert before[0]["spec"]["predictor"]["minReplicas"] == 1
    assert before[0]["metadata"]["ownerReferences"][0]["uid"] == "uid-churn"


def test_serving_with_other_replicas_changes_them(world: World) -> None:
    world.apply(serve(replicas=1))
    world.apply(serve(replicas=3))
    assert [found["spec"]["predictor"]["minReplicas"] for found in world.api.all(INFERENCE_SERVICE)] == [3]


def test_a_refused_inference_service_makes_the_revision_failing_and_blocks_nothing(world: World) -> None:
    world.api.fail_next("apply", InvalidSpec("spec.x", "Cannot apply X: bad"), kind=INFERENCE_SERVICE)
    with pytest.raises(InvalidSpec):
        world.apply(serve("churn-1"), serve("churn-2"), Route({"churn-2": 100}))
    assert world.failing() == {"churn-1": "Cannot apply X: bad"}
    assert world.names(INFERENCE_SERVICE) == ["churn-2"]
    assert world.names(HTTP_ROUTE) == ["churn"]
    world.apply(serve("churn-1"))
    assert world.failing() == {}


def test_an_address_that_is_no_claim_makes_the_revision_failing(world: World) -> None:
    with pytest.raises(InvalidSpec):
        world.apply(Serve("churn-1", "s3://bucket", "d" * 64, 1))
    assert world.failing()["churn-1"].startswith("spec.model.uri: 's3://bucket' is not pvc://")


def test_trouble_that_may_pass_makes_nothing_failing_and_blocks_nothing(world: World) -> None:
    world.api.fail_next("apply", Unavailable("no answer"), kind=INFERENCE_SERVICE)
    with pytest.raises(Unavailable, match="no answer"):
        world.apply(serve("churn-1"), serve("churn-2"))
    assert world.failing() == {}
    assert world.names(INFERENCE_SERVICE) == ["churn-2"]


def test_the_first_of_several_failures_is_raised(world: World) -> None:
    for cause in ("first", "second"):
        world.api.fail_next("apply", Unavailable(cause))
    with pytest.raises(Unavailable, match="first"):
        world.apply(serve("churn-1"), serve("churn-2"))


def test_refusals_of_revisions_that_the_memory_has_forgotten_are_forgotten(world: World) -> None:
    world.refusals.refuse_revision(KEY, "churn-0", "no")
    world.apply()
    assert world.failing() == {}


# --- traffic and retiring


def test_a_route_comes_with_what_belongs_to_it(world: World) -> None:
    route = Route({"churn-1": 90, "churn-2": 10}, fallback="churn-1")
    world.apply(route)
    world.apply(route)
    (found,) = world.api.all(HTTP_ROUTE)
    assert routes.route_seen(found) == routes.route_seen(routes.http_route(world.settings, world.owner, route))
    assert world.names(BACKEND_TRAFFIC_POLICY) == ["churn"]


def test_what_a_route_needs_no_more_is_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.apply(Route({"churn-1": 100}))
    monkeypatch.setattr(routes, "companions", lambda *_: [])
    world.apply(Route({"churn-1": 100}))
    assert world.names(BACKEND_TRAFFIC_POLICY) == []
    assert world.names(HTTP_ROUTE) == ["churn"]


@pytest.mark.parametrize("sticky", [None, "x-user"])
def test_another_gateway_gets_the_route_alone(world: World, sticky: str | None) -> None:
    world.settings = replace(world.settings, envoy=False)
    for _ in range(3):
        world.apply(Route({"churn-1": 50, "churn-2": 50}, fallback="churn-1", sticky=sticky))
    assert world.names(BACKEND_TRAFFIC_POLICY) == []
    assert shares(world) == {"churn-1": 50, "churn-2": 50}
    assert used(world) == [None]


# --- users who stay on one side

STICKY = Route({"churn-1": 50, "churn-2": 50}, fallback="churn-1", sticky="x-user")


#: When the API in memory says that everything was made.
MADE = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def fresh(world: World) -> World:
    """Whose objects were made just now."""
    world.now = MADE + 10.0
    return world


def shares(world: World) -> dict[str, int]:
    (found,) = world.api.all(HTTP_ROUTE)
    seen = routes.route_seen(found)
    return dict(seen.weights) if seen else {}


def used(world: World) -> list[str | None]:
    """The names of the rules that users without a header meet."""
    (found,) = world.api.all(HTTP_ROUTE)
    rules = [rule for rule in found["spec"]["rules"] if "backendRefs" in rule]
    return [rule.get("name") for rule in rules if not any("headers" in match for match in rule["matches"])]


def rules(world: World) -> list[str | None]:
    (found,) = world.api.all(HTTP_ROUTE)
    return [rule.get("name") for rule in found["spec"]["rules"]]


def look(world: World) -> None:
    """The gateway's controller looks at everything."""

    def observe(kind: Any, name: str, status: Any) -> None:
        def write(document: Document) -> None:
            document["status"] = status(document["metadata"]["generation"])

        world.api.edit(kind, "shop", name, write)

    def condition(kind: str, generation: int) -> Document:
        return {"type": kind, "status": "True", "observedGeneration": generation}

    namespace, name = world.settings.gateway
    parent = {"parentRef": {"namespace": namespace, "name": name}}
    for policy in world.names(BACKEND_TRAFFIC_POLICY):
        observe(BACKEND_TRAFFIC_POLICY, policy, lambda n: {"ancestors": [{"conditions": [condition("Accepted", n)]}]})
    observe(
        HTTP_ROUTE,
        "churn",
        lambda n: {"parents": [parent | {"conditions": [condition(kind, n) for kind in ("Accepted", "ResolvedRefs")]}]},
    )


def test_the_policy_is_known_before_the_sticky_rule_is_there_and_the_rule_is_there_before_it_is_used(
    fresh: World,
) -> None:
    world = fresh
    world.apply(Route({"churn-1": 100}))
    world.apply(STICKY)
    assert world.names(BACKEND_TRAFFIC_POLICY) == ["churn", "churn.sticky"]
    assert rules(world) == [None, None, None]
    look(world)
    world.apply(STICKY)
    assert rules(world) == [None, None, None, "sticky"]
    assert (used(world), shares(world)) == ([None], {"churn-1": 100})
    look(world)
    world.apply(STICKY)
    assert (used(world), shares(world)) == (["sticky"], {"churn-1": 50, "churn-2": 50})


def test_a_policy_that_the_gateway_does_not_look_at_is_told(fresh: World) -> None:
    for _ in range(2):
        fresh.apply(STICKY)
    fresh.now = MADE + 10.1
    with pytest.raises(Unavailable, match=r"the gateway does not look at the policy churn\.sticky"):
        fresh.apply(STICKY)
    assert shares(fresh) == {"churn-1": 100}


def test_without_the_gateways_look_nobody_gets_any_further(fresh: World) -> None:
    world = fresh
    for _ in range(4):
        world.apply(STICKY)
    assert rules(world) == [None, None, None]
    look(world)
    for _ in range(4):
        world.apply(STICKY)
    assert (rules(world)[-1], used(world), shares(world)) == ("sticky", [None], {"churn-1": 100})


def test_the_sticky_rule_stays_so_that_the_next_challenger_need_not_wait(fresh: World) -> None:
    world = fresh
    for route in (STICKY, STICKY, STICKY, Route({"churn-2": 100})):
        world.apply(route)
        look(world)
    assert (rules(world)[-1], used(world), shares(world)) == ("sticky", [None], {"churn-2": 100})
    world.apply(Route({"churn-2": 90, "churn-3": 10}, fallback="churn-2", sticky="x-user"))
    assert (used(world), shares(world)) == (["sticky"], {"churn-2": 90, "churn-3": 10})


def test_users_stay_on_their_side_while_the_weight_grows(fresh: World) -> None:
    world = fresh
    for weight in (10, 10, 10, 50):
        world.apply(Route({"churn-1": 100 - weight, "churn-2": weight}, fallback="churn-1", sticky="x-user"))
        look(world)
    assert (used(world), shares(world)) == (["sticky"], {"churn-1": 50, "churn-2": 50})


def test_another_header_leaves_the_rule_in_use(world: World) -> None:
    """Also while the gateway has not looked at the changed policy yet."""
    world.now = MADE
    for _ in range(3):
        world.apply(STICKY)
        look(world)
    world.now = MADE + 1000.0
    world.apply(replace(STICKY, sticky="x-account"))
    assert (used(world), shares(world)) == (["sticky"], {"churn-1": 50, "churn-2": 50})
    (found,) = world.api.all(HTTP_ROUTE)
    assert found["metadata"]["annotations"] == {"seamark.dev/sticky": "x-account"}


def test_a_route_made_again_begins_anew(fresh: World) -> None:
    world = fresh
    for _ in range(3):
        world.apply(STICKY)
        look(world)
    run(world.api.delete(HTTP_ROUTE, "shop", "churn"))
    world.apply(STICKY)
    assert (rules(world), shares(world)) == ([None, None, None], {"churn-1": 100})


# --- retiring


@pytest.mark.parametrize(
    "route",
    [
        Route({"churn-1": 100}),
        Route({"churn-1": 1, "churn-2": 99}),
        Route({"churn-2": 100}, mirror=("churn-1", 5)),
        Route({"churn-2": 100}, match=(("x-tester", "yes"),), match_to="churn-1"),
    ],
)
def test_a_revision_that_the_route_names_is_not_retired(world: World, route: Route) -> None:
    world.apply(serve("churn-1"), route, Retire("churn-1"))
    assert world.names(INFERENCE_SERVICE) == ["churn-1"]


def test_a_revision_that_the_route_does_not_name_is_retired_and_again_changes_nothing(world: World) -> None:
    world.apply(serve("churn-1"), Route({"churn-2": 100}))
    world.refusals.refuse_revision(KEY, "churn-1", "no")
    world.apply(Retire("churn-1"), Retire("churn-1"))
    assert world.names(INFERENCE_SERVICE) == []
    assert world.failing() == {}


def test_a_backend_without_weight_does_not_hold_its_revision(world: World) -> None:
    world.apply(serve("churn-1"), Route({"churn-2": 100}))

    def add(document: Document) -> None:
        document["spec"]["rules"][1]["backendRefs"].append({"name": "churn-1-predictor", "weight": 0})

    world.api.edit(HTTP_ROUTE, "shop", "churn", add)
    world.apply(Retire("churn-1"))
    assert world.names(INFERENCE_SERVICE) == []


def test_without_a_route_a_revision_is_retired(world: World) -> None:
    world.apply(serve("churn-1"), Retire("churn-1"))
    assert world.names(INFERENCE_SERVICE) == []


def test_while_the_route_cannot_be_read_nothing_is_retired(world: World) -> None:
    world.apply(serve("churn-1"))
    world.api.fail_next("get", Unavailable("no answer"))
    with pytest.raises(Unavailable):
        world.apply(Retire("churn-1"))
    assert world.names(INFERENCE_SERVICE) == ["churn-1"]


# --- retraining


def test_a_retraining_is_started_once(world: World) -> None:
    world.apply(START)
    before = world.api.all(JOB)
    world.apply(START)
    assert world.api.all(JOB) == before
    assert [found["metadata"]["name"] for found in before] == ["churn-retrain-1"]


def test_an_answer_that_was_lost_starts_no_second_job(world: World) -> None:
    world.api.fail_next("create", Unavailable("no answer"), late=True)
    with pytest.raises(Unavailable):
        world.apply(START)
    world.apply(START)
    assert world.names(JOB) == ["churn-retrain-1"]
    assert world.refusals.jobs(KEY, {}) == {}


def test_a_job_of_an_earlier_deployment_of_this_name_is_not_taken_for_ours(world: World) -> None:
    world.apply(START)
    world.owner = replace(world.owner, uid="uid-other")
    with pytest.raises(Unavailable, match="there is another one of this name"):
        world.apply(START)
    assert world.refusals.jobs(KEY, {}) == {}


def test_a_job_that_goes_while_we_look_is_tried_again_later(world: World) -> None:
    world.api.fail_next("create", Conflict("there already"))
    with pytest.raises(Unavailable, match="is just going"):
        world.apply(START)
    world.apply(START)
    assert world.names(JOB) == ["churn-retrain-1"]


def test_a_refused_job_failed(world: World) -> None:
    world.api.fail_next("create", InvalidSpec("spec.x", "Cannot create Job: bad"), kind=JOB)
    with pytest.raises(InvalidSpec):
        world.apply(START)
    seen = world.refusals.jobs(KEY, {})["churn-retrain-1"]
    assert (seen.phase, seen.message, seen.finished) == ("failed", "Cannot create Job: bad", world.make.now)


def test_a_template_that_is_no_job_is_a_failed_job(world: World) -> None:
    world.spec = world.make.spec(retraining={"trainer": {"job": {"spec": 1}}})
    with pytest.raises(InvalidSpec):
        world.apply(START)
    assert "spec.retraining.trainer.job" in world.refusals.jobs(KEY, {})["churn-retrain-1"].message


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (State(), "its champion churn-1 is not known"),
        (State(revisions=(Revision("churn-1", "file:///x", "d" * 64, "spec", 1.0),)), "is not pvc://"),
    ],
)
def test_a_champion_that_cannot_be_mounted_is_a_failed_job(world: World, state: State, cause: str) -> None:
    world.state = state
    with pytest.raises(InvalidSpec):
        world.apply(START)
    assert cause in world.refusals.jobs(KEY, {})["churn-retrain-1"].message


def test_a_retraining_is_stopped_and_again_changes_nothing(world: World) -> None:
    world.apply(START, StopRetraining("churn-retrain-1"), StopRetraining("churn-retrain-1"))
    assert world.names(JOB) == []


# --- reading the model


def test_a_model_is_looked_at_once_for_each_nonce(world: World) -> None:
    for nonce in ("", "", "1"):
        world.resolve(nonce)
    assert len(world.names(JOB)) == 2


def test_a_job_of_an_earlier_deployment_is_waited_for(world: World) -> None:
    world.resolve()
    world.owner = replace(world.owner, uid="uid-other")
    with pytest.raises(Unavailable):
        world.resolve()


# --- what is told elsewhere, and secrets


def test_what_is_told_elsewhere_writes_nothing(world: World) -> None:
    world.apply(
        Promote("churn-1", None),
        RollBack("churn-1", None),
        Notify("Deployed", "churn-1", "Deployed", "x"),
        Record("Promote", "churn-1", "x"),
    )
    assert not world.api.calls
    assert world.api.all(POD) == []


def _token(document: Document) -> str:
    env = document["spec"]["predictor"]["containers"][0]["env"]
    return str(next(entry["value"] for entry in env if entry["name"] == "SEAMARK_TOKEN"))


def test_the_key_is_read_when_it_is_used_so_that_a_new_one_counts_at_once(world: World, tmp_path: Path) -> None:
    file = tmp_path / "key"
    world.settings = replace(world.settings, key=file)
    for key in (b"a" * 32, b"\xff" * 40):
        file.write_bytes(key + b"\n")
        world.apply(serve())
        token = _token(world.api.all(INFERENCE_SERVICE)[0])
        assert tokens.holds(key, token, "write/shop/churn", 0.0)


@pytest.mark.parametrize("content", [None, b"", b"a" * 31, b"a" * (64 * 1024 + 1)])
def test_without_a_usable_key_nothing_is_served_that_could_not_log(
    world: World, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    world.settings = replace(world.settings, key=file)
    with pytest.raises(Unavailable, match=r"Cannot (read|use)"):
        world.apply(serve())
    assert world.names(INFERENCE_SERVICE) == []
    assert world.failing() == {}
