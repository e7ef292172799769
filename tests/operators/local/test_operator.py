"""The loop: it gathers, asks, applies and commits, for each deployment on its own, and survives a kill anywhere.

The decisions are injected: what is decided is tested with the core.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seamark import spec as manifests
from seamark.actions import (
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
from seamark.evidence import Arm, Drift, Evidence, Share
from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.seen import ModelSeen, RevisionSeen, RouteSeen, Seen
from seamark.spec import ModelDeployment
from seamark.state import RetrainingState, Revision, RolloutState, State
from seamark_local import fault, operator, wanted
from seamark_local.envoy import Gateway, command, write_bootstrap
from seamark_local.home import Home, make_home
from seamark_local.operator import LONGEST, SHORTEST, Operator, summarise
from seamark_local.packages import resolve_model
from seamark_local.store import Process, Status, Store
from seamark_local.wanted import Served, Wanted


def make_package(folder: Path, version: str = "1") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"model")
    (folder / "profile.json").write_bytes(b"{}")
    manifest = Manifest(
        name="m",
        version=version,
        model=ModelFile("model.onnx", "onnx", hashlib.sha256(b"model").hexdigest()),
        schema=Schema("binary", (Feature("x"),), (0, 1)),
        profile_sha256=hashlib.sha256(b"{}").hexdigest(),
    )
    (folder / "seamark.json").write_bytes(manifest.to_json())
    return hashlib.sha256(manifest.to_json()).hexdigest()


def document(name: str, uri: str = "/nonexistent", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "seamark.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"uri": uri}, **spec},
    }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.database)
    yield store
    store.close()


@contextmanager
def operating(home: Home, decide: operator.Decide) -> Iterator[Operator]:
    made = Operator(home, decide, clock=lambda: 1000.0)
    try:
        yield made
    finally:
        made.close()


def idle(_: ModelDeployment, state: State, __: Seen) -> Decision:
    return Decision(state)


def once(*actions: Any) -> operator.Decide:
    """Decides these actions the first time."""

    def decide(_: ModelDeployment, state: State, __: Seen) -> Decision:
        return Decision(state) if state.message else Decision(replace(state, message="decided"), actions)

    return decide


# --- one tick

NOTICE = Notify("Deployed", "m-1", "Deployed", "m-1 answers", {"weight": 100})


def test_a_decision_is_committed_whole(home: Home, store: Store) -> None:
    store.apply({"m": document("m")})
    with operating(home, once(NOTICE, Route({"m-1": 100}))) as op:
        op.tick()
    assert store.state("m") == State(message="decided")
    assert [(event["kind"], event["message"]) for event in store.events()] == [("Deployed", "m-1 answers")]
    assert store.summary("m")["name"] == "m"
    (row,) = store.audit("m")
    spec, before, seen, decision = (json.loads(part) for part in row[1:])
    assert (row[0], spec, before["message"], seen["now"]) == (1000.0, document("m"), "", 1000.0)
    assert [action["type"] for action in decision["actions"]] == ["Notify", "Route"]


def test_what_is_the_same_as_before_is_not_recorded_again(home: Home, store: Store) -> None:
    def insists(_: ModelDeployment, state: State, __: Seen) -> Decision:
        return Decision(state, (Route({"m-1": 100}),))

    store.apply({"m": document("m")})
    with operating(home, insists) as op:
        for _ in range(5):
            op.tick()
    assert len(store.audit("m")) == 1
    store.apply({"n": document("n")})
    with operating(home, idle) as op:
        for _ in range(5):
            op.tick()
    assert store.audit("n") == []


def test_one_deployments_failure_stops_no_other(home: Home, store: Store) -> None:
    def decide(spec: ModelDeployment, state: State, seen: Seen) -> Decision:
        if spec.name == "a":
            raise ZeroDivisionError("oops")
        return once(NOTICE)(spec, state, seen)

    store.apply({"a": document("a"), "b": {"kind": "nonsense"}, "c": document("c")})
    with operating(home, decide) as op:
        op.tick()
        assert op.tick() <= LONGEST
    assert store.summary("a")["message"] == "internal error: oops"
    assert "apiVersion: is missing" in store.summary("b")["message"]
    assert [event["name"] for event in store.events()] == ["c"]
    assert store.state("c") == State(message="decided")


def test_what_stopped_a_deployment_is_forgotten_when_it_goes_on(home: Home, store: Store) -> None:
    store.apply({"m": {"kind": "nonsense"}})
    with operating(home, idle) as op:
        op.tick()
        store.apply({"m": document("m")})
        op.tick()
    assert "missing" not in store.summary("m")["message"]


@pytest.mark.parametrize(("wake", "expected"), [(0.0, SHORTEST), (0.5, 0.5), (60.0, LONGEST)])
def test_the_next_look_is_soon(home: Home, store: Store, wake: float, expected: float) -> None:
    store.apply({"m": document("m")})
    with operating(home, lambda _, state, __: Decision(state, wake_after=wake)) as op:
        op.tick()
        assert op.tick() == expected


def test_a_gateway_that_does_not_answer_is_shown(home: Home, store: Store) -> None:
    store.apply({"m": document("m")})
    with operating(home, idle) as op:
        for _ in range(3):
            op.tick()
    assert store.summary("m")["message"] == ("Cannot read model package /nonexistent: there is no such folder")
    store.apply({"m": document("m", uri=str(home.root))})
    make_package(home.root)
    with operating(home, idle) as op:
        for _ in range(3):
            op.tick()
    assert store.summary("m")["message"].startswith("Cannot reach the gateway")


def test_a_deleted_deployment_leaves_nothing_but_its_counts(home: Home, store: Store, tmp_path: Path) -> None:
    digest = make_package(tmp_path / "p")
    actions = (
        Serve("m-1", str(tmp_path / "p"), digest, 1),
        Route({"m-1": 100}),
        StartRetraining("m-r-1", "m-1", 0, ""),
    )
    store.apply({"m": document("m"), "n": document("n")})

    def decide(spec: ModelDeployment, state: State, seen: Seen) -> Decision:
        decision = once(*actions)(spec, state, seen) if spec.name == "m" else Decision(state)
        return replace(decision, state=replace(decision.state, retraining=RetrainingState(episode=4)))

    store.report([Status("collector", "ready", port=7000)])
    with operating(home, decide) as op:
        op.tick()
        assert [p.name for p in store.desired()] == ["monitor-m-1-0", "predictor-m-1-0", "trainer-m-r-1"]
        promote = store.command("m", "promote")
        store.forget("m")
        op.tick()
        assert store.desired() == []
        assert store.state("m") == State(last_command=promote, retraining=RetrainingState(episode=4))
        assert (wanted.load(store, "m"), wanted.deployments(store)) == (Wanted(), ["n"])
        assert list(json.loads(home.analyzer_config.read_text())["models"]) == ["n"]


def test_trouble_with_the_disk_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "LONGEST", 0.01)
    stop = threading.Event()
    errors: list[Exception] = [sqlite3.OperationalError("disk full"), OSError(28, "No space left on device")]

    class Failing:
        def tick(self) -> float:
            if errors:
                raise errors.pop()
            stop.set()
            return 0.0

    operator.run(Failing(), stop)  # type: ignore[arg-type]  # all that run needs
    assert errors == []


# --- what people are shown


def test_the_summary_says_what_is_going_on() -> None:
    steps = [{"shadow": {"for": "10s"}}, {"weight": 10}, {"hold": {"for": "20s"}}, {"hold": {}}]
    spec = manifests.parse(document("m", rollout={"steps": steps}))
    state = State(
        revisions=(
            Revision("m-0", "/", "d0", "spec", 0.0, "0", "Retired"),
            Revision("m-1", "/", "d1", "spec", 1.0, "1", "Champion"),
            Revision("m-2", "/", "d2", "retraining", 2.0, "2", "Canary"),
        ),
        champion="m-1",
        rollout=RolloutState("m-2", 1.0, step=2, step_since=88.0),
        retraining=RetrainingState(blocked="ContractViolated"),
        alarms=(("feature", "mean radius"), ("label", ""), ("prediction", "prediction")),
        violations=(("", "shape"), ("mean radius", "range")),
    )
    drift = (Drift("feature", "a", 3.0, 2.0, 9), Drift("feature", "b", 2.0, 1.0, 9), Drift("feature", "c", 9.0, 0.0, 9))
    champion = Arm("m-1", 0, 1, 200, 1, recent=Share(9, 10), requests_per_second=5.0, p99=0.01)
    seen = Seen(
        now=100.0,
        revisions={"m-1": RevisionSeen(2, 1), "m-2": RevisionSeen(1, 1)},
        route=RouteSeen({"m-1": 90, "m-2": 10}, ("m-2", 100)),
        evidence=Evidence(99.0, champion, drift=drift),
    )
    verdict = Verdict("Better", "GatesPassed", "fine")
    summary = summarise(spec, state, seen, Decision(state, verdict=verdict))
    revisions = summary.pop("revisions")
    assert summary == {
        "name": "m",
        "namespace": "default",
        "ready": True,
        "phase": "Canary",
        "message": "",
        "step": "3 of 4: hold 12s of 20s at 10 %",
        "verdict": {"outcome": "Better", "reason": "GatesPassed", "message": "fine"},
        "retraining": "blocked while the input contract is violated",
        "alarms": ["feature mean radius", "label", "prediction", "contract shape", "contract mean radius range"],
    }
    assert revisions[0] == {
        "name": "m-1",
        "version": "1",
        "role": "champion",
        "phase": "Champion",
        "weight": 90,
        "mirror": 0,
        "ready": "1/2",
        "requests_per_second": 5.0,
        "error_rate": 0.005,
        "p99": 0.01,
        "drift": {"score": 2.0, "threshold": 1.0, "feature": "b"},
        "quality": 0.9,
        "quality_rows": 10,
    }
    assert [(r["name"], r["role"], r["weight"], r["mirror"], r["ready"]) for r in revisions[1:]] == [
        ("m-2", "challenger", 10, 100, "1/1"),
        ("m-0", "retired", 0, 0, "0/0"),
    ]
    assert (revisions[1]["error_rate"], revisions[1]["drift"], revisions[1]["quality"]) == (None, None, None)


@pytest.mark.parametrize(
    ("step", "since", "text"),
    [
        (0, 95.0, "1 of 4: shadow 5s of 10s, 100 % copied"),
        (1, None, "2 of 4: weight 10 %"),
        (2, None, "3 of 4: hold 0s of 20s at 10 %"),
        (3, 90.0, "4 of 4: hold until a person promotes, at 10 %"),
        (4, None, "all steps are done: promoting"),
    ],
)
def test_each_step_has_words(step: int, since: float | None, text: str) -> None:
    steps = [{"shadow": {"for": "10s"}}, {"weight": 10}, {"hold": {"for": "20s"}}, {"hold": {}}]
    spec = manifests.parse(document("m", rollout={"steps": steps}))
    state = State(rollout=RolloutState("m-2", 1.0, step=step, step_since=since))
    assert summarise(spec, state, Seen(100.0), Decision(state))["step"] == text


def test_a_paused_step_shows_the_time_that_counts() -> None:
    spec = manifests.parse(document("m", rollout={"steps": [{"shadow": {"for": "10s"}}]}))
    state = State(paused=True, rollout=RolloutState("m-2", 1.0, step_since=40.0, held=3.0))
    assert summarise(spec, state, Seen(100.0), Decision(state))["step"] == "1 of 1: shadow 3s of 10s, 100 % copied"


@pytest.mark.parametrize(
    ("retraining", "text"),
    [
        (RetrainingState(), ""),
        (RetrainingState(waiting="waiting for labels: 3 of 50"), "waiting for labels: 3 of 50"),
        (RetrainingState(episode=2, job="m-retrain-2", cause="c", finished=9.0), "running m-retrain-2 (c)"),
    ],
    ids=["nothing", "what it waits for", "a second Job runs though the first has finished"],
)
def test_each_state_of_retraining_has_words(retraining: RetrainingState, text: str) -> None:
    spec, state = manifests.parse(document("m")), State(retraining=retraining)
    assert summarise(spec, state, Seen(100.0), Decision(state))["retraining"] == text


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (State(), "Pending"),
        (State(champion="m-1"), "Serving"),
        (State(champion="m-1", paused=True), "Paused"),
        (State((Revision("m-2", "", "", "spec", 0, phase="Shadow"),), "m-1", rollout=RolloutState("m-2", 0)), "Shadow"),
        (State((Revision("m-2", "", "", "spec", 0),), "m-1", rollout=RolloutState("m-2", 0)), "Serving"),
    ],
)
def test_each_phase_has_a_name(state: State, phase: str) -> None:
    spec = manifests.parse(document("m"))
    seen = Seen(1.0, model=ModelSeen("/m", error="Cannot read it"))
    summary = summarise(spec, state, seen, Decision(state))
    assert (summary["phase"], summary["ready"], summary["message"]) == (phase, False, "Cannot read it")


# --- a whole rollout with a retraining, killed at every step, with a real gateway


class Script:
    """A rollout that takes every kind of action once, told as a decision core: memory and sight in, decision out."""

    def __init__(self, package: Path) -> None:
        self.package = package

    def __call__(self, spec: ModelDeployment, state: State, seen: Seen) -> Decision:
        first, second, job = f"{spec.name}-1", f"{spec.name}-2", f"{spec.name}-retrain-1"

        def is_ready(name: str) -> bool:
            return name in seen.revisions and seen.revisions[name].ready > 0

        digest = resolve_model(str(self.package)).digest
        found = seen.jobs.get(job)
        match state.message:
            case "":
                turn = "serving", (Serve(first, str(self.package), digest, 1), Notify("Deployed", first, "r", "m"))
            case "serving" if is_ready(first):
                turn = "routing", (Route({first: 100}),)
            case "routing" if seen.route == RouteSeen({first: 100}):
                start = StartRetraining(job, first, 1.0, "drift")
                turn = "training", (Promote(first, None), Record("Promote", first, "r"), start)
            case "training" if found and found.phase == "succeeded":
                turn = "second", (StopRetraining(job), Serve(second, found.package, found.digest, 1))
            case "second" if is_ready(second):
                turn = "half", (Route({first: 50, second: 50}, fallback=first),)
            case "half" if seen.route == RouteSeen({first: 50, second: 50}):
                turn = "full", (Route({second: 100}, fallback=first),)
            case "full" if seen.route == RouteSeen({second: 100}):
                turn = "ending", (RollBack(first, second), Retire(first), Notify("Promoted", second, "r", "m"))
            case "ending" if first not in seen.revisions:
                turn = "done", ()
            case _:
                return Decision(state)
        retraining = RetrainingState(job=job)
        return Decision(replace(state, message=turn[0], retraining=retraining), turn[1])


PHASES = ["serving", "routing", "training", "second", "half", "full", "ending", "done"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


def supervise(store: Store, starts: Path, trained: Path) -> None:
    """What the supervisor would report: services are ready at once, Jobs succeed; each start of a Job is noted."""
    known = store.statuses()
    desired = store.desired()
    reports = [Status("collector", "ready", port=7000)]
    for process in desired:
        if process.name in known:
            continue
        if process.kind == "job":
            with starts.open("a") as file:
                file.write(f"{process.name}\n")
            result = {"package": str(trained), "digest": resolve_model(str(trained)).digest}
            reports.append(Status(process.name, "succeeded", started=1.0, finished=2.0, result=json.dumps(result)))
        else:
            port = 20_000 + int(hashlib.sha256(process.name.encode()).hexdigest(), 16) % 10_000
            reports.append(Status(process.name, "ready", port=port))
    store.report(reports)
    for name in set(known) - {process.name for process in desired} - {"collector"}:
        if not name.startswith("trainer-"):
            store.remove_status(name)


class Stage:
    """A home with a real gateway; `play` runs the operator for one deployment in a process that may be killed."""

    def __init__(self, root: Path) -> None:
        self.home = make_home(root / "home")
        self.starts = root / "starts"
        self.first, self.second = root / "first", root / "second"
        make_package(self.first, "1")
        make_package(self.second, "2")
        Store(self.home.database).close()

    def play(self, name: str) -> int:
        """The wait status of the process: 0, or how it was killed."""
        child = os.fork()
        if child == 0:
            try:
                self._play(name)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        return os.waitpid(child, 0)[1]

    def _play(self, name: str) -> None:
        store, op = Store(self.home.database), Operator(self.home, Script(self.first))
        deadline = time.monotonic() + 20
        while (state := store.state(name)) is None or state.message != "done":
            assert time.monotonic() < deadline, f"{name} stays at {state}"
            op.tick()
            supervise(store, self.starts, self.second)
            time.sleep(0.01)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    write_bootstrap(stage.home.root, free_port(), free_port())
    child = subprocess.Popen(command(stage.home.root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    gateway = Gateway(stage.home.root)
    try:
        until(lambda: gateway.active() is not None)
        yield stage
    finally:
        gateway.close()
        child.kill()
        child.wait()


@pytest.mark.parametrize("point", ["none:never", *fault.points()])
def test_killed_anywhere_the_operator_ends_up_where_it_would_have(stage: Stage, point: str) -> None:
    name = point.replace(":", "-").replace("_", "-")
    store = Store(stage.home.database)
    for other in store.manifests():
        store.forget(other.name)
    store.apply({name: document(name, uri=str(stage.first))})
    store.close()
    (stage.home.root / "fault").write_text(f"{point}:kill\n")
    killed = [] if point == "none:never" else [signal.SIGKILL]
    assert [os.WTERMSIG(stage.play(name)) for _ in killed] == killed
    assert stage.play(name) == 0

    store, gateway = Store(stage.home.database), Gateway(stage.home.root)
    try:
        second = f"{name}-2"
        assert store.state(name) == State(message="done", retraining=RetrainingState(job=f"{name}-retrain-1"))
        assert [event["kind"] for event in store.events(name=name)] == ["Deployed", "Promoted"]
        assert [json.loads(row[4])["state"]["message"] for row in store.audit(name)] == PHASES
        assert [p.name for p in store.desired()] == [f"monitor-{second}-0", f"predictor-{second}-0"]
        digest = resolve_model(str(stage.second)).digest
        assert wanted.load(store, name).serving == {second: Served(str(stage.second), digest, 1)}
        active = gateway.active()
        assert active is not None
        assert active.route(name) == RouteSeen({second: 100})
        starts = stage.starts.read_text().splitlines()
        assert starts.count(f"trainer-{name}-retrain-1") == 1
        assert wanted.deployments(store) == [name]
    finally:
        gateway.close()
        store.close()


def test_a_fault_file_works_once_and_only_at_its_point(tmp_path: Path) -> None:
    file = tmp_path / "fault"
    file.write_text("route:after:kill\nserve:before:kill")
    fault.point("route:before", tmp_path)
    fault.point("serve:after", tmp_path)
    assert len(file.read_text().split()) == 2
    child = os.fork()
    if child == 0:
        fault.point("route:after", tmp_path)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert file.read_text() == "serve:before:kill"


# --- the process


@contextmanager
def started(home: Home, **env: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "seamark_local.operator", "--home", str(home.root)]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, **env})
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stderr is not None
        child.stderr.close()


def test_the_process_ends_cleanly_and_a_second_one_is_refused(home: Home, store: Store) -> None:
    store.apply({"m": document("m")})
    with started(home) as first:
        until(lambda: store.summary("m"), seconds=30)
        with started(home) as second:
            assert second.wait(timeout=30) == 2
            assert second.stderr is not None
            assert second.stderr.read() == f"Cannot start the operator: another one runs in {home.root}\n"
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=10) == 0


def test_the_environment_can_name_a_fault(home: Home, store: Store) -> None:
    store.apply({"m": document("m")})
    with started(home, SEAMARK_FAULT="commit:before:kill") as child:
        assert child.wait(timeout=30) == -signal.SIGKILL
    assert store.state("m") is None


def test_processes_of_others_are_left_alone(home: Home, store: Store) -> None:
    fixed = [Process(name, ()) for name in ("analyzer", "collector", "gateway", "operator")]
    store.desire(fixed)
    with operating(home, idle) as op:
        op.tick()
    assert store.desired() == fixed
