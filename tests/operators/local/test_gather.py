"""Reading the world: packages, processes, Jobs and evidence, whatever state they are in."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark import spec as manifests
from seamark.errors import InvalidPackage
from seamark.evidence import Arm, Drift, Evidence, Share
from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.seen import Command, JobSeen, RevisionSeen, RouteSeen
from seamark.state import RetrainingState, State
from seamark_local import gather
from seamark_local.gather import Gatherer, job_seen, ports, resolve_model, revision_seen
from seamark_local.home import Home, make_home
from seamark_local.packages import MAX_MANIFEST, Packages
from seamark_local.store import Process, Status, Store
from seamark_local.wanted import Served, Wanted, save


def make_package(folder: Path, version: str = "1", model: bytes = b"model") -> str:
    """A package that hashes right; returns its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "profile.json").write_bytes(b"{}")
    manifest = Manifest(
        name="m",
        version=version,
        model=ModelFile("model.onnx", "onnx", hashlib.sha256(model).hexdigest()),
        schema=Schema("binary", (Feature("x"),), (0, 1)),
        profile_sha256=hashlib.sha256(b"{}").hexdigest(),
    )
    (folder / "seamark.json").write_bytes(manifest.to_json())
    return hashlib.sha256(manifest.to_json()).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.database)
    yield store
    store.close()


@pytest.fixture
def packages(home: Home) -> Packages:
    return Packages(home.root)


# --- packages


def test_a_package_resolves_to_its_digest_and_version(tmp_path: Path) -> None:
    digest = make_package(tmp_path / "my model", version="7")
    for uri in (f"file://{tmp_path}/my%20model", str(tmp_path / "my model"), f"file://localhost{tmp_path}/my%20model"):
        seen = resolve_model(uri)
        assert (seen.uri, seen.digest, seen.version, seen.error) == (uri, digest, "7", "")
    assert resolve_model("my model", tmp_path).digest == digest


REFUSED = [
    ("s3://bucket/model", "only file: packages are served on a laptop yet; got s3:"),
    ("models:/churn@champion", "only file: packages are served on a laptop yet; got models:"),
    ("models/v1", "it is not an absolute path"),
    ("file://server/model", "a file: address has three slashes; got a host"),
    ("file:models/v1", "it is not an absolute path"),
    ("/a\0b", "it is not an absolute path"),
    ("http://[", "Invalid IPv6 URL"),
    ("/nonexistent/model", "there is no such folder"),
]


@pytest.mark.parametrize(("uri", "cause"), REFUSED)
def test_what_cannot_be_resolved_is_an_error_that_names_it(uri: str, cause: str) -> None:
    seen = resolve_model(uri)
    assert seen.digest == ""
    assert seen.error.startswith(f"Cannot read model package {uri}: ")
    assert cause in seen.error


def _truncate(folder: Path) -> None:
    (folder / "seamark.json").write_bytes((folder / "seamark.json").read_bytes()[:-20])


def _alter_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"another")


def _remove_profile(folder: Path) -> None:
    (folder / "profile.json").unlink()


def _fill(folder: Path) -> None:
    (folder / "seamark.json").write_bytes(b" " * (MAX_MANIFEST + 1))


