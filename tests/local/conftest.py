"""The whole platform on this machine: real Envoy, real services, one home folder per test."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seamark_local.demo import data
from seamark_local.demo.platform import Platform
from seamark_local.demo.story import read_manifest, replay
from seamark_local.demo.traffic import Traffic
from seamark_local.store import Store

MODEL = "scanner"


@dataclass
class Running:
    """A platform that is up, and what tests ask of it."""

    platform: Platform
    store: Store
    world: data.World
    traffics: list[Traffic] = field(default_factory=list)

    def traffic(self, rate: float) -> Traffic:
        draw = replay(self.world, self.world.live)
        traffic = Traffic(self.platform.host, self.platform.port, MODEL, rate, draw)
        self.traffics.append(traffic)
        traffic.start()
        return traffic

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.store.events() if event["kind"] == kind]

    def until(self, happened: Callable[[], object], seconds: float = 60) -> None:
        """Waits for a condition, failing with what was seen when it does not come."""
        deadline = time.monotonic() + seconds
        while not happened():
            self.platform.check()
            if time.monotonic() > deadline:
                told = [f"{event['kind']}: {event['message']}" for event in self.store.events()]
                raise AssertionError(f"not within {seconds:.0f} s; events: {told}; {self.store.summary(MODEL)}")
            time.sleep(0.05)


@pytest.fixture(scope="session")
def world() -> data.World:
    return data.load()


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, world: data.World) -> Path:
    """Packages `v1` and `v2`, both good, trained on different halves of the training rows."""
    folder = tmp_path_factory.mktemp("packages")
    half = len(world.train) // 2
    parts = {"v1": slice(None), "v2": slice(half // 4, None)}
    for version, part in parts.items():
        table = folder / f"{version}.csv"
        data.write_csv(table, world.names, world.train[part], world.train_labels[part])
        command = [sys.executable, "-m", "seamark_trainer.initial", "--data", str(table), "--target", data.TARGET]
        command += ["--name", MODEL, "--version", version, "-o", str(folder / version), "--candidates", "logistic"]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def manifest(packages: Path) -> dict[str, Any]:
    """The demo's manifest, quicker, that retrains only when a test says so."""
    document = read_manifest()
    spec = document["spec"]
    spec["model"]["uri"] = str(packages / "v1")
    spec["rollout"]["steps"] = [
        {"shadow": {"percent": 100, "for": "2s"}},
        {"weight": 20},
        {"hold": {"for": "2s"}},
    ]
    spec["rollout"]["gates"] = [{"metric": "errorRate", "margin": 0.2}, {"metric": "shadowAgreement", "min": 0.5}]
    spec["retraining"] = {"triggers": [{"newLabels": 10**9}], "cooldown": "1s"}
    return document


@pytest.fixture
def up(tmp_path: Path, world: data.World) -> Iterator[Callable[[dict[str, Any]], Running]]:
    """Starts the platform for a manifest; everything is stopped at the end of the test."""
    started: list[Running] = []

    def start(document: dict[str, Any]) -> Running:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        platform = Platform(home)
        platform.start(document)
        running = Running(platform, Store(home / "state.db"), world)
        started.append(running)
        running.until(lambda: running.events("Deployed"))
        return running

    yield start
    for running in started:
        for traffic in running.traffics:
            traffic.stop()
        running.store.close()
        running.platform.stop()
