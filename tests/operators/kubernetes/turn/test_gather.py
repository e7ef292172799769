"""What is gathered: the model's address is resolved once, and no half-seen thing is taken for the whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from seamark.actions import Decision
from seamark.seen import Seen
from seamark_kubernetes import watched
from seamark_kubernetes.api import JOB, MODEL_DEPLOYMENT, POD, STATE
from seamark_kubernetes.gather import RESOLVE_AGAIN
from seamark_kubernetes.watching import Watching

A, B = "churn-aaaaaaaa", "churn-bbbbbbbb"


class Watcher:
    """Decides nothing, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def __call__(self, _: Any, state: Any, seen: Seen) -> Decision:
        self.seen.append(seen)
        return Decision(state)

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    @property
    def model(self) -> Any:
        return self.last.model


def resolving(world: Any) -> list[str]:
    return [one["metadata"]["name"] for one in world.api.all(JOB)]


def test_a_job_finds_out_what_the_address_is_once(world: Any) -> None:
    world.submit("v1")
    watcher = Watcher()
    turns = world.operator(watcher)
    world.turn(turns)
    assert watcher.model is None
    world.turn(turns)
    assert (watcher.model.digest, watcher.model.version, watcher.model.format) == ("a" * 64, "version a", "onnx")
    world.api.remove(JOB, "shop", resolving(world)[0])
    world.turn(world.operator(watcher), 3)
    assert watcher.model.digest == "a" * 64
    assert resolving(world) == []


def test_another_address_or_annotation_is_looked_at_anew(world: Any) -> None:
    world.submit("v1")
    watcher = Watcher()
    turns = world.operator(watcher)
    world.turn(turns, 3)
    world.submit("v2")
    world.turn(turns)
    assert watcher.model is None
    world.turn(turns, 2)
    assert watcher.model.digest == "b" * 64
    world.submit("v1")
    world.packages["v1"] = {**world.packages["v1"], "digest": "c" * 64}
    world.turn(turns, 3)
    assert watcher.model.digest == "c" * 64
    world.packages["v1"] = {**world.packages["v1"], "digest": "d" * 64}
    world.turn(turns, 3)
    assert watcher.model.digest == "c" * 64
    world.annotate(resolve="now")
    world.turn(turns, 3)
    assert watcher.model.digest == "d" * 64
    assert len(set(resolving(world))) == 4


def test_a_digest_in_the_manifest_needs_no_job(world: Any) -> None:
    world.submit(model={"uri": "pvc://models/v1", "digest": "e" * 64})
    watcher = Watcher()
    world.turn(world.operator(watcher))
    assert (watcher.model.digest, watcher.model.error) == ("e" * 64, "")
    assert resolving(world) == []


@pytest.mark.parametrize("uri", ["file:///models/v1", "s3://bucket/v1", "pvc://models", "pvc://models/../v1"])
def test_an_address_that_no_cluster_serves_says_what_is_allowed(world: Any, uri: str) -> None:
    world.submit(model={"uri": uri})
    watcher = Watcher()
    world.turn(world.operator(watcher))
    assert "pvc://" in watcher.model.error
    assert resolving(world) == []


def test_a_package_that_the_manifest_does_not_allow_is_refused(world: Any) -> None:
    world.submit(model={"uri": "pvc://models/v1", "format": "skops"})
    watcher = Watcher()
    world.turn(world.operator(watcher), 2)
    assert "it is onnx, the manifest says skops" in watcher.model.error