def _folder_for_model(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()


def _pipe_for_profile(folder: Path) -> None:
    (folder / "profile.json").unlink()
    os.mkfifo(folder / "profile.json")


def _empty(folder: Path) -> None:
    (folder / "seamark.json").unlink()


DAMAGES = [
    (_truncate, "seamark.json"),
    (_alter_model, "model.onnx has SHA-256"),
    (_remove_profile, "profile.json: No such file or directory"),
    (_fill, f"seamark.json is over {MAX_MANIFEST} bytes"),
    (_folder_for_model, "model.onnx: is not a regular file"),
    (_pipe_for_profile, "profile.json: is not a regular file"),
    (_empty, "it holds no seamark.json"),
]


@pytest.mark.parametrize(("damage", "cause"), DAMAGES)
def test_a_damaged_package_is_an_error(tmp_path: Path, damage: Any, cause: str) -> None:
    make_package(tmp_path / "m")
    damage(tmp_path / "m")
    seen = resolve_model(str(tmp_path / "m"))
    assert seen.digest == ""
    assert seen.error.startswith(f"Cannot read model package {tmp_path}/m: ")
    assert cause in seen.error


def test_a_package_is_hashed_again_only_when_it_changes(
    tmp_path: Path, packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"
    first = make_package(folder)
    calls: list[str] = []
    real = resolve_model
    monkeypatch.setattr("seamark_local.packages.resolve_model", lambda uri: (calls.append(uri), real(uri))[1])
    assert [packages.resolve(str(folder)).digest for _ in range(3)] == [first] * 3
    assert len(calls) == 1
    second = make_package(folder, version="2", model=b"new model")
    assert packages.resolve(str(folder)).digest == second != first
    assert len(calls) == 2


def test_a_kept_package_outlives_its_source(tmp_path: Path, packages: Packages) -> None:
    digest = make_package(tmp_path / "m")
    kept = packages.keep(str(tmp_path / "m"), digest)
    make_package(tmp_path / "m", version="2", model=b"new model")
    assert kept == packages.path(digest)
    assert resolve_model(str(kept)).digest == digest
    assert packages.keep(str(tmp_path / "m"), digest) == kept


def test_a_package_that_changed_is_not_kept_under_the_old_digest(tmp_path: Path, packages: Packages) -> None:
    digest = make_package(tmp_path / "m")
    make_package(tmp_path / "m", version="2")
    with pytest.raises(InvalidPackage, match="it changed; its digest is"):
        packages.keep(str(tmp_path / "m"), digest)
    assert not packages.path(digest).exists()


def test_a_damaged_package_leaves_nothing_behind(tmp_path: Path, packages: Packages) -> None:
    digest = make_package(tmp_path / "m")
    _alter_model(tmp_path / "m")
    with pytest.raises(InvalidPackage, match=r"model\.onnx has SHA-256"):
        packages.keep(str(tmp_path / "m"), digest)
    assert list(packages.folder.iterdir()) == []


def test_a_copy_cut_off_by_a_kill_is_made_again(tmp_path: Path, packages: Packages) -> None:
    digest = make_package(tmp_path / "m")
    draft = packages.folder / f".{digest}.draft"
    draft.mkdir(parents=True)
    (draft / "model.onnx").write_bytes(b"mod")
    assert resolve_model(str(packages.keep(str(tmp_path / "m"), digest))).digest == digest


# --- processes


def pair(replica: int, predictor: str, monitor: str, **more: Any) -> dict[str, Status]:
    names = (f"predictor-m-1-{replica}", f"monitor-m-1-{replica}")
    return {
        names[0]: Status(names[0], predictor, port=100 + replica, **more),  # type: ignore[arg-type]  # a phase
        names[1]: Status(names[1], monitor, port=200 + replica),  # type: ignore[arg-type]  # a phase
    }


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({}, RevisionSeen(2, 0)),
        ({**pair(0, "ready", "ready"), **pair(1, "ready", "ready")}, RevisionSeen(2, 2)),
        ({**pair(0, "ready", "running"), **pair(1, "starting", "ready")}, RevisionSeen(2, 0)),
        (pair(0, "ready", "ready"), RevisionSeen(2, 1)),
        (pair(0, "backoff", "ready", restarts=2, message="boom"), RevisionSeen(2, 0)),
        (pair(0, "backoff", "ready", restarts=3, message="boom"), RevisionSeen(2, 0, "predictor-m-1-0: boom")),
        (pair(0, "backoff", "ready", exit_status=2, message="bad"), RevisionSeen(2, 0, "predictor-m-1-0: bad")),
        (pair(0, "starting", "ready", exit_status=2, message="bad"), RevisionSeen(2, 0)),
        (pair(0, "failed", "ready", exit_status=2), RevisionSeen(2, 0, "predictor-m-1-0: ended with status 2")),
    ],
)
def test_a_replica_is_ready_when_its_predictor_and_its_monitor_are(
    statuses: dict[str, Status], expected: RevisionSeen
) -> None:
    assert revision_seen("m-1", Served("/m", "d", 2), statuses) == expected


