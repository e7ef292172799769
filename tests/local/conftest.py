"""The whole platform on this machine: real Envoy, real services, one home folder per test."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable

from seamark.log import table
from seamark_local.demo import data
from seamark_local.demo.platform import Platform
from seamark_local.demo.story import failed, read_manifest, replay
from seamark_local.demo.traffic import Answer, Traffic
from seamark_local.store import Store

MODEL = "scanner"

Up = Callable[[dict[str, Any]], "Running"]


def find_processes(home: Path) -> list[psutil.Process]:
    """Every living process with the home's path among its arguments or in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            text = "\0".join((*process.cmdline(), *process.environ().values()))
            if str(home) in text and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass
class Running:
    """A platform that is up, and what tests ask of it."""

    platform: Platform
    store: Store
    world: data.World
    document: dict[str, Any]
    traffics: list[Traffic] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.platform.home

    # --- users

    def traffic(self, rate: float) -> Traffic:
        draw = replay(self.world, self.world.live)
        traffic = Traffic(self.platform.host, self.platform.port, MODEL, rate, draw)
        self.traffics.append(traffic)
        traffic.start()
        return traffic

    def answered(self, traffic: Traffic) -> set[str]:
        """The prediction ids of all answers of status 200."""
        return {answer.prediction_id for answer in traffic.since(0) if answer.status == 200}

    def failures(self, traffic: Traffic) -> list[Answer]:
        """Requests without an answer, and those that failed through the server's fault."""
        return [answer for answer in traffic.since(0) if failed(answer)]

    def await_answers(self, traffic: Traffic, count: int, by: str | None = None) -> None:
        """Waits for `count` good answers to requests sent from now on, by one revision or by any."""
        now = time.time()

        def came() -> bool:
            good = [answer for answer in traffic.since(now) if answer.status == 200]
            return len([answer for answer in good if by in (None, answer.revision)]) >= count

        self.until(came)

    # --- waiting

    def until(self, happened: Callable[[], object], seconds: float = 60) -> None:
        """Waits for a condition, failing with what was seen when it does not come."""
        deadline = time.monotonic() + seconds
        while not happened():
            self.platform.check()
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s; {self.told()}")
            time.sleep(0.05)

    def throughout(self, seconds: float, holds: Callable[[], object]) -> None:
        """Watches that a condition holds all the time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert holds(), self.told()
            time.sleep(0.1)

    def told(self) -> str:
        told = [f"{event['kind']}: {event['message']}" for event in self.store.events()]
        return f"events: {told}; {self.store.summary(MODEL)}"

    # --- what happened

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.store.events() if event["kind"] == kind]

    def weight(self, revision: str | None) -> int:
        """Percent of the traffic that the gateway has confirmed for the revision."""
        shown = self.store.summary(MODEL).get("revisions", [])
        return next((int(one["weight"]) for one in shown if one["name"] == revision), 0)

    @property
    def challenger(self) -> str | None:
        state = self.store.state(MODEL)
        return state.rollout.challenger if state and state.rollout else None

    @property
    def champion(self) -> str | None:
        state = self.store.state(MODEL)
        return state.champion if state else None

    def logged(self, kind: str) -> Counter[str]:
        """How often each prediction id is in a table of the log."""
        return ids_in(self.home / "data", kind)

    # --- harm

    def pid(self, process: str) -> int:
        return self.store.statuses()[process].pid

    def kill(self, process: str) -> None:
        """kill -9, then wait until a new process answers in its place."""
        old = self.pid(process)
        os.kill(old, signal.SIGKILL)

        def replaced() -> bool:
            status = self.store.statuses().get(process)
            return status is not None and status.pid not in (0, old) and status.phase == "ready"

        self.until(replaced, 30)

    @contextmanager
    def stopped(self, pids: list[int]) -> Iterator[None]:
        """Processes that stand still meanwhile, as on a laptop that sleeps."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)


def ids_in(root: Path, kind: str) -> Counter[str]:
    """How often each prediction id is in a table of the log under `root`."""
    try:
        found = DeltaTable(table(str(root), kind, "default", MODEL)).to_pyarrow_table(columns=["prediction_id"])
    except Exception:  # the table comes with its first batch
        return Counter()
    return Counter(found["prediction_id"].to_pylist())


