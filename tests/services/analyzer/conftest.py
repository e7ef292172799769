"""A small world for the analyzer: packages, monitors that say what the test wants, and the log's tables."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from numpy.typing import NDArray

from seamark.log import table
from seamark.metrics import LATENCY_BOUNDS
from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.profile import Profile, bin_numbers, build, class_bin

Floats = NDArray[np.float64]


@dataclass
class World:
    """A deployment `m` with a model of numeric features: of the classes "no" and "yes", or of a normal quantity."""

    folder: Path
    features: int = 4
    rows: int = 4000
    task: str = "binary"
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    monitors: list[FakeMonitor] = field(default_factory=list)

    @property
    def root(self) -> str:
        return str(self.folder / "data")

    @property
    def schema(self) -> Schema:
        return self._schema(("no", "yes"))

    def _schema(self, classes: tuple[str, ...]) -> Schema:
        features = tuple(Feature(f"f {i}") for i in range(self.features))
        return Schema(self.task, features, () if self.task == "regression" else classes)

    def package(self, name: str, accuracy: float = 0.95, classes: tuple[str, ...] = ("no", "yes")) -> str:
        """Writes a package whose profile is standard normal features, and answers its folder."""
        numbers, outputs = self.batch(self.rows)
        importance = {f"f {i}": 1.0 / (i + 1) for i in range(self.features)}
        labels = outputs[:, 0].copy()
        schema = self._schema(classes)
        profile = build(schema, numbers, [], outputs, labels, importance)
        content = profile.to_json()
        manifest = Manifest(
            name="m",
            version="1",
            model=ModelFile("model.onnx", "onnx", "0" * 64),
            schema=schema,
            profile_sha256=hashlib.sha256(content).hexdigest(),
            metrics={"mae": 1.0} if self.task == "regression" else {"accuracy": accuracy, "rows": 2000},
        )
        folder = self.folder / "packages" / name
        folder.mkdir(parents=True)
        (folder / "profile.json").write_bytes(content)
        (folder / "seamark.json").write_bytes(manifest.to_json())
        self.profile = profile
        return str(folder)

    def batch(self, rows: int, shift: dict[int, float] | None = None) -> tuple[Floats, Floats]:
        """(features, outputs) of some rows; `shift` moves features by index."""
        numbers = self.rng.normal(size=(rows, self.features))
        scores = self.rng.uniform(size=rows)
        for index, by in (shift or {}).items():
            numbers[:, index] += by
        if self.task == "regression":
            return numbers, self.rng.normal(size=(rows, 1))
        return numbers, np.column_stack([(scores > 0.5).astype(float), scores])

    def monitor(self, revision: str, namespace: str = "default", package: str = "") -> FakeMonitor:
        """package: the folder that it serves under /package/."""
        monitor = FakeMonitor(self.profile, namespace, revision, package)
        self.monitors.append(monitor)
        return monitor

    def log(
        self,
        revision: str,
        ids: Sequence[str],
        times: Sequence[float] | float,
        predictions: Sequence[float],
        scores: Sequence[float] | float = 0.5,
        namespace: str = "default",
    ) -> None:
        """Appends one row (row 0) for each id to the predictions table, in the documented layout."""
        count = len(ids)
        moments = [datetime.fromtimestamp(t, UTC) for t in np.broadcast_to(times, count).tolist()]
        rows = pa.table(
            {
                "prediction_id": pa.array(ids, pa.string()),
                "row": pa.array([0] * count, pa.int32()),
                "time": pa.array(moments, pa.timestamp("us", tz="UTC")),
                "date": pa.array([moment.date() for moment in moments], pa.date32()),
                "revision": pa.array([revision] * count, pa.string()),
                "x_f_0": pa.array([0.0] * count),
                "y_prediction": pa.array(np.asarray(predictions, float)),
                "y_score": pa.array(np.broadcast_to(scores, count).astype(float)),
            }
        )
        write_deltalake(
            self.table("predictions", namespace), rows, mode="append", partition_by=["date"], schema_mode="merge"
        )

    def label(self, labels: Sequence[tuple[str, str]], sequence: int) -> None:
        """Appends (prediction id, label text) to the labels table."""
        now = datetime.now(UTC)
        count = len(labels)
        rows = pa.table(
            {
                "prediction_id": pa.array([name for name, _ in labels], pa.string()),
                "row": pa.array([0] * count, pa.int32()),
                "label": pa.array([text for _, text in labels], pa.string()),
                "time": pa.array([now] * count, pa.timestamp("us", tz="UTC")),
                "date": pa.array([now.date()] * count, pa.date32()),
                "source": pa.array([""] * count, pa.string()),
                "sequence": pa.array([sequence] * count, pa.int64()),
            }
        )
        write_deltalake(self.table("labels"), rows, mode="append", partition_by=["date"], schema_mode="merge")

    def compact(self, kind: str) -> None:
        """Merges the table's files and removes the merged ones at once."""
        delta = DeltaTable(self.table(kind))
        delta.optimize.compact()
        delta.vacuum(0, dry_run=False, enforce_retention_duration=False)

    def table(self, kind: str, namespace: str = "default") -> str:
        return table(self.root, kind, namespace, "m")


