"""The predictor as a real process: start-up mistakes, serving, signals, and a monitor that comes and goes."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from seamark.records import Frame, Prediction, unpack


@pytest.fixture(scope="module")
def predictor(cancer_packages: dict[str, Path], kit: Any) -> Iterator[Any]:
    """One process for every test that does not end it."""
    running = kit.Predictor(cancer_packages["onnx"], ("--body-limit", "200000"))
    try:
        yield running.wait_ready()
    finally:
        assert running.stop() == 0


@pytest.fixture(scope="module")
def body(kit: Any) -> dict[str, Any]:
    data = kit.CANCER.data[:2]
    return {"inputs": [{"name": "x", "shape": [2, 30], "datatype": "FP64", "data": data.ravel().tolist()}]}


def test_both_protocols_answer(predictor: Any, body: dict[str, Any], kit: Any) -> None:
    v2 = predictor.client.post("/v2/models/cancer/infer", json=body, headers={"x-request-id": "one"})
    v1 = predictor.client.post("/v1/models/cancer:predict", json={"instances": kit.CANCER.data[:2].tolist()})
    assert (v2.status_code, v2.headers["x-prediction-id"], v2.json()["id"]) == (200, "one", "one")
    assert v1.json()["predictions"] == v2.json()["outputs"][0]["data"]


def test_the_version_is_the_name_and_the_digest(predictor: Any, cancer_packages: dict[str, Path]) -> None:
    digest = hashlib.sha256((cancer_packages["onnx"] / "seamark.json").read_bytes()).hexdigest()
    assert predictor.client.get("/v2/models/cancer").json()["versions"] == [f"cancer-{digest[:8]}"]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_refused(predictor: Any, chunked: bool) -> None:
    content: Any = (b" " * 1000 for _ in range(300)) if chunked else b" " * 300_000
    answer = predictor.client.post("/v2/models/cancer/infer", content=content)
    assert answer.status_code == 413
    assert predictor.client.get("/readyz").status_code == 200


def test_odd_header_bytes_do_no_harm(predictor: Any, body: dict[str, Any]) -> None:
    headers = [(b"x-request-id", b"\xff\xfe"), (b"content-type", b"application/json\xff")]
    content = json.dumps(body).encode()
    answer = predictor.client.post("/v2/models/cancer/infer", content=content, headers=headers)
    assert (answer.status_code, len(answer.headers["x-prediction-id"])) == (415, 32)


def test_idle_and_unfinished_connections_hold_nobody_up(predictor: Any, body: dict[str, Any]) -> None:
    idle = [socket.create_connection(("127.0.0.1", predictor.port)) for _ in range(200)]
    for each in idle[:100]:
        each.sendall(b"POST /v2/models/cancer/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    try:
        assert httpx.post(f"http://127.0.0.1:{predictor.port}/v2/models/cancer/infer", json=body).status_code == 200
    finally:
        for each in idle:
            each.close()


def test_many_clients_at_once_get_their_own_answers(predictor: Any, body: dict[str, Any]) -> None:
    def ask(i: int) -> bool:
        answer = predictor.client.post("/v2/models/cancer/infer", json=body, headers={"x-request-id": f"c{i}"})
        return answer.status_code == 200 and answer.json()["id"] == f"c{i}"

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_taken_port_is_said_in_one_line(predictor: Any, cancer_packages: dict[str, Path], start: Any) -> None:
    second = start(cancer_packages["onnx"], port=predictor.port)
    assert second.finish() == 2
    assert second.log == f"Cannot listen on 127.0.0.1:{predictor.port}: Address already in use\n"
    assert predictor.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("nothing", "Cannot open"),
        ("joblib", "Cannot load model.joblib: joblib files are pickles"),
    ],
)
def test_a_package_that_cannot_be_served_is_said_in_one_line(
    cancer_packages: dict[str, Path], start: Any, package: str, said: str
) -> None:
    refused = start(cancer_packages.get(package, Path("nothing")))
    assert refused.finish() == 2
    assert refused.log.startswith(said)
    assert refused.log.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "0"), "Cannot listen on 127.0.0.1:0: the port is not between 1 and 65535"),
        (("--port", "70000"), "Cannot listen on 127.0.0.1:70000: the port is not between 1 and 65535"),
        (("--host", "256.0.0.1"), "Cannot listen on 256.0.0.1:"),
        (("--body-limit", "0"), "Cannot use --body-limit: 0 bytes are less than 1"),
        (("--drain-delay", "-1"), "Cannot use --drain-delay: -1 is not between 0 and 3600"),
        (("--drain-delay", "nan"), "Cannot use --drain-delay: nan is not between 0 and 3600"),
        (("--poll", "-1"), "Cannot use --poll: -1 is not between 0 and 1000"),
        (("--poll", "1e9"), "Cannot use --poll: 1e+09 is not between 0 and 1000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_argument_that_cannot_be_used_is_said_in_one_line(
    cancer_packages: dict[str, Path], start: Any, arguments: tuple[str, ...], said: str
) -> None:
    refused = start(cancer_packages["onnx"], *arguments)
    assert refused.finish() == 2
    assert refused.log.startswith(said)
    assert refused.log.count("\n") == 1


def test_a_package_of_another_digest_is_refused(
    cancer_packages: dict[str, Path], start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is the container's termination message, too."""
    message = tmp_path / "termination-log"
    monkeypatch.setenv("SEAMARK_TERMINATION_LOG", str(message))
    refused = start(cancer_packages["onnx"], "--digest", "0" * 64)
    assert refused.finish() == 2
    digest = hashlib.sha256((cancer_packages["onnx"] / "seamark.json").read_bytes()).hexdigest()
    said = f"Cannot use package {cancer_packages['onnx']}: its digest is {digest}, --digest says {'0' * 64}\n"
    assert (refused.log, message.read_text()) == (said, said)


