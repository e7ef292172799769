"""A table as an Arrow stream: the rows and columns asked for, at one version, in bounded memory and number."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.errors import InvalidInput, NotFound
from seamark_collector.export import find
from seamark_collector.names import TableName
from seamark_collector.stream import MAX_EXPORTS
from seamark_collector.tables import Table

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
DAY = 86_400.0
#: Seconds after NOON.
TIMES = (-DAY, -0.5, 0.0, 0.000001, 43_199.0, 43_200.0, 2 * DAY)


def rows_at(times: tuple[float, ...], received: bool = False) -> pa.Table:
    micros = np.array([round((NOON + time) * 1e6) for time in times], dtype=np.int64)
    dates = pa.array((micros // 86_400_000_000).astype(np.int32)).cast(pa.date32())
    moment = pa.array(micros if not received else np.zeros(len(times), np.int64)).cast(pa.timestamp("us", tz="UTC"))
    names = pa.array([str(time) for time in times])
    return pa.table({"prediction_id": names, "time": moment, "date": dates, "x_1": np.arange(float(len(times)))})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Predictions made, and labels received, at TIMES; the labels' own times are of long ago."""
    found = str(tmp_path_factory.mktemp("export"))
    Table(found, TableName("predictions", "default", "m")).append(rows_at(TIMES), {})
    Table(found, TableName("labels", "default", "m")).append(rows_at(TIMES, received=True), {})
    return found


def exported(root: str, kind: str, columns: str | None = None, since: str | None = None) -> pa.Table:
    export = find(root, "default", "m", kind, columns, since)
    return pa.Table.from_batches(export.batches(), export.schema)


