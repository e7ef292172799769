"""Writing the world: each action does what it says, twice is as good as once, and no failure blocks the rest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from seamark import spec as manifests
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
)
from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.seen import RouteSeen
from seamark.spec import ModelDeployment
from seamark.state import Revision, RolloutState, State
from seamark_local import analyzer_config, definitions, draining, fault, wanted
from seamark_local.analyzer_config import Watched
from seamark_local.apply import JOBS_KEPT, Applier, fault_name
from seamark_local.home import Home, make_home
from seamark_local.packages import Packages
from seamark_local.store import Process, Status, Store
from seamark_local.wanted import Served


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


def parse(**spec: Any) -> ModelDeployment:
    return manifests.parse(
        {
            "apiVersion": "seamark.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "m", "namespace": "team"},
            "spec": {"model": {"uri": "/models/m"}, **spec},
        }
    )


COLLECTOR = {"collector": Status("collector", "ready", port=7000)}


class World:
    def __init__(self, root: Path) -> None:
        self.home: Home = make_home(root / "home")
        self.store = Store(self.home.database)
        self.packages = Packages(self.home.root)
        self.applier = Applier(self.home, self.store, self.packages)
        self.spec = parse()
        self.source = root / "models"

    def apply(self, *actions: Action) -> None:
        self.applier.apply(self.spec, Decision(State(), actions))

    def serve(self, revision: str, replicas: int = 1) -> Serve:
        digest = make_package(self.source / revision, version=revision)
        return Serve(revision, str(self.source / revision), digest, replicas)

    def keep(self, route: RouteSeen | None = None, synced: bool = True, statuses: Any = None) -> list[Process]:
        needed = self.applier.keep(self.spec, route, synced, COLLECTOR if statuses is None else statuses)
        self.applier.clean(["m"], needed)
        return needed

    def names(self) -> list[str]:
        return [process.name for process in self.store.desired()]

    def process(self, name: str) -> Process:
        return next(process for process in self.store.desired() if process.name == name)

    @property
    def wanted(self) -> wanted.Wanted:
        return wanted.load(self.store, "m")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def options(process: Process) -> dict[str, str]:
    words = process.argv[3:]
    return dict(zip(words[::2], words[1::2], strict=False))


# --- serving


def test_serving_desires_a_predictor_and_a_monitor_for_each_replica(world: World) -> None:
    world.apply(world.serve("m-1", replicas=2))
    world.keep()
    assert world.names() == ["monitor-m-1-0", "monitor-m-1-1", "predictor-m-1-0", "predictor-m-1-1"]
    predictor, monitor = world.process("predictor-m-1-1"), world.process("monitor-m-1-1")
    package = str(world.packages.path(world.wanted.serving["m-1"].digest))
    assert options(predictor) == {
        "--name": "m",
        "--package": package,
        "--revision": "m-1",
        "--monitor": options(monitor)["--socket"],
        "--contract": "observe",
        "--port": "{port}",
    }
    assert options(monitor) | {"--socket": ""} == {
        "--package": package,
        "--namespace": "team",
        "--deployment": "m",
        "--revision": "m-1",
        "--source": "m-1-1",
        "--socket": "",
        "--collector": "http://127.0.0.1:7000",
        "--spool": str(world.home.root / "spool" / "m-1-1"),
        "--port": "{port}",
    }
    assert {predictor.ready, monitor.ready} == {"/readyz"}


def test_serving_twice_changes_nothing(world: World) -> None:
    serve = world.serve("m-1")
    world.apply(serve)
    before = (world.keep(), world.wanted)
    world.apply(serve)
    assert (world.keep(), world.wanted) == before


def test_fewer_replicas_end_the_surplus(world: World) -> None:
    world.apply(world.serve("m-1", replicas=3))
    world.keep()
    world.apply(world.serve("m-1", replicas=1))
    world.keep()
    assert world.names() == ["monitor-m-1-0", "predictor-m-1-0"]


def test_the_manifest_says_how_the_contract_and_pickles_are_treated(world: World) -> None:
    world.spec = parse(model={"uri": "/m", "trustPickle": True}, monitoring={"contract": "reject"})
    world.apply(world.serve("m-1"))
    world.keep()
    argv = world.process("predictor-m-1-0").argv
    assert argv[-1] == "--trust-pickle"
    assert argv[argv.index("--contract") + 1] == "reject"


def test_monitors_wait_for_the_collectors_port_and_then_keep_it(world: World) -> None:
    world.apply(world.serve("m-1"))
    world.keep(statuses={})
    assert world.names() == ["predictor-m-1-0"]
    world.keep()
    first = world.process("monitor-m-1-0")
    world.keep(statuses={"collector": Status("collector", "backoff")})
    assert world.process("monitor-m-1-0") == first
    world.keep(statuses={"collector": Status("collector", "ready", port=7001)})
    assert options(world.process("monitor-m-1-0"))["--collector"] == "http://127.0.0.1:7001"


def test_a_package_that_is_gone_makes_the_revision_failing_and_blocks_nothing(world: World) -> None:
    world.apply(Serve("m-2", "/nonexistent", "0" * 64, 1), world.serve("m-1"), Route({"m-1": 100}))
    world.keep()
    assert world.names() == ["monitor-m-1-0", "predictor-m-1-0"]
    assert world.wanted.route == Route({"m-1": 100})
    assert "there is no such folder" in world.wanted.serving["m-2"].error


def test_a_package_that_comes_back_is_served(world: World) -> None:
    serve = world.serve("m-1")
    hidden = world.source.rename(world.source.with_name("hidden"))
    world.apply(serve)
    assert world.wanted.serving["m-1"].error
    hidden.rename(world.source)
    world.keep()
    assert world.wanted.serving["m-1"].error == ""
    assert world.names() == ["monitor-m-1-0", "predictor-m-1-0"]


def test_a_kept_revision_needs_its_source_no_more(world: World) -> None:
    serve = world.serve("m-1")
    world.apply(serve)
    make_package(world.source / "m-1", version="edited")
    world.apply(serve)
    assert world.wanted.serving["m-1"].error == ""


@pytest.mark.parametrize("depth", [0, 100])
def test_sockets_are_private_and_short_however_deep_the_home_is(
    tmp_path_factory: pytest.TempPathFactory, depth: int
) -> None:
    world = World(tmp_path_factory.mktemp("s") / ("d" * depth))
    world.apply(world.serve("m-1"))
    world.keep()
    socket = Path(options(world.process("monitor-m-1-0"))["--socket"])
    assert len(str(socket)) <= definitions.SOCKET_PATH
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert definitions.sockets_folder(world.home, world.store) == socket.parent
    assert socket.parent.is_relative_to(world.home.root) == (depth == 0)
    shutil.rmtree(socket.parent)
    world.store.close()


# --- routing and retiring


def test_a_route_is_remembered(world: World) -> None:
    route = Route({"m-1": 90, "m-2": 10}, ("m-2", 50), "m-1", (("x-lane", "new"),), "x-user", "m-2")
    world.apply(route)
    assert world.wanted.route == route


def test_a_retired_revision_answers_no_header_matches_and_takes_no_copies(world: World) -> None:
    matched = Route({"m-1": 100}, ("m-2", 50), "m-2", match=(("x-lane", "new"),), match_to="m-2")
    world.apply(world.serve("m-2"), matched, Retire("m-2"))
    assert world.wanted.route == Route({"m-1": 100})


def test_a_retired_revision_runs_until_the_gateway_confirms_that_nothing_goes_there(world: World) -> None:
    world.apply(world.serve("m-1"), world.serve("m-2"), Route({"m-2": 100}, fallback="m-1"), Retire("m-1"))
    assert world.wanted.route == Route({"m-2": 100})
    both = ["monitor-m-1-0", "monitor-m-2-0", "predictor-m-1-0", "predictor-m-2-0"]
    for route, synced in ((RouteSeen({"m-1": 100}), True), (RouteSeen({"m-2": 100}, ("m-1", 5)), True), (None, False)):
        world.keep(route, synced)
        assert world.names() == both
    world.keep(RouteSeen({"m-2": 100}), synced=True)
    assert world.names() == ["monitor-m-2-0", "predictor-m-2-0"]
    assert list(world.wanted.serving) == ["m-2"]


def spool(world: World, name: str, unsent: int) -> None:
    folder = world.home.root / "spool" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "000000000001-0123456789abcdef.segment").write_bytes(bytes(100))
    (folder / "cursor.json").write_text(json.dumps({"start": {"segment": 1, "offset": 100 - unsent}}))


def test_a_retired_revisions_monitor_runs_on_until_the_collector_has_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "SETTLE", 0.0)
    world.apply(world.serve("m-1"), world.serve("m-2"), Route({"m-2": 100}), Retire("m-1"))
    world.keep(RouteSeen({"m-1": 100}))
    spool(world, "m-1-0", unsent=10)
    world.keep(RouteSeen({"m-2": 100}))
    assert list(world.wanted.serving) == ["m-2"]
    assert world.names() == ["monitor-m-1-0", "monitor-m-2-0", "predictor-m-2-0"]
    first = world.process("monitor-m-1-0")
    world.keep(RouteSeen({"m-2": 100}))
    assert world.process("monitor-m-1-0") == first
    world.keep(RouteSeen({"m-2": 100}), statuses={"collector": Status("collector", "ready", port=7001)})
    moved = world.process("monitor-m-1-0")
    assert options(moved) == options(first) | {"--collector": "http://127.0.0.1:7001"}
    spool(world, "m-1-0", unsent=0)
    world.store.report([Status("predictor-m-1-0", "running")])
    world.keep(RouteSeen({"m-2": 100}))
    assert "monitor-m-1-0" in world.names()
    world.store.remove_status("predictor-m-1-0")
    world.keep(RouteSeen({"m-2": 100}))
    assert world.names() == ["monitor-m-2-0", "predictor-m-2-0"]


def test_a_deleted_deployments_monitor_runs_on_too_and_is_the_same_when_served_again(world: World) -> None:
    serve = world.serve("m-1")
    world.apply(serve)
    world.keep()
    first = world.process("monitor-m-1-0")
    spool(world, "m-1-0", unsent=10)
    wanted.forget(world.store, "m")
    world.applier.clean([], [])
    assert world.store.desired() == [first]
    world.apply(serve)
    world.keep()
    assert world.names() == ["monitor-m-1-0", "predictor-m-1-0"]
    assert world.process("monitor-m-1-0") == first


def test_a_revision_that_carries_traffic_is_not_retired(world: World) -> None:
    world.apply(world.serve("m-1"), Route({"m-1": 100}), Retire("m-1"))
    world.keep(RouteSeen({}), synced=True)
    assert world.names() == ["monitor-m-1-0", "predictor-m-1-0"]


def test_a_retired_revision_can_be_served_again(world: World) -> None:
    serve = world.serve("m-1")
    world.apply(serve, Retire("m-1"), serve)
    world.keep()
    assert world.names() == ["monitor-m-1-0", "predictor-m-1-0"]


# --- retraining

START = StartRetraining("m-retrain-1", "m-1", 12.5, "feature drift", {"candidates": 3})


def test_retraining_is_a_job_with_its_inputs_in_the_environment(world: World) -> None:
    world.spec = parse(retraining={"deadline": "5m", "retries": 1})
    world.apply(world.serve("m-1"), START)
    process = world.process("trainer-m-retrain-1")
    root = world.home.root
    assert (process.kind, process.deadline, process.retries) == ("job", 300.0, 1)
    assert process.env == {
        "SEAMARK_JOB": "m-retrain-1",
        "SEAMARK_NAMESPACE": "team",
        "SEAMARK_DEPLOYMENT": "m",
        "SEAMARK_DATA": str(root / "data"),
        "SEAMARK_DATA_SINCE": "12.5",
        "SEAMARK_CHAMPION_PACKAGE": str(world.packages.path(world.wanted.serving["m-1"].digest)),
        "SEAMARK_OUTPUT": str(root / "packages" / "trained" / "m-retrain-1"),
        "SEAMARK_CONFIG": '{"candidates": 3}',
    }


def test_a_job_is_started_once_in_its_life(world: World) -> None:
    world.apply(world.serve("m-1"), START)
    first = world.process("trainer-m-retrain-1")
    world.spec = parse(retraining={"deadline": "5m"})
    world.apply(START)
    assert world.process("trainer-m-retrain-1") == first
    world.store.report([Status("trainer-m-retrain-1", "succeeded")])
    world.store.undesire(["trainer-m-retrain-1"])
    world.apply(START)
    assert "trainer-m-retrain-1" not in world.names()


def test_a_job_is_stopped_by_wanting_it_no_more(world: World) -> None:
    world.apply(world.serve("m-1"), START, StopRetraining("m-retrain-1"), StopRetraining("m-retrain-1"))
    assert "trainer-m-retrain-1" not in world.names()


@pytest.mark.parametrize(
    ("spec", "served", "cause"),
    [
        ({"retraining": {"trainer": {"job": {"image": "x"}}}}, True, "trainer.job is not supported on a laptop yet"),
        ({}, False, "its champion m-1 is not served"),
    ],
)
def test_a_job_that_cannot_start_is_a_failed_one(world: World, spec: Any, served: bool, cause: str) -> None:
    world.spec = parse(**spec)
    world.apply(*([world.serve("m-1")] if served else []), START, Route({"m-1": 100}))
    status = world.store.statuses()["trainer-m-retrain-1"]
    assert (status.phase, "trainer-m-retrain-1" in world.names()) == ("failed", False)
    assert cause in status.message
    assert world.wanted.route is not None


def test_only_the_last_ended_jobs_are_kept(world: World) -> None:
    world.apply(world.serve("m-1"))
    for i in range(1, JOBS_KEPT + 4):
        world.apply(StartRetraining(f"m-retrain-{i}", "m-1", 0.0, "drift"))
        world.store.report([Status(f"trainer-m-retrain-{i}", "succeeded", finished=float(i))])
    kept = [f"trainer-m-retrain-{i}" for i in range(4, JOBS_KEPT + 4)]
    assert sorted(definitions.trainer_name(job) for job in definitions.jobs(world.store.desired())) == kept
    assert sorted(world.store.statuses()) == kept


# --- the rest


def test_promotions_rollbacks_records_and_notices_touch_no_process(world: World) -> None:
    world.apply(Promote("m-1", None), RollBack("m-2", "m-1"), Record("Promote", "m-1", "x"))
    world.apply(Notify("Promoted", "m-1", "x", "y"))
    assert (world.names(), world.wanted, world.store.events()) == ([], wanted.Wanted(), [])


def test_what_belongs_to_no_deployment_is_ended(world: World) -> None:
    world.apply(world.serve("m-1"), START)
    world.store.desire([Process("collector", ()), Process("predictor-gone-0", ())])
    world.store.report([Status("trainer-m-retrain-1", "running")])
    world.keep()
    assert world.names() == ["collector", "monitor-m-1-0", "predictor-m-1-0", "trainer-m-retrain-1"]
    world.applier.clean([], [])
    assert world.names() == ["collector"]
    assert world.store.statuses() == {}


def test_every_action_has_its_fault_points() -> None:
    names = [fault_name(kind.__new__(kind)) for kind in get_args(Action)]
    assert set(names) <= set(fault.POINTS)
    assert len(fault.points()) == 2 * len(set(fault.POINTS))


def test_the_analyzers_file_says_who_is_compared_and_where_the_monitors_are(world: World, tmp_path: Path) -> None:
    world.spec = parse(monitoring={"window": "1h", "interval": "1m", "falseAlarms": "2/1d", "minEffect": 0.2})
    serving = {"m-1": Served("/a", "d1", 2), "m-2": Served("/b", "d2", 1), "m-3": Served("/c", "d3", 1, error="gone")}
    statuses = {
        name: Status(name, "ready", port=port)
        for name, port in (("monitor-m-1-0", 1), ("monitor-m-1-1", 2), ("monitor-m-2-0", 0))
    }
    state = State(
        revisions=(Revision("m-2", "/b", "d2", "spec", 1.0, phase="Shadow"),),
        champion="m-1",
        rollout=RolloutState("m-2", 1.0, ready_since=5.0),
    )
    content = analyzer_config.document([Watched(world.spec, state, serving)], world.packages, statuses)
    packages = world.packages.folder
    assert content["models"]["m"] == {
        "namespace": "team",
        "window": 3600.0,
        "interval": 60.0,
        "falseAlarms": {"count": 2.0, "seconds": 86400.0},
        "minEffect": 0.2,
        "qualityMetric": "accuracy",
        "champion": "m-1",
        "challenger": "m-2",
        "since": 5.0,
        "revisions": {
            "m-1": {
                "package": f"{packages}/d1",
                "role": "champion",
                "targets": ["http://127.0.0.1:1/metrics", "http://127.0.0.1:2/metrics"],
            },
            "m-2": {"package": f"{packages}/d2", "role": "shadow", "targets": []},
        },
    }
    path = tmp_path / "analyzer.json"
    analyzer_config.write(path, content)
    first = path.stat().st_ino
    analyzer_config.write(path, content)
    assert (json.loads(path.read_text()), path.stat().st_ino) == (content, first)
    analyzer_config.write(path, {"models": {}})
    assert path.stat().st_ino != first