class FakeMonitor:
    """An HTTP server on a free port whose /metrics shows the counters that `observe` fed."""

    def __init__(self, profile: Profile, namespace: str, revision: str, package: str) -> None:
        self.profile = profile
        self.package = package
        self.packages_served = 0
        self.owner = f'namespace="{namespace}",deployment="m",revision="{revision}"'
        self.counters: Counter[str] = Counter()
        self.status = 200
        self.body: bytes | None = None
        self.scrapes = 0
        self.restart()
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(monitor.status, monitor.text().encode() if monitor.body is None else monitor.body)
                    monitor.scrapes += 1
                elif monitor.package and self.path.startswith("/package/"):
                    self._answer(200, (Path(monitor.package) / self.path.removeprefix("/package/")).read_bytes())
                    monitor.packages_served += 1
                else:
                    self._answer(404, b"{}")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"

    def restart(self) -> None:
        """Counters as of a new process: all known series are 0."""
        self.counters.clear()
        for kind, label, columns in (
            ("feature", "feature", self.profile.features),
            ("output", "output", self.profile.outputs),
        ):
            for column in columns:
                for name in column.labels:
                    self._add(f"seamark_{kind}_bin_total", f'{label}="{column.name}",bin="{name}"', 0)
        self._request(200, 0.0, 0)
        self._request(500, 0.0, 0)
        self._add("seamark_contract_rows_total", 'kept="true"', 0)
        self._add("seamark_contract_rows_total", 'kept="false"', 0)

    def _add(self, name: str, labels: str, by: float) -> None:
        self.counters[f"{name}{{{self.owner},{labels}}}"] += by

    def _request(self, status: int, seconds: float, count: int) -> None:
        self._add("seamark_requests_total", f'status="{status}"', count)
        for bound in (*LATENCY_BOUNDS, float("inf")):
            text = "+Inf" if bound == float("inf") else repr(bound)
            self._add("seamark_prediction_latency_seconds_bucket", f'le="{text}"', count if seconds <= bound else 0)

    def observe(self, numbers: Floats, outputs: Floats, seconds: float = 0.002) -> None:
        """Rows that were predicted, one request each."""
        for column, counts in zip(self.profile.features, bin_numbers(numbers, self.profile.features), strict=True):
            for name, count in zip(column.labels, counts, strict=True):
                self._add("seamark_feature_bin_total", f'feature="{column.name}",bin="{name}"', int(count))
        quantities = self.profile.outputs[-1:]
        if len(self.profile.outputs) == 2:
            for value in outputs[:, 0]:
                self._add("seamark_output_bin_total", f'output="prediction",bin="{class_bin(value)}"', 1)
        for column, counts in zip(quantities, bin_numbers(outputs[:, -1:], quantities), strict=True):
            for name, count in zip(column.labels, counts, strict=True):
                self._add("seamark_output_bin_total", f'output="{column.name}",bin="{name}"', int(count))
        self._add("seamark_contract_rows_total", 'kept="true"', len(numbers))
        self._request(200, seconds, len(numbers))

    def refuse(self, status: int, count: int) -> None:
        self._request(status, 0.001, count)

    def violate(self, feature: str, rule: str, rows: int) -> None:
        self._add("seamark_contract_violations_total", f'feature="{feature}",rule="{rule}"', rows)
        self._add("seamark_contract_rows_total", 'kept="false"', rows)

    def text(self) -> str:
        lines: list[str] = []
        described = ""
        for name, value in sorted(self.counters.items()):
            family = name.partition("{")[0].removesuffix("_bucket")
            kind = "histogram" if family.endswith("_seconds") else "counter"
            if family != described:
                lines += [f"# HELP {family} A help text", f"# TYPE {family} {kind}"]
                described = family
            lines.append(f"{name} {float(value)}")
        return "\n".join([*lines, "# HELP python_info p", "# TYPE python_info gauge", 'python_info{v="3"} 1.0', ""])

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Site:
    """An HTTP server with one page, as an operator gives its watch list; `asked` are the If-None-Match headers."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.etag = ""
        self.asked: list[str | None] = []
        self.answered: list[int] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                known = self.headers["if-none-match"]
                same = site.status == 200 and bool(site.etag) and known == site.etag
                body = b"" if same else site.body
                self.send_response(304 if same else site.status)
                if site.etag:
                    self.send_header("etag", site.etag)
                if not same:
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                site.asked.append(known)
                site.answered.append(304 if same else site.status)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/watch"

    def show(self, body: bytes, etag: str = "") -> None:
        self.status, self.body, self.etag = 200, body, etag

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC).timestamp())


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**fields: Any) -> World:
        made.append(World(tmp_path, **fields))
        return made[-1]

    yield make
    for world in made:
        for monitor in world.monitors:
            monitor.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
