"""A small world with a champion, and its log as the collector writes it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seamark.package import Feature, Schema
from seamark.records import LogBatch, Prediction, pack
from seamark_collector import labels, rows
from seamark_collector.labels import Feedback, Label
from seamark_collector.names import TableName
from seamark_collector.tables import Table
from seamark_trainer.dataset import Dataset
from seamark_trainer.package import Package
from seamark_trainer.training import Plan, train

START = 1_767_268_800.0  # 2026-01-01T12:00:00Z
SCHEMA = Schema("binary", (Feature("mean radius"), Feature("age")), ("benign", "malignant"))


def draw(rows: int, seed: int = 0, shift: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """rows x 2 values and their classes: the first decides, the second is noise."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, 2))
    classes = (values[:, 0] + 0.3 * random.normal(size=rows) > 0).astype(np.float64)
    return values + np.array([shift, 0.0]), classes


def dataset(rows: int, seed: int = 0, schema: Schema = SCHEMA) -> Dataset:
    values, classes = draw(rows, seed)
    return Dataset(schema, values, (), classes, np.full(rows, np.nan))


@dataclass
class Log:
    """The log of deployment `m` under `root`; ids are p0, p1, ..., one second apart."""

    root: Path
    schema: Schema = SCHEMA
    _sequence: int = field(default=0)

    def predict(
        self,
        values: NDArray[np.float64],
        revision: str,
        answers: Sequence[float] | NDArray[np.float64],
        start: float = START,
        ids: Iterable[str] | None = None,
        **columns: Any,
    ) -> None:
        self._sequence += 1
        names = list(ids) if ids is not None else [f"p{i}" for i in range(len(values))]
        predictions = [
            Prediction(
                name, start + i, 0.001, 200, 1, numbers=value.tobytes(), outputs=np.array([answer, 0.5]).tobytes()
            )
            for i, (name, value, answer) in enumerate(zip(names, values, answers, strict=True))
        ]
        numbers = list(columns.get("numbers", self.schema.numbers))
        outputs = list(self.schema.outputs)
        batch = LogBatch("s", self._sequence, "default", "m", revision, numbers, [], outputs, [pack(predictions)])
        Table(str(self.root), TableName("predictions", "default", "m")).append(rows.to_rows(batch), {})

    def label(self, pairs: Iterable[tuple[str, object]], received: float | None = None) -> None:
        self._sequence += 1
        now = int((received if received is not None else time.time()) * 1e6)
        entries = tuple(Label(identity, 0, str(label), None) for identity, label in pairs)
        table = labels.to_rows(Feedback("default", "m", entries), "", now)
        first = self._sequence * 1_000_000
        sequence = np.arange(first, first + len(entries), dtype=np.int64)
        numbered = table.append_column("sequence", [sequence])
        Table(str(self.root), TableName("labels", "default", "m")).append(numbered, {})


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@pytest.fixture(scope="session")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("champion") / "v1"
    return train(dataset(300), Plan("m", "v1", folder, candidates=("logistic",)))


@pytest.fixture
def world() -> Any:
    """The functions above, for tests that need data of their own."""
    from types import SimpleNamespace

    return SimpleNamespace(draw=draw, dataset=dataset, schema=SCHEMA, start=START)


@pytest.fixture
def environment(log: Log, champion: Package, tmp_path: Path) -> dict[str, str]:
    return {
        "SEAMARK_JOB": "m-retrain-1",
        "SEAMARK_NAMESPACE": "default",
        "SEAMARK_DEPLOYMENT": "m",
        "SEAMARK_DATA": str(log.root),
        "SEAMARK_DATA_SINCE": str(START),
        "SEAMARK_CHAMPION_PACKAGE": str(champion.folder),
        "SEAMARK_OUTPUT": str(tmp_path / "packages"),
        "SEAMARK_TERMINATION_LOG": str(tmp_path / "result"),
    }


@pytest.fixture
def start_collector(log: Log) -> Iterator[Callable[..., str]]:
    """Starts the real collector over the log and gives its address."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> str:
        command = [sys.executable, "-m", "seamark_collector", "--data", str(log.root), "--port", "0", *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if "event=listening" in line:
                port = line.partition("port=")[2].split()[0]
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20).close()
                return f"http://127.0.0.1:{port}"
        raise AssertionError("the collector does not listen")

    yield start
    for process in started:
        process.kill()
        process.communicate()


@dataclass
class Stub:
    """A collector that answers as told: (status, headers, body), one after the other, the last for ever."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    #: (path, headers) of what was asked.
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            stub.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = stub.answers[0] if len(stub.answers) == 1 else stub.answers.pop(0)
            self.close_connection = True
            if status == 0:
                return
            self.send_response(status)
            if "transfer-encoding" not in headers:
                headers = {"content-length": str(len(body)), **headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    return Handler


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()
