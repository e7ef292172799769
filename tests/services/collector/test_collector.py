"""The collector as a process: its answers, its limits, and what it survives."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from deltalake import DeltaTable

from seamark.log import table

KILLS = 3


def stored_ids(root: Path, deployment: str) -> list[str]:
    delta = DeltaTable(table(str(root), "predictions", "default", deployment))
    return sorted(delta.to_pyarrow_table()["prediction_id"].to_pylist())


def test_a_batch_is_stored_once(collector: Any, records: SimpleNamespace) -> None:
    batch = records.batch(deployment="once", ids=("a", "b"))
    first, again = collector.post(batch), collector.post(batch)
    assert (first.status_code, first.json()) == (200, {"stored": 2})
    assert (again.status_code, again.json()) == (200, {"stored": 0, "repeated": True})
    assert stored_ids(collector.root, "once") == ["a", "b"]


def test_a_batch_of_refusals_is_taken_and_makes_no_table(collector: Any, records: SimpleNamespace) -> None:
    answer = collector.post(records.batch(deployment="refusals", predictions=[]))
    assert (answer.status_code, answer.json()) == (200, {"stored": 0})
    assert httpx.get(f"{collector.url}/v1/log/default/refusals").status_code == 404
    assert not Path(table(str(collector.root), "predictions", "default", "refusals")).exists()


def test_an_unreadable_batch_is_400_for_ever(collector: Any) -> None:
    answer = httpx.post(f"{collector.url}/v1/batches", content=b"\x00", headers={"content-type": "application/msgpack"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Cannot read batch: ")


def test_labels_come_as_json_and_csv(collector: Any) -> None:
    answer = collector.feedback({"deployment": "labels", "labels": [{"prediction_id": "a", "label": 1}]})
    assert (answer.status_code, answer.json()) == (200, {"stored": 1})
    answer = httpx.post(
        f"{collector.url}/v1/feedback?deployment=labels",
        content="prediction_id,row,label,time\nb,1,0,2026-01-31T10:00:00Z\n",
        headers={"content-type": "text/csv; charset=utf-8"},
    )
    assert (answer.status_code, answer.json()) == (200, {"stored": 1})
    found = DeltaTable(table(str(collector.root), "labels", "default", "labels")).to_pyarrow_table()
    assert sorted(zip(found["prediction_id"].to_pylist(), found["row"].to_pylist(), strict=True)) == [
        ("a", 0),
        ("b", 1),
    ]


def test_one_wrong_label_stores_none(collector: Any) -> None:
    labels = [{"prediction_id": "a", "label": 1}, {"prediction_id": "b"}]
    answer = collector.feedback({"deployment": "none", "labels": labels})
    assert (answer.status_code, answer.json()) == (400, {"error": "labels[1].label: is missing"})
    assert httpx.get(f"{collector.url}/v1/log/default/none").status_code == 404


def test_a_repeated_key_is_harmless(collector: Any) -> None:
    document = {"deployment": "keyed", "labels": [{"prediction_id": "a", "label": 1}]}
    answers = [collector.feedback(document, **{"Idempotency-Key": "k-1"}).json() for _ in range(2)]
    assert answers == [{"stored": 1}, {"stored": 0, "repeated": True}]


def test_the_log_describes_itself(collector: Any, records: SimpleNamespace) -> None:
    collector.post(records.batch(deployment="described", ids=("a", "b")))
    found = httpx.get(f"{collector.url}/v1/log/default/described").json()
    assert found["predictions"]["rows"] == 2
    assert found["predictions"]["bytes"] > 0
    assert found["predictions"]["oldest"] == "2026-01-01T12:00:00Z"
    assert "labels" not in found


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "message"),
    [
        ("POST", "/v1/batches", {"json": {}}, 415, "content type 'application/json'; allowed: application/msgpack"),
        ("POST", "/v1/feedback", {"content": b"x"}, 415, "content type ''"),
        ("POST", "/v1/feedback", {"data": {"a": "b"}}, 415, "; say so with -H 'content-type: application/json'"),
        ("POST", "/v1/feedback", {"headers": {"content-type": "text/csv"}}, 400, "needs ?deployment=NAME"),
        (
            "POST",
            "/v1/feedback",
            {"json": {}, "headers": {"idempotency-key": "a b"}},
            400,
            "Idempotency-Key: is not",
        ),
        ("GET", "/v1/log/default/nothing", {}, 404, "Cannot find log default/nothing"),
        ("GET", "/v1/log/default/Nothing", {}, 400, "'Nothing' is not a name"),
        ("GET", "/v1/log/..%2f../m", {}, 404, "Cannot find '/v1/log/../../m'"),
        ("GET", "/v1/batches", {}, 405, "Cannot GET '/v1/batches': allowed: POST"),
        ("GET", "/", {}, 404, "Cannot find '/'"),
        ("GET", "/docs", {}, 404, "Cannot find '/docs'"),
    ],
)
def test_mistakes_have_clear_answers(
    collector: Any, method: str, path: str, options: dict[str, Any], status: int, message: str
) -> None:
    answer = httpx.request(method, f"{collector.url}{path}", **options)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_a_body_over_the_limit_is_refused_by_its_length_before_it_is_read(collector: Any) -> None:
    with socket.create_connection(("127.0.0.1", collector.port), timeout=10) as connection:
        lines = [
            "POST /v1/batches HTTP/1.1",
            "Host: x",
            "Content-Type: application/msgpack",
            "Content-Length: 67108865",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_over_the_limit_is_refused_without_a_length(collector: Any) -> None:
    def chunks() -> Any:
        for _ in range(65):
            yield bytes(1024 * 1024)

    # The answer may come, and the connection end, while the body is still being sent.
    with contextlib.suppress(httpx.TransportError):
        answer = httpx.post(
            f"{collector.url}/v1/batches", content=chunks(), headers={"content-type": "application/msgpack"}, timeout=30
        )
        assert answer.status_code == 413
    assert httpx.get(f"{collector.url}/readyz").json() == {"status": "ok"}


def test_a_full_disk_is_503_and_nothing_is_acknowledged(
    start_collector: Callable[[], Any], records: SimpleNamespace
) -> None:
    collector = start_collector()
    assert collector.post(records.batch(1, ("a",))).status_code == 200
    # No file can grow at all any more.
    collector.limit_files(0)
    refused = collector.post(records.batch(2, ("b",)))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    ready = httpx.get(f"{collector.url}/readyz")
    assert ready.status_code == 503
    assert "Cannot write" in ready.json()["error"]
    assert stored_ids(collector.root, "m") == ["a"]
    collector.limit_files(2**40)
    assert collector.post(records.batch(2, ("b",))).json() == {"stored": 1}
    assert httpx.get(f"{collector.url}/readyz").status_code == 200
    assert stored_ids(collector.root, "m") == ["a", "b"]


def test_a_signal_stops_it_with_status_0(start_collector: Callable[[], Any], records: SimpleNamespace) -> None:
    collector = start_collector()
    collector.post(records.batch())
    assert collector.stop() == 0
    assert stored_ids(collector.root, "m") == ["a"]


def test_kill_9_loses_no_acknowledged_batch_and_doubles_none(
    start_collector: Callable[[], Any], records: SimpleNamespace
) -> None:
    collector = start_collector()
    done = threading.Event()
    acknowledged: dict[str, int] = {}

    def monitor(source: str) -> None:
        sequence = 1
        while not (done.is_set() and sequence > 1):
            batch = records.batch(sequence, tuple(f"{source}-{sequence}-{i}" for i in range(20)), source=source)
            try:
                answer = collector.post(batch)
            except httpx.TransportError:
                time.sleep(0.02)
                continue
            if answer.status_code == 200:
                acknowledged[source] = sequence
                sequence += 1

    sources = [f"spool-{i}" for i in range(4)]
    senders = [threading.Thread(target=monitor, args=(source,)) for source in sources]
    for sender in senders:
        sender.start()
    for kill in range(KILLS):
        before = sum(acknowledged.values())
        deadline = time.monotonic() + 20
        while sum(acknowledged.values()) < before + 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        # At another moment of the commit each time.
        time.sleep(0.05 * kill)
        collector.kill()
        collector.start()
    done.set()
    for sender in senders:
        sender.join(30)
    wanted = [f"{source}-{n}-{i}" for source in sources for n in range(1, acknowledged[source] + 1) for i in range(20)]
    assert stored_ids(collector.root, "m") == sorted(wanted)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seamark_collector", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_port_that_is_taken_is_one_line_and_status_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--data", str(tmp_path), "--port", str(port))
    assert (ended.returncode, ended.stderr) == (2, f"Cannot listen on 127.0.0.1:{port}: address already in use\n")


def test_a_root_that_is_a_file_is_one_line_and_status_2(tmp_path: Path) -> None:
    root = tmp_path / "log"
    root.write_text("")
    ended = run("--data", str(root), "--port", "0")
    assert (ended.returncode, ended.stderr) == (2, f"Cannot use {root} for the log: it is not a folder\n")


def test_help_is_quick_because_imports_wait() -> None:
    code = "import sys, seamark_collector.__main__; sys.exit(bool({'fastapi', 'deltalake'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0
