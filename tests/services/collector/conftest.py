"""A collector as a real process, and batches to send to it."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from seamark.records import LogBatch, Prediction, pack

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def make_prediction(identity: str, rows: int = 1, **changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "prediction_id": identity,
        "time": NOON,
        "latency": 0.001,
        "status": 200,
        "rows": rows,
        "numbers": np.arange(2.0 * rows).tobytes(),
        "categories": [["red"] * rows],
        "outputs": np.tile([1.0, 0.75], rows).tobytes(),
    }
    return Prediction(**{**fields, **changes})


def make_batch(
    sequence: int = 1, ids: tuple[str, ...] = ("a",), predictions: Sequence[Prediction] | None = None, **changes: Any
) -> LogBatch:
    """predictions: each in a block of its own."""
    fields: dict[str, Any] = {
        "source": "spool-1",
        "sequence": sequence,
        "namespace": "default",
        "deployment": "m",
        "revision": "m-1a2b3c4d",
        "numbers": ["mean radius", "age"],
        "categories": ["colour"],
        "outputs": ["prediction", "score"],
        "blocks": [pack([make_prediction(identity) for identity in ids])],
    }
    if predictions is not None:
        fields["blocks"] = [pack([each]) for each in predictions]
    return LogBatch(**{**fields, **changes})


@pytest.fixture
def records() -> SimpleNamespace:
    return SimpleNamespace(batch=make_batch, prediction=make_prediction, noon=NOON)


class Collector:
    """One process on one port; `start` again after `kill` keeps both."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = root.parent / "collector.log"

    def start(self) -> None:
        address = ["--data", str(self.root), "--port", str(self.port), *self.options]
        command = [sys.executable, "-m", "seamark_collector", *address]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        self.await_answer()

    def await_answer(self, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/healthz")
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"no answer within {seconds} s: {self.log.read_text()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def limit_files(self, size: int) -> None:
        """No file may grow beyond `size` bytes: what a full disk does to a writer."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def post(self, batch: LogBatch, **headers: str) -> httpx.Response:
        body = msgspec.msgpack.encode(batch)
        headers = {"content-type": "application/msgpack", **headers}
        return httpx.post(f"{self.url}/v1/batches", content=body, headers=headers, timeout=30)

    def feedback(self, document: object, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/feedback", json=document, headers=headers, timeout=30)


@pytest.fixture
def start_collector(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    started: list[Collector] = []

    def start(*options: str) -> Collector:
        collector = Collector(tmp_path / "log", *options)
        started.append(collector)
        collector.start()
        return collector

    yield start
    for collector in started:
        if collector.process.poll() is None:
            collector.kill()


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One process for all tests of a module; they use deployments of their own."""
    collector = Collector(tmp_path_factory.mktemp("collector") / "log")
    collector.start()
    yield collector
    collector.stop()