def test_a_revision_that_cannot_be_served_is_failing() -> None:
    assert revision_seen("m-1", Served("/m", "d", 1, error="gone"), {}) == RevisionSeen(1, 0, "gone")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({}, ()),
        ({**pair(0, "ready", "ready"), **pair(1, "ready", "ready")}, (100, 101)),
        ({**pair(0, "ready", "ready"), **pair(1, "backoff", "ready")}, (100,)),
        ({**pair(0, "backoff", "ready"), **pair(1, "starting", "ready")}, (100, 101)),
        (pair(0, "ready", "backoff"), (100,)),
    ],
)
def test_replicas_that_are_not_ready_leave_the_gateway_but_never_the_last(
    statuses: dict[str, Status], expected: tuple[int, ...]
) -> None:
    assert ports("m-1", Served("/m", "d", 2), statuses) == expected


# --- Jobs


def job(phase: str, result: object = "", **more: Any) -> Status:
    text = result if isinstance(result, str) else json.dumps(result)
    return Status("trainer-m-1", phase, started=1.0, finished=2.0, result=text, **more)  # type: ignore[arg-type]  # a phase


def test_a_job_that_succeeded_brings_its_package(tmp_path: Path, packages: Packages) -> None:
    digest = make_package(tmp_path / "new", version="9")
    result = {"package": f"file://{tmp_path}/new", "digest": digest, "rows": 5, "metrics": {"accuracy": 0.9}}
    expected = JobSeen("succeeded", 1.0, 2.0, f"file://{tmp_path}/new", digest, "9", "", result)
    assert job_seen(job("succeeded", result), packages) == expected


@pytest.mark.parametrize("phase", ["starting", "running", "backoff"])
def test_a_job_that_has_not_ended_runs(packages: Packages, phase: str) -> None:
    assert job_seen(job(phase, message="try 2"), packages) == JobSeen("running", 1.0, message="try 2")
    assert job_seen(None, packages).phase == "running"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (job("failed", {"error": "no labels"}), "no labels"),
        (job("failed", "garbage", message="killed by signal 9"), "killed by signal 9"),
        (job("failed", exit_status=1), "ended with status 1"),
        (job("failed", {"error": 7}, message="boom"), "boom"),
        (job("stopped", message="stopped before it ended"), "stopped before it ended"),
        (job("succeeded", ""), "wrote no readable result: ''"),
        (job("succeeded", "{{{"), "wrote no readable result: '{{{'"),
        (job("succeeded", [1, 2]), "wrote no readable result: '[1, 2]'"),
        (job("succeeded", {"package": "/x"}), 'wrote no readable result: \'{"package": "/x"}\''),
        (job("succeeded", '{"package": NaN, "digest": ""}'), "wrote no readable result"),
        (job("succeeded", "[" * 5000), "wrote no readable result"),
        (job("succeeded", {"package": "/x", "digest": "d"}), "Cannot read model package /x: there is no such folder"),
    ],
)
def test_a_job_that_failed_says_why(packages: Packages, status: Status, message: str) -> None:
    seen = job_seen(status, packages)
    assert (seen.phase, seen.started, seen.finished, seen.digest) == ("failed", 1.0, 2.0, "")
    assert message in seen.message


def test_a_package_that_is_not_what_the_result_says_is_a_failure(tmp_path: Path, packages: Packages) -> None:
    make_package(tmp_path / "new")
    seen = job_seen(job("succeeded", {"package": str(tmp_path / "new"), "digest": "0" * 64}), packages)
    assert seen.phase == "failed"
    assert "wrote a package of digest" in seen.message


