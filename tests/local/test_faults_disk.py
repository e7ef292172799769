"""A monitor whose disk is full counts what it drops; predictions go on, and no row is unaccounted for."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from seamark_local.demo.data import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MIB = 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        content: bytes = answer.read()
        return content


def until(happened: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if happened():
                return
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.05)


@dataclass
class Pair:
    """A real predictor with its real monitor, and, later, their collector."""

    package: Path
    home: Path
    rows: list[list[float]]
    ports: dict[str, int] = field(default_factory=dict)
    children: dict[str, psutil.Popen] = field(default_factory=dict)
    sent: int = 0

    def start(self, name: str, *options: object) -> None:
        port = self.ports.setdefault(name, free_port())
        command = [sys.executable, "-m", f"seamark_{name}", *map(str, options), "--port", str(port)]
        with (self.home / f"{name}.log").open("wb") as log:
            self.children[name] = psutil.Popen(command, stdout=log, stderr=log)
        until(lambda: get(port, "/readyz"))

    def start_monitor(self, spool: Path, *more: object) -> None:
        self.ports["collector"] = free_port()
        names = ("--deployment", "scanner", "--revision", "scanner-1", "--source", "scanner-1-0")
        places = ("--package", self.package, "--socket", self.home / "s", "--spool", spool)
        collector = f"http://127.0.0.1:{self.ports['collector']}"
        self.start("monitor", *names, *places, "--collector", collector, *more)
        self.start("predictor", "--name", "scanner", "--package", self.package, "--monitor", self.home / "s")

    def start_collector(self) -> None:
        self.start("collector", "--data", self.home / "data")

    def predict(self, rows: int) -> None:
        """One request of so many rows; raises unless it is answered."""
        taken = [self.rows[i % len(self.rows)] for i in range(rows)]
        body = json.dumps({"instances": taken}).encode()
        url = f"http://127.0.0.1:{self.ports['predictor']}/v1/models/scanner:predict"
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
            assert len(json.load(answer)["predictions"]) == rows
        self.sent += 1

    def metric(self, name: str, **labels: str) -> float:
        """The sum over the samples that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = get(self.ports["monitor"], "/metrics").decode().splitlines()
        chosen = [line for line in lines if line.startswith(name) and all(label in line for label in wanted)]
        return sum(float(line.rpartition(" ")[2]) for line in chosen)

    def memory(self) -> int:
        return int(self.children["monitor"].memory_info().rss)

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.wait()


@pytest.fixture
def pair(tmp_path: Path, packages: Path, world: World) -> Iterator[Pair]:
    made = Pair(packages / "v1", tmp_path, [[float(value) for value in row] for row in world.live])
    yield made
    made.close()


def account(pair: Pair, reason: str, logged: Callable[[Path, str], Any]) -> None:
    """Once the collector is there: each request is in the log once, or counted as dropped for this reason."""
    pair.start_collector()
    until(lambda: pair.metric("seamark_log_spool_bytes") == 0)
    dropped = pair.metric("seamark_log_dropped_total", reason=reason)
    assert dropped == pair.metric("seamark_log_dropped_total")
    rows = logged(pair.home / "data", "predictions")
    assert len(rows) + dropped == pair.sent
    assert len(rows) > 0


def test_a_full_spool_drops_the_oldest_and_counts_them(pair: Pair, logged: Callable[[Path, str], Any]) -> None:
    """The collector is away and 128 KiB are allowed: about three times that is answered."""
    spool, limit = pair.home / "spool", 128 * 1024
    pair.start_monitor(spool, "--spool-limit", limit)
    pair.predict(1)
    before = pair.memory()
    for _ in range(1200):
        pair.predict(1)
    until(lambda: pair.metric("seamark_requests_total", status="200") == pair.sent)
    assert pair.metric("seamark_log_dropped_total", reason="spool_full") > 300
    assert sum(file.stat().st_size for file in spool.glob("*.segment")) <= limit
    assert pair.memory() - before < 16 * MIB
    account(pair, "spool_full", logged)


def test_a_full_disk_drops_the_newest_and_counts_them(
    pair: Pair, small_disk: Path, logged: Callable[[Path, str], Any]
) -> None:
    """The spool's disk of 1 MiB is full long before its limit of 256 MiB."""
    pair.start_monitor(small_disk / "spool")
    pair.predict(20)
    before = pair.memory()
    for _ in range(100):
        pair.predict(100)
    until(lambda: pair.metric("seamark_requests_total", status="200") == pair.sent)
    assert pair.metric("seamark_log_dropped_total", reason="disk") > 10
    assert pair.memory() - before < 16 * MIB
    account(pair, "disk", logged)


def test_a_disk_that_refuses_large_files_is_worked_around(pair: Pair, logged: Callable[[Path, str], Any]) -> None:
    """No file may exceed 64 KiB (EFBIG instead of ENOSPC): every user can try this one."""
    pair.start_monitor(pair.home / "spool")
    pair.predict(1)
    until(lambda: pair.metric("seamark_log_spool_bytes") > 0)
    limit = 64 * 1024
    psutil.Process(pair.children["monitor"].pid).rlimit(psutil.RLIMIT_FSIZE, (limit, limit))
    for _ in range(60):
        pair.predict(20)
    until(lambda: pair.metric("seamark_requests_total", status="200") == pair.sent)
    assert pair.metric("seamark_log_dropped_total", reason="disk") > 0
    account(pair, "disk", logged)