def test_all_is_all_with_the_types_of_the_log(root: str) -> None:
    found = exported(root, "predictions")
    assert sorted(found["x_1"].to_pylist()) == list(range(len(TIMES)))
    assert found.schema.field("prediction_id").type == pa.string()
    assert found.schema.field("time").type == pa.timestamp("us", tz="UTC")


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(TIMES), st.sampled_from([-0.000001, 0.0, 0.000001, 1.0]))
def test_predictions_are_those_since_the_time_and_labels_those_since_the_day(
    root: str, time: float, more: float
) -> None:
    since = NOON + time + more
    wanted = {str(t) for t in TIMES if round((NOON + t) * 1e6) >= round(since * 1e6)}
    assert set(exported(root, "predictions", since=repr(since))["prediction_id"].to_pylist()) == wanted
    days = {str(t) for t in TIMES if (NOON + t) // DAY >= round(since * 1e6) // (DAY * 1e6)}
    assert set(exported(root, "labels", since=repr(since))["prediction_id"].to_pylist()) == days


def test_columns_come_in_the_order_asked_for(root: str) -> None:
    assert exported(root, "predictions", "x_1,prediction_id").column_names == ["x_1", "prediction_id"]


@pytest.mark.parametrize(
    ("kind", "columns", "since", "message"),
    [
        ("predictions", "x_2", None, "columns: table predictions/default/m has no column 'x_2'"),
        ("predictions", "X_1", None, "has no column 'X_1'"),
        ("labels", "", None, "has no column ''"),
        ("labels", '1" FROM rows --', None, "has no column"),
        ("labels", "x_1,x_1", None, "columns: 'x_1' is named twice"),
        ("labels", None, "yesterday", "since: 'yesterday' is not a time in Unix seconds"),
        ("labels", None, "nan", "since: 'nan'"),
        ("labels", None, "-1", "since: '-1'"),
        ("labels", None, "253402300800", "since: '253402300800'"),
    ],
)
def test_what_cannot_be_asked_is_named(
    root: str, kind: str, columns: str | None, since: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        find(root, "default", "m", kind, columns, since)
    assert message in str(error.value)


@pytest.mark.parametrize(("deployment", "kind"), [("nothing", "labels"), ("m", "secrets")])
def test_a_table_that_is_not_there_is_said_and_not_made(root: str, deployment: str, kind: str) -> None:
    with pytest.raises(NotFound, match="Cannot find table"):
        find(root, "default", deployment, kind, None, None)
    assert not (Path(root) / "labels" / "default" / "nothing").exists()


def test_the_rows_are_of_the_version_that_is_named(tmp_path: Path) -> None:
    table = Table(str(tmp_path), TableName("labels", "default", "m"))
    table.append(rows_at((0.0,)), {})
    export = find(str(tmp_path), "default", "m", "labels", None, None)
    table.append(rows_at((1.0,)), {})
    assert (export.version, sum(batch.num_rows for batch in export.batches())) == (1, 1)
    assert find(str(tmp_path), "default", "m", "labels", None, None).version == 2


# As a process


def test_it_is_an_arrow_stream_with_its_version(collector: Any, records: SimpleNamespace) -> None:
    collector.post(records.batch(deployment="streamed", ids=("a", "b")))
    address = f"{collector.url}/v1/export/default/streamed/predictions"
    answer = httpx.get(address, params={"columns": "prediction_id,x_age", "since": records.noon})
    assert (answer.status_code, answer.headers["x-seamark-version"]) == (200, "1")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    found = pa.ipc.open_stream(answer.content).read_all()
    assert sorted(found["prediction_id"].to_pylist()) == ["a", "b"]
    assert httpx.get(address, params={"columns": "x_height"}).json() == {
        "error": "columns: table predictions/default/streamed has no column 'x_height'"
    }
    assert httpx.get(f"{collector.url}/v1/export/default/nobody/labels").status_code == 404


ROWS = 1_000_000


def write_large_table(root: Path, rows: int = ROWS) -> None:
    """About 250 MB as Arrow, and a few MB on disk."""
    values = np.arange(rows, dtype=np.float64) % 100
    table = rows_at((0.0,)).take(pa.array(np.zeros(rows, np.int64))).drop_columns(["x_1"])
    for i in range(30):
        table = table.append_column(f"x_{i}", [values])
    Table(str(root), TableName("predictions", "default", "large")).append(table, {})


def request(collector: Any) -> socket.socket:
    """An export whose answer has begun and is not read on."""
    connection = socket.create_connection(("127.0.0.1", collector.port), timeout=20)
    connection.sendall(b"GET /v1/export/default/large/predictions HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def resident(collector: Any) -> int:
    pages = Path(f"/proc/{collector.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") // 1024**2


def whole(collector: Any) -> int:
    """Bytes of a whole export, as soon as one may run."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with httpx.stream("GET", f"{collector.url}/v1/export/default/large/predictions", timeout=30) as answer:
            if answer.status_code == 200:
                return sum(len(chunk) for chunk in answer.iter_bytes())
        time.sleep(0.05)
    raise AssertionError("no export may run")


def test_exports_are_bounded_in_number_and_memory_and_end_with_their_clients(
    start_collector: Callable[..., Any], records: SimpleNamespace
) -> None:
    collector = start_collector()
    assert collector.post(records.batch()).status_code == 200
    write_large_table(collector.root)
    before = resident(collector)
    clients = [request(collector) for _ in range(MAX_EXPORTS)]
    refused = httpx.get(f"{collector.url}/v1/export/default/large/predictions")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json() == {"error": "Cannot export now: 2 exports run already"}
    assert collector.post(records.batch(2)).status_code == 200
    for client in clients:
        client.close()
    assert whole(collector) > 240 * 1024**2
    assert resident(collector) - before < 200
    assert "Traceback" not in collector.log.read_text()


def test_rows_that_end_early_end_the_connection_not_the_answer(start_collector: Callable[..., Any]) -> None:
    """Else a part of the log would be taken for all of it."""
    collector = start_collector()
    write_large_table(collector.root, rows=100_000)
    for path in collector.root.glob("predictions/**/*.parquet"):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(size // 3)
            file.write(os.urandom(size // 3))
    content = b""
    with request(collector) as connection:
        while chunk := connection.recv(1024 * 1024):
            content += chunk
    assert not content.endswith(b"0\r\n\r\n")
    assert b"\xff\xff\xff\xff\0\0\0\0\r\n" not in content
    assert "event=export_failed table=predictions/default/large" in collector.log.read_text()
    assert httpx.get(f"{collector.url}/healthz").status_code == 200