# --- models


@pytest.fixture(scope="session")
def world() -> data.World:
    return data.load()


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, world: data.World) -> Path:
    """A folder with the trained package `v1`, and `v2`, the same model in another version."""
    folder = tmp_path_factory.mktemp("packages")
    rows = folder / "rows.csv"
    data.write_csv(rows, world.names, world.train, world.train_labels)
    command = [sys.executable, "-m", "seamark_trainer.initial", "--data", str(rows), "--target", data.TARGET]
    command += ["--name", MODEL, "--version", "v1", "-o", str(folder / "v1"), "--candidates", "logistic"]
    subprocess.run(command, check=True, capture_output=True)
    make_variant(folder / "v1", "v2")
    return folder


def make_variant(package: Path, version: str, model: bytes | None = None, form: str = "onnx", **changes: Any) -> Path:
    """A copy of the package beside it: another version, perhaps another model file or other fields, digests right."""
    folder = package.parent / version
    shutil.copytree(package, folder)
    manifest = json.loads((folder / "seamark.json").read_bytes()) | {"version": version} | changes
    if model is not None:
        (folder / manifest["model"]["file"]).unlink()
        (folder / f"model.{form}").write_bytes(model)
        digest = hashlib.sha256(model).hexdigest()
        manifest["model"] = {"file": f"model.{form}", "format": form, "sha256": digest}
    (folder / "seamark.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def variant(packages: Path) -> Callable[..., Path]:
    """`variant(version, model, form, **changes)`: see `make_variant`; the package is `v1`."""
    return partial(make_variant, packages / "v1")


# --- the platform


@pytest.fixture
def manifest(packages: Path) -> dict[str, Any]:
    return quick_manifest(packages)


def quick_manifest(packages: Path) -> dict[str, Any]:
    """The demo's manifest, quicker, that retrains only when a test says so."""
    document = read_manifest()
    spec = document["spec"]
    spec["model"]["uri"] = str(packages / "v1")
    spec["rollout"]["steps"] = [
        {"shadow": {"percent": 100, "for": "1s"}},
        {"weight": 20},
        {"hold": {"for": "1s"}},
    ]
    spec["rollout"]["gates"] = [{"metric": "errorRate", "margin": 0.2}, {"metric": "shadowAgreement", "min": 0.5}]
    spec["retraining"] = {"triggers": [{"newLabels": 10**9}], "cooldown": "1s"}
    return document


@contextmanager
def launched(home: Path, document: dict[str, Any], world: data.World) -> Iterator[Running]:
    """`seamark up`, from the first answer to its end."""
    home.mkdir(exist_ok=True)
    platform = Platform(home)
    store: Store | None = None
    running: Running | None = None
    try:
        platform.start(document)
        store = Store(home / "state.db")
        running = Running(platform, store, world, document)
        running.until(lambda: running.events("Deployed"))
        yield running
    finally:
        for traffic in running.traffics if running else []:
            traffic.stop()
        if store:
            store.close()
        platform.stop()


@pytest.fixture
def up(tmp_path: Path, world: data.World) -> Iterator[Up]:
    """Starts the platform for a manifest; everything is stopped at the end of the test."""
    with ExitStack() as started:
        yield lambda document: started.enter_context(launched(tmp_path / "home", document, world))


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory, packages: Path, world: data.World) -> Iterator[Running]:
    """A platform with two replicas and nothing to decide, for tests that leave it as they found it.

    Its home is on a disk of its own of 128 MiB, where this user may mount one.
    """
    home = tmp_path_factory.mktemp("steady") / "home"
    home.mkdir()
    document = quick_manifest(packages)
    document["spec"]["serving"] = {"replicas": 2}
    with mounted(home, 128), launched(home, document, world) as running:
        yield running


@contextmanager
def mounted(folder: Path, mebibytes: int) -> Iterator[bool]:
    """A small disk at the folder, if this user may mount one; yields whether it is there."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, 1) as is_there:
        if not is_there:
            pytest.skip("this user may not mount a disk")
        yield folder


@pytest.fixture
def processes_of() -> Callable[[Path], list[psutil.Process]]:
    return find_processes


@pytest.fixture
def logged() -> Callable[[Path, str], Counter[str]]:
    return ids_in
