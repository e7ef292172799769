"""A tiny package, a collector to command, and the monitor as a real process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark import profile
from seamark.package import CATEGORY, Feature, Manifest, ModelFile, Schema
from seamark.records import Frame, LogBatch, Prediction

SCHEMA = Schema(
    "binary", (Feature("age"), Feature("colour", CATEGORY), Feature("income", nullable=True)), ("no", "yes")
)
ROWS = 200


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits for a condition, or fails."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def reference_profile() -> profile.Profile:
    ages = np.linspace(20, 60, ROWS)
    incomes = np.where(np.arange(ROWS) % 10 == 0, np.nan, np.linspace(1_000, 5_000, ROWS))
    colours = ["red", "blue", "other", "green"] * (ROWS // 4)
    scores = np.linspace(0, 1, ROWS)
    outputs = np.column_stack([scores >= 0.5, scores]).astype(float)
    return profile.build(SCHEMA, np.column_stack([ages, incomes]), [colours], outputs, None)


def write_package(folder: Path) -> Path:
    content = reference_profile().to_json()
    model = ModelFile("model.onnx", "onnx", "0" * 64)
    manifest = Manifest("churn", "1", model, SCHEMA, hashlib.sha256(content).hexdigest())
    folder.mkdir(parents=True)
    (folder / "profile.json").write_bytes(content)
    (folder / "seamark.json").write_bytes(manifest.to_json())
    return folder


def make_prediction(
    name: str,
    rows: int = 1,
    status: int = 200,
    age: float = 40.0,
    income: float = 2_000.0,
    colour: str | None = "red",
    outputs: tuple[float, float] = (1.0, 0.8),
    latency: float = 0.003,
) -> Prediction:
    answered = status == 200
    return Prediction(
        name,
        1_790_000_000.0,
        latency,
        status,
        rows,
        np.tile([age, income], rows).astype("<f8").tobytes(),
        [[colour] * rows],
        np.tile(outputs, rows).astype("<f8").tobytes() if answered else b"",
    )


@dataclass
class Collector:
    """Stores batches by (source, sequence) as the real one does; `status` is what it answers, None hangs up."""

    port: int = 0
    status: int | None = 200
    #: When true, a batch is stored and the answer lost.
    forgetful: bool = False
    stored: dict[tuple[str, int], bytes] = field(default_factory=dict)
    posts: int = 0
    differing: list[tuple[str, int]] = field(default_factory=list)
    #: The Authorization headers that came; "" for none.
    authorizations: set[str] = field(default_factory=set)

    def receive(self, body: bytes) -> int | None:
        self.posts += 1
        batch = msgspec.msgpack.decode(body, type=LogBatch)
        key = (batch.source, batch.sequence)
        if self.stored.get(key, body) != body:
            self.differing.append(key)
        if self.status == 200:
            self.stored.setdefault(key, body)
        return None if self.forgetful else self.status

    @property
    def batches(self) -> list[LogBatch]:
        return [msgspec.msgpack.decode(body, type=LogBatch) for body in list(self.stored.values())]

    @property
    def ids(self) -> list[str]:
        return [name for batch in self.batches for block in batch.blocks for name in block.prediction_ids]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.authorizations.add(self.headers.get("authorization", ""))
            status = collector.receive(self.rfile.read(int(self.headers["content-length"])))
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_args: object) -> None:
            pass

    return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    server = _Server(("127.0.0.1", 0), _handler(found))
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Monitor:
    """One process, with its folders; `start` again after `kill` resumes."""

    folder: Path
    collector: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "m.sock"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def arguments(self) -> list[str]:
        named = {
            "package": self.folder / "package",
            "namespace": "default",
            "deployment": "churn",
            "revision": "churn-1",
            "source": "monitor-1",
            "socket": self.socket,
            "collector": self.collector,
            "spool": self.spool,
            "port": self.port,
        }
        return [part for name, value in named.items() for part in (f"--{name}", str(value))]

    def launch(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "seamark_monitor", *self.arguments, *self.options]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, stderr=log, text=True, env={**os.environ, **self.environment})
        return self.process

    def start(self, status: int = 200) -> Monitor:
        """Until /readyz answers with this status."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.launch()
        self.await_ready(status)
        return self

    def await_ready(self, status: int = 200) -> None:
        until(lambda: self._ready_status() == status)

    def _ready_status(self) -> int:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        with contextlib.suppress(httpx.TransportError):
            return self.get("/readyz").status_code
        return 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> httpx.Response:
        # Reading the certificate store for each plain request would take most of the tests' time.
        return httpx.get(f"{self.url}{path}", verify=False, trust_env=False)

    def post(self, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        return httpx.post(f"{self.url}/", content=content, headers=headers, verify=False, trust_env=False)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.socket))
        return connection

    def send(self, *predictions: Prediction, sender: str = "predictor", dropped: int = 0) -> None:
        with self.connect() as connection:
            connection.sendall(self.framed(*predictions, sender=sender, dropped=dropped))

    @staticmethod
    def framed(*predictions: Prediction, sender: str = "predictor", dropped: int = 0) -> bytes:
        """A message of them, as the predictor makes it."""
        body = msgspec.msgpack.encode(Frame.of(sender, dropped, predictions))
        return len(body).to_bytes(4) + body

    def samples(self) -> dict[tuple[str, ...], float]:
        """(sample name, values of its own labels in the catalogue's order of names) -> value."""
        text = self.get("/metrics").text
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                own = [v for k, v in sample.labels.items() if k not in ("namespace", "deployment", "revision")]
                found[sample.name, *own] = sample.value
        return found

    def value(self, name: str, own: str = "") -> float:
        """One sample by its name and, where that is not enough, a label's value; parses no more than it must."""
        lines = self.get("/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(name + "{") and (not own or f'="{own}"' in line)
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture
def monitor(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Monitor]:
    """Not yet started."""
    # The path of a unix socket is short, the usual temporary folder's is not always.
    folder = tmp_path_factory.mktemp("m")
    write_package(folder / "package")
    found = Monitor(folder, collector.url)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.kill()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "package")


@pytest.fixture
def prediction() -> Callable[..., Prediction]:
    return make_prediction


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return until


@pytest.fixture
def schema() -> Schema:
    return SCHEMA


@pytest.fixture
def reference() -> profile.Profile:
    return reference_profile()


@pytest.fixture
def memory() -> Callable[[int], int]:
    """Bytes of memory that a process occupies."""

    def resident(pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    return resident