def test_a_package_that_cannot_be_read_is_tried_again_after_a_while_and_after_a_change(world: Any) -> None:
    world.submit("v3")
    watcher = Watcher()
    turns = world.operator(watcher)
    world.turn(turns, 2)
    assert "there is no folder v3" in watcher.model.error
    world.turn(turns, 3, seconds=RESOLVE_AGAIN / 4)
    assert len(resolving(world)) == 1
    world.turn(turns, 1, seconds=RESOLVE_AGAIN / 4)
    assert len(resolving(world)) == 2
    assert "there is no folder v3" in watcher.model.error
    world.turn(turns, 2)
    world.packages["v3"] = world.packages["v1"]
    world.submit("v3", serving={"replicas": 2})
    world.turn(turns, 2)
    assert (watcher.model.digest, len(resolving(world))) == ("a" * 64, 3)


def test_a_stuck_job_says_why_and_may_yet_end_well(world: Any) -> None:
    world.submit("v1")
    watcher = Watcher()
    turns = world.operator(watcher)
    world.turn(turns)
    name = resolving(world)[0]
    world.api.edit(JOB, "shop", name, lambda found: found.update(status={"startTime": "2026-05-28T20:00:00Z"}))
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off"}
    labels = {"batch.kubernetes.io/job-name": name, "seamark.dev/deployment": "churn", "seamark.dev/role": "resolve"}
    asyncio.run(world.api.create(POD, "shop", {"metadata": {"name": "stuck", "labels": labels}}))
    status = {"phase": "Pending", "containerStatuses": [{"name": "inspect", "state": {"waiting": waiting}}]}
    world.api.edit(POD, "shop", "stuck", lambda found: found.update(status=status))
    world.turn(turns)
    assert "its image cannot be pulled" in watcher.model.error
    assert world.api.all(STATE) == []
    world.api.remove(POD, "shop", "stuck")
    world.end(name, world.packages["v1"])
    world.turn(turns)
    assert watcher.model.digest == "a" * 64


@pytest.mark.parametrize(("lag", "is_known"), [(1.0, False), (20.0, True)])
def test_a_job_seen_to_end_before_its_pod_is_still_running_for_a_while(world: Any, lag: float, is_known: bool) -> None:
    """Its result is in the pod, which comes by another watch."""
    world.submit("v1")
    watcher = Watcher()
    turns = world.operator(watcher)
    world.turn(turns)
    world.cache.freeze(POD)
    world.turn(turns)
    assert watcher.model is None
    world.turn(turns, seconds=lag)
    assert (watcher.model is not None) == is_known
    world.cache.thaw()
    if not is_known:
        world.turn(turns)
        assert watcher.model.digest == "a" * 64


def test_a_route_counts_only_while_the_gateway_confirms_it(world: Any) -> None:
    world.submit("v1")
    world.turn(world.operator(), 6)
    watcher = Watcher()
    turns = world.operator(watcher)
    world.turn(turns)
    assert watcher.last.route.weights == {A: 100}
    world.gateway.is_down = True
    world.turn(turns)
    assert watcher.last.route is None
    assert watcher.last.revisions[A].ready == 1
    assert watcher.last.alerts is None


# --- what the analyzer watches


def test_the_analyzer_watches_what_has_a_memory_also_while_it_is_left_alone(world: Any) -> None:
    watching = Watching(world.cache)
    world.submit("v1")
    assert watching.items() == []
    world.turn(world.operator(), 6)
    world.annotate(reconcile="disabled")
    model = watched.document(watching.items())["models"]["shop/churn"]
    assert model["champion"] == A
    assert model["revisions"][A]["targets"] == [f"http://10.0.0.1:9010/metrics#{A}-predictor-0"]


def test_a_manifest_that_cannot_be_read_is_watched_as_it_was(world: Any) -> None:
    watching = Watching(world.cache)
    world.submit("v1")
    world.turn(world.operator(), 6)
    before = watching.items()
    world.submit("v1", rollout={"strategy": "sideways"})
    assert watching.items() == before
    assert Watching(world.cache).items() == []
    world.api.edit(STATE, "shop", "churn", lambda found: found.update(memory={"champion": 5}))
    assert watching.items() == []
    world.api.remove(MODEL_DEPLOYMENT, "shop", "churn")
    assert watching.items() == []