@given(st.text(max_size=200))
def test_no_result_whatever_it_is_raises(text: str) -> None:
    assert job_seen(job("succeeded", text), Packages(Path("/nonexistent"))).phase == "failed"


# --- evidence

EVIDENCE = Evidence(
    time=10.0,
    champion=Arm("m-1", 1.0, 2.0, 100, 1, recent=Share(9, 10)),
    drift=(Drift("feature", "x", 2.0, 1.0, 100, since=3.0),),
)


class Analyzer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.path)
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def analyzer() -> Iterator[Any]:
    with HTTPServer(("127.0.0.1", 0), Analyzer) as server:
        fake: Any = server
        fake.asked, fake.status, fake.body = [], 200, msgspec.json.encode(EVIDENCE)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


@pytest.fixture
def gatherer(home: Home, store: Store) -> Iterator[Gatherer]:
    gatherer = Gatherer(home, store)
    yield gatherer
    gatherer.close()


def test_evidence_is_the_analyzers_answer_asked_for_once_a_second(gatherer: Gatherer, analyzer: Any) -> None:
    port = analyzer.server_address[1]
    assert [gatherer.evidence("m", port) for _ in range(5)] == [EVIDENCE] * 5
    assert analyzer.asked == ["/v1/models/m/evidence"]


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"{}"), (500, b"{}"), (200, b""), (200, b"<html>"), (200, b'{"time": "now"}'), (200, b"[" * 5000)],
)
def test_any_trouble_with_the_analyzer_is_no_evidence(
    gatherer: Gatherer, analyzer: Any, status: int, body: bytes
) -> None:
    analyzer.status, analyzer.body = status, body
    assert gatherer.evidence("m", analyzer.server_address[1]) is None


def test_an_analyzer_that_is_not_there_or_hangs_is_no_evidence(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "EVIDENCE_TIMEOUT", 0.1)
    gatherer = Gatherer(home, store)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert gatherer.evidence("a", 0) is None
        assert gatherer.evidence("b", silent.getsockname()[1]) is None
    assert gatherer.evidence("c", 1) is None
    gatherer.close()


# --- all together


def test_a_deployment_is_seen_whole(
    tmp_path: Path, home: Home, store: Store, gatherer: Gatherer, analyzer: Any
) -> None:
    digest = make_package(tmp_path / "m", version="3")
    document = {
        "apiVersion": "seamark.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": str(tmp_path / "m")}},
    }
    store.apply({"m": document})
    save(store, "m", Wanted({"m-1": Served("/m", digest, 1)}))
    env = {"SEAMARK_JOB": "m-retrain-1", "SEAMARK_DEPLOYMENT": "m"}
    other = {"SEAMARK_JOB": "n-retrain-1", "SEAMARK_DEPLOYMENT": "n"}
    store.desire([Process("trainer-m-retrain-1", (), env), Process("trainer-n-retrain-1", (), other)])
    analyzer_status = Status("analyzer", "ready", port=analyzer.server_address[1])
    refused = Status("trainer-m-retrain-2", "failed", message="not supported")
    store.report([*pair(0, "ready", "ready").values(), analyzer_status, refused])
    store.command("m", "pause")
    second = store.command("m", "resume", "ann", "go on")
    state = State(last_command=second - 1, retraining=RetrainingState(job="m-retrain-2"))
    route = RouteSeen({"m-1": 100})
    seen = gatherer.seen(store.manifests()[0], manifests.parse(document), state, route, 42.0)
    assert (seen.now, seen.generation, seen.route, seen.evidence) == (42.0, 1, route, EVIDENCE)
    assert seen.model is not None
    assert (seen.model.digest, seen.model.version) == (digest, "3")
    assert seen.revisions == {"m-1": RevisionSeen(1, 1)}
    assert {name: job.phase for name, job in seen.jobs.items()} == {"m-retrain-1": "running", "m-retrain-2": "failed"}
    assert seen.commands == (Command(second, "resume", "ann", "go on"),)