def test_a_package_of_the_wanted_digest_is_served(
    cancer_packages: dict[str, Path], start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On all interfaces, as in a pod; nothing is told where nothing is wrong, nor where the file cannot be written."""
    message = tmp_path / "nowhere" / "termination-log"
    monkeypatch.setenv("SEAMARK_TERMINATION_LOG", str(message))
    digest = hashlib.sha256((cancer_packages["onnx"] / "seamark.json").read_bytes()).hexdigest()
    running = start(cancer_packages["onnx"], "--digest", digest.upper(), "--host", "0.0.0.0").wait_ready()
    assert running.client.get("/").json() == {"status": "alive"}
    assert running.client.get("/v2/health/ready").status_code == 200
    assert running.stop() == 0
    assert start(cancer_packages["onnx"], "--digest", "0" * 64).finish() == 2
    assert not message.parent.exists()


def test_help_is_quick_and_a_mistake_is_status_2() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "seamark_predictor"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--trust-pickle" in shown.stdout
    assert "numpy" not in shown.stderr
    assert subprocess.run([*command, "--nope"], capture_output=True).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_finishes_requests_in_flight_then_leaves_with_0(
    cancer_packages: dict[str, Path], start: Any, number: int, kit: Any
) -> None:
    running = start(cancer_packages["onnx"]).wait_ready()
    content = b'{"instances": [[%s]]}' % b",".join([b"1"] * 30)
    with socket.create_connection(("127.0.0.1", running.port)) as slow:
        head = f"POST /v1/models/cancer:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
        slow.sendall(head.encode() + content[:10])
        running.client.get("/healthz")  # the server has seen the half request before this one
        running.process.send_signal(number)
        kit.wait_for(lambda: _refuses(running.port))
        slow.sendall(content[10:])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert running.finish() == 0
    assert "event=stopped" in running.log
    assert "panic" not in running.log


def test_during_the_drain_everything_is_answered_and_asked_to_go_elsewhere(
    cancer_packages: dict[str, Path], start: Any, kit: Any, body: dict[str, Any]
) -> None:
    """Gateways learn late that a server leaves: the listener stays open for a while, readiness falls at once."""
    running = start(cancer_packages["onnx"], "--drain-delay", "600").wait_ready()
    before = running.client.post("/v2/models/cancer/infer", json=body)
    assert "connection" not in before.headers
    running.process.send_signal(signal.SIGTERM)
    kit.wait_for(lambda: running.client.get("/readyz").status_code == 503)
    for path, status in (("/v2/health/ready", 503), ("/v2/models/cancer/ready", 503), ("/healthz", 200), ("/no", 404)):
        answer = running.client.get(path)
        assert (answer.status_code, answer.headers["connection"]) == (status, "close")
    with httpx.Client(base_url=running.client.base_url) as newcomer:
        answer = newcomer.post("/v2/models/cancer/infer", json=body)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert answer.json()["outputs"] == before.json()["outputs"]


def test_the_drain_ends(cancer_packages: dict[str, Path], start: Any) -> None:
    running = start(cancer_packages["onnx"], "--drain-delay", "0.3").wait_ready()
    assert running.stop() == 0
    assert [line.partition("event=")[2] for line in running.log.splitlines()][-2:] == [
        "draining seconds=0.3",
        "stopped",
    ]


def test_the_last_answer_of_a_connection_says_so(cancer_packages: dict[str, Path], start: Any, kit: Any) -> None:
    """The server closes a connection after the answer that told it to."""
    running = start(cancer_packages["onnx"], "--drain-delay", "600").wait_ready()
    with socket.create_connection(("127.0.0.1", running.port)) as kept:
        for last in (False, True):
            if last:
                running.process.send_signal(signal.SIGTERM)
                kit.wait_for(lambda: running.client.get("/readyz").status_code == 503)
            kept.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = kept.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            assert (b"connection: close" in answer) == last
        assert kept.recv(4096) == b""


@pytest.mark.parametrize("when", ["at once", "while it loads"])
def test_a_signal_before_it_serves_ends_it_at_once(cancer_packages: dict[str, Path], start: Any, when: str) -> None:
    """A container's first process hears a signal only where it asked for it."""
    starting = start(cancer_packages["skops"])
    if when == "while it loads":
        pattern = f"/proc/{starting.process.pid}/maps"
        while "numpy" not in Path(pattern).read_text():
            time.sleep(0.001)
    else:
        while not _handles_sigterm(starting.process.pid):
            time.sleep(0.001)
    assert starting.stop() == 0
    assert "Traceback" not in starting.log


def _handles_sigterm(process: int) -> bool:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    caught = int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def test_a_request_that_never_ends_does_not_hold_the_stop_for_ever(
    cancer_packages: dict[str, Path], start: Any
) -> None:
    running = start(cancer_packages["onnx"]).wait_ready()
    with socket.create_connection(("127.0.0.1", running.port)) as stuck:
        stuck.sendall(b"POST /v1/models/cancer:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        running.client.get("/healthz")
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 10


class Listener:
    """A monitor's socket and what came over it."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.frames: list[Frame] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._connection: socket.socket | None = None
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def predictions(self) -> list[Prediction]:
        return [each for frame in list(self.frames) for each in (*unpack(frame.answered), *frame.others)]

    def _read(self) -> None:
        try:
            self._connection, _ = self._server.accept()
            with self._connection.makefile("rb") as stream:
                while length := stream.read(4):
                    content = stream.read(struct.unpack(">I", length)[0])
                    self.frames.append(msgspec.msgpack.decode(content, type=Frame))
        except OSError:
            return

    def close(self) -> None:
        for each in (self._server, self._connection):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()


def test_serving_goes_on_while_the_monitor_is_absent_killed_and_restarted(
    cancer_packages: dict[str, Path], start: Any, kit: Any, body: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "m"
    running = start(cancer_packages["onnx"], "--monitor", str(path), "--revision", "r9").wait_ready()

    def ask(name: str, content: Any = body) -> int:
        headers = {"x-request-id": name}
        return int(running.client.post("/v2/models/cancer/infer", json=content, headers=headers).status_code)

    assert [ask("absent"), ask("bad", {})] == [200, 400]
    first = Listener(path)
    kit.wait_for(lambda: len(first.predictions) == 2)
    assert [(each.prediction_id, each.status, each.rows) for each in first.predictions] == [
        ("absent", 200, 2),
        ("bad", 400, 0),
    ]
    assert first.frames[0].sender.startswith("r9/")
    first.close()
    assert ask("killed") == 200
    second = Listener(path)
    kit.wait_for(lambda: [each.prediction_id for each in second.predictions] == ["killed"])
    assert ask("last") == 200
    assert running.stop() == 0
    kit.wait_for(lambda: [each.prediction_id for each in second.predictions] == ["killed", "last"])
    second.close()
