"""Saying what would happen, and whether what happened would be decided again; nothing is applied."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from seamark.actions import (
    Action,
    Decision,
    Notify,
    Promote,
    Record,
    Retire,
    RollBack,
    Route,
    Serve,
    StartRetraining,
    StopRetraining,
    Verdict,
)
from seamark.errors import InvalidSpec, NotFound
from seamark.evidence import Arm, Drift, Evidence, Latency, Pairs, Share
from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.seen import Command, JobSeen, ModelSeen, RevisionSeen, RouteSeen, Seen
from seamark.spec import ModelDeployment
from seamark.state import RetrainingState, Revision, RolloutState, State
from seamark_local import audit
from seamark_local.home import Home, make_home
from seamark_local.plan import plan, replay, would
from seamark_local.store import Store


def make_package(folder: Path) -> str:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"model")
    (folder / "profile.json").write_bytes(b"{}")
    manifest = Manifest(
        name="m",
        version="1",
        model=ModelFile("model.onnx", "onnx", hashlib.sha256(b"model").hexdigest()),
        schema=Schema("binary", (Feature("x"),), (0, 1)),
        profile_sha256=hashlib.sha256(b"{}").hexdigest(),
    )
    (folder / "seamark.json").write_bytes(manifest.to_json())
    return hashlib.sha256(manifest.to_json()).hexdigest()


def document(name: str, uri: str) -> dict[str, Any]:
    return {
        "apiVersion": "seamark.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"uri": uri}},
    }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.database)
    yield store
    store.close()


def serve_what_is_seen(spec: ModelDeployment, state: State, seen: Seen) -> Decision:
    """Serves each new digest, and counts."""
    assert seen.model is not None
    if seen.model.digest == state.model:
        return Decision(state)
    name = f"{spec.name}-{seen.model.digest[:8]}"
    return Decision(replace(state, model=seen.model.digest), (Serve(name, seen.model.uri, seen.model.digest, 2),))


def test_a_plan_says_what_would_be_done_and_does_nothing(home: Home, store: Store, tmp_path: Path) -> None:
    digest = make_package(tmp_path / "p")
    store.apply({"m": document("m", str(tmp_path / "p"))})
    assert plan(home.root, "m", None, serve_what_is_seen) == [f"would serve m-{digest[:8]} (2 replicas)"]
    assert (store.desired(), store.state("m"), store.audit("m"), store.fact("serve/m")) == ([], None, [], None)


def test_a_plan_for_a_changed_manifest_leaves_the_stored_one(home: Home, store: Store, tmp_path: Path) -> None:
    digest = make_package(tmp_path / "p")
    store.apply({"m": document("m", "/nonexistent")})
    changed = document("m", str(tmp_path / "p"))
    assert plan(home.root, "m", changed, serve_what_is_seen) == [f"would serve m-{digest[:8]} (2 replicas)"]
    assert plan(home.root, "new", document("new", str(tmp_path / "p")), serve_what_is_seen)
    assert [manifest.document for manifest in store.manifests()] == [document("m", "/nonexistent")]


def test_nothing_to_do_is_said(home: Home, store: Store) -> None:
    store.apply({"m": document("m", "/nonexistent")})
    lines = plan(home.root, "m", None, lambda _, state, __: Decision(state))
    assert lines == ["Cannot read model package /nonexistent: there is no such folder"]
    make_package(home.root / "p")
    store.apply({"m": document("m", str(home.root / "p"))})
    assert plan(home.root, "m", None, lambda _, state, __: Decision(state)) == ["would change nothing now"]


def test_the_gates_are_quoted(home: Home, store: Store, tmp_path: Path) -> None:
    make_package(tmp_path / "p")
    store.apply({"m": document("m", str(tmp_path / "p"))})
    verdict = Verdict("Worse", "ErrorRate", "errors 9 % against 1 %")
    lines = plan(home.root, "m", None, lambda _, state, __: Decision(state, verdict=verdict))
    assert lines == ["the gates say Worse: errors 9 % against 1 %"]


def test_a_plan_needs_a_home_a_known_name_and_a_sound_manifest(home: Home, store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Cannot plan m: no ModelDeployment has this name"):
        plan(home.root, "m", None, serve_what_is_seen)
    with pytest.raises(NotFound, match="Cannot find a Seamark home"):
        plan(tmp_path / "elsewhere", "m", None, serve_what_is_seen)
    with pytest.raises(InvalidSpec, match="apiVersion: is missing"):
        plan(home.root, "m", {"kind": "ModelDeployment"}, serve_what_is_seen)


def test_a_manifest_can_be_tried_before_the_first_up(tmp_path: Path) -> None:
    digest = make_package(tmp_path / "p")
    lines = plan(tmp_path / "no-home", "m", document("m", str(tmp_path / "p")))
    name = f"m-{digest[:8]}"
    assert lines == [
        f"would serve {name} (1 replica)",
        f"would send all requests to {name} once it is ready",
        f"waiting for {name} to be ready",
    ]
    assert not (tmp_path / "no-home").exists()


def test_a_new_models_way_through_the_steps_is_told_beforehand(home: Home, store: Store, tmp_path: Path) -> None:
    digest = make_package(tmp_path / "p")
    steps = [{"shadow": {"percent": 50, "for": "10m"}}, {"weight": 10}, {"hold": {"for": "90s"}}, {"hold": {}}]
    manifest = document("m", str(tmp_path / "p"))
    manifest["spec"]["rollout"] = {"steps": steps}
    champion = Revision("m-1", "/", "d", "spec", 1.0, phase="Champion")
    store.commit("m", 1.0, State((champion,), champion="m-1", model="d"))
    way = "copies of 50 % for 10m, 10 %, hold 1m30s, hold until a person promotes, then all requests"
    assert f"would try m-{digest[:8]} beside m-1: {way}" in plan(home.root, "m", manifest)


def test_a_model_without_steps_takes_over_at_once(home: Home, store: Store, tmp_path: Path) -> None:
    digest = make_package(tmp_path / "p")
    manifest = document("m", str(tmp_path / "p"))
    manifest["spec"]["rollout"] = {"strategy": "direct"}
    store.commit(
        "m", 1.0, State((Revision("m-1", "/", "d", "spec", 1.0, phase="Champion"),), champion="m-1", model="d")
    )
    line = f"would try m-{digest[:8]} beside m-1: all requests as soon as it is ready"
    assert line in plan(home.root, "m", manifest)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (State(message="paused; Cannot promote m: it is paused", answer="Cannot promote m: it is paused"), "paused"),
        (State(), "would change nothing now"),
        (State(champion="m-1"), "would change nothing now; m-1 stays"),
        (
            State(champion="m-1", rollout=RolloutState("m-2", 1.0)),
            "would change nothing now; the rollout of m-2 goes on",
        ),
        (State(champion="m-1", message="paused"), "paused"),
    ],
)
def test_a_quiet_plan_says_what_goes_on(home: Home, store: Store, tmp_path: Path, state: State, line: str) -> None:
    make_package(tmp_path / "p")
    store.apply({"m": document("m", str(tmp_path / "p"))})
    store.commit("m", 1.0, state)
    assert plan(home.root, "m", None, lambda _, before, __: Decision(before)) == [line]


WORDS: list[tuple[Action, str]] = [
    (Serve("m-1", "/m", "d", 1), "would serve m-1 (1 replica)"),
    (Route({"m-1": 90, "m-2": 10, "m-3": 0}), "would send 90 % to m-1, 10 % to m-2"),
    (
        Route({"m-1": 100}, ("m-2", 50), match=(("x-lane", "new"),)),
        "would send 100 % to m-1, copies of 50 % to m-2, requests with x-lane: new to the challenger",
    ),
    (StartRetraining("j-1", "m-1", 0.0, "feature drift"), "would start retraining j-1 (feature drift)"),
    (StopRetraining("j-1"), "would stop retraining j-1"),
    (Promote("m-2", "m-1"), "would make m-2 the champion"),
    (RollBack("m-2", "m-1"), "would give up m-2 and send all traffic to m-1"),
    (Retire("m-1"), "would stop serving m-1"),
    (Notify("Alarm", "m-1", "r", "x drifts"), "would say Alarm: x drifts"),
    (Record("Promote", "m-1", "r"), ""),
]


@pytest.mark.parametrize(("action", "line"), WORDS)
def test_each_action_has_words(action: Action, line: str) -> None:
    assert would(action) == line


# --- replay


def record(store: Store, spec: dict[str, Any], before: State, seen: Seen, decision: Decision) -> None:
    store.commit("m", seen.now, decision.state, audit=audit.encode(spec, before, seen, decision))


def test_recorded_decisions_come_out_the_same(home: Home, store: Store) -> None:
    spec, state = document("m", "/m"), State()
    for now, digest in ((1.0, "a" * 64), (2.0, "b" * 64)):
        seen = Seen(now, model=ModelSeen("/m", digest, "1"))
        decision = serve_what_is_seen(_spec(spec), state, seen)
        record(store, spec, state, seen, decision)
        state = decision.state
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) for now in (1, 2)]
    assert replay(home.root, "m", serve_what_is_seen) == [f"{stamp} same" for stamp in stamps]


def test_the_first_difference_is_named(home: Home, store: Store) -> None:
    seen = Seen(1.0, model=ModelSeen("/m", "a" * 64))
    decision = serve_what_is_seen(_spec(document("m", "/m")), State(), seen)
    record(store, document("m", "/m"), State(), seen, decision)

    def with_three(spec: ModelDeployment, state: State, seen: Seen) -> Decision:
        again = serve_what_is_seen(spec, state, seen)
        return replace(again, actions=tuple(replace(action, replicas=3) for action in again.actions))  # type: ignore[call-arg]  # all are Serve

    (line,) = replay(home.root, "m", with_three)
    assert line.endswith("differs: decision.actions[0].replicas was 2, is now 3")
    (line,) = replay(home.root, "m", lambda _, state, __: Decision(state))
    assert "differs: decision.state.model was 'aaaa" in line


def test_nothing_recorded_is_said(home: Home, store: Store) -> None:
    assert replay(home.root, "m", serve_what_is_seen) == ["no decision about m is recorded"]


def _spec(content: dict[str, Any]) -> ModelDeployment:
    return audit.inputs(msgspec.json.encode(content), b"{}", b'{"now": 0}')[0]


def test_all_that_a_decision_is_made_from_comes_back_exactly() -> None:
    arm = Arm("m-1", 0.1, 0.2, 3, 1, Latency((0.1, 0.5), (1, 2, 0)), Share(1, 2), Share(1, 1), 0.3, 0.25)
    evidence = Evidence(
        1 / 3, arm, arm, Pairs(Share(1, 2), 0.1), (Drift("feature", "x", 0.1, 0.2, 5, 0.3),), labels_total=9
    )
    seen = Seen(
        now=1767000000.123456,
        generation=3,
        model=ModelSeen("/m", "d", "1"),
        revisions={"m-1": RevisionSeen(2, 1, "boom")},
        route=RouteSeen({"m-1": 100}, ("m-2", 50)),
        evidence=evidence,
        jobs={"j": JobSeen("succeeded", 1.0, 2.0, "/p", "d", "2", "", {"metrics": {"accuracy": 0.9}})},
        commands=(Command(4, "promote", "ann", "why not"),),
    )
    state = State(
        revisions=(Revision("m-1", "/m", "d", "spec", 1.5),),
        champion="m-1",
        rollout=RolloutState("m-2", 1.0, 2, 3.5),
        retraining=RetrainingState(starts=(1.0, 2.0)),
        alarms=(("feature", "x"),),
    )
    content = document("m", "/m")
    spec, before, sight, _ = audit.encode(content, state, seen, Decision(state))
    assert audit.inputs(spec, before, sight) == (_spec(content), state, seen)
