"""Workers share a port, die and come again without the others noticing, and leave together without a failed request."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark_predictor import workers
from seamark_predictor.workers import cores

APP = Path(__file__).with_name("worker_app.py")


class Service:
    """The parent and its workers."""

    def __init__(self, port: int, folder: Path, *arguments: str) -> None:
        self.port = port
        self.folder = folder
        self.log = ""
        command = [sys.executable, str(APP), "--port", str(port), "--folder", str(folder), *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def get(self, path: str = "/pid") -> str:
        """Over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def is_open(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return set(map(int, children.split()))

    def serving(self) -> set[int]:
        """Which workers some new connections meet."""
        return {int(self.get()) for _ in range(24)}

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> int:
        assert self.process.stderr is not None
        if not self.process.stderr.closed:
            self.log += self.process.communicate(timeout=30)[1]
        return self.process.returncode

    def counted(self, name: str) -> float:
        families = text_string_to_metric_families(self.get("/metrics"))
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.fixture
def service(tmp_path: Path, kit: Any) -> Iterator[Callable[..., Service]]:
    """Starts services that end with the test."""
    started: list[Service] = []

    def begin(*arguments: str, ready: bool = True) -> Service:
        started.append(Service(kit.free_port(), tmp_path, *arguments))
        if ready:
            kit.wait_for(started[-1].is_open, 30)
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.finish()


def is_gone(process: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


class Client(threading.Thread):
    """Asks again and again over one connection until it is told to close it, or `until` is set.

    A connection that fails is counted and replaced.
    """

    def __init__(self, service: Service, until: threading.Event, path: str = "/pid") -> None:
        super().__init__(daemon=True)
        self._service = service
        self._until = until
        self._path = path
        self.answers: list[int] = []
        self.failures: list[str] = []
        self.was_sent_away = False
        self.start()

    def run(self) -> None:
        url = f"http://127.0.0.1:{self._service.port}{self._path}"
        with httpx.Client(timeout=20) as client:
            while not self._until.is_set() and not self.was_sent_away:
                try:
                    answer = client.get(url)
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                self.answers.append(int(answer.json()) if answer.status_code == 200 else -answer.status_code)
                self.was_sent_away = answer.headers.get("connection") == "close"


# --- together


def test_workers_share_the_port_and_their_counters(service: Callable[..., Service], kit: Any) -> None:
    running = service()
    # The port opens with the first that listens; the others follow within a moment.
    kit.wait_for(lambda: running.serving() == running.workers())
    assert len(running.workers()) == 2
    before = running.counted("seamark_predictor_requests_total")
    running.serving()
    assert running.counted("seamark_predictor_requests_total") == before + 24
    assert running.counted("seamark_predictor_worker_starts_total") == 2
    assert running.stop() == 0


def test_the_port_opens_when_all_have_loaded(service: Callable[..., Service], tmp_path: Path, kit: Any) -> None:
    (tmp_path / "hold").touch()
    running = service(ready=False)
    kit.wait_for(lambda: (tmp_path / "loaded-0").exists() and (tmp_path / "loaded-1").exists())
    assert not running.is_open()
    (tmp_path / "hold").unlink()
    kit.wait_for(running.is_open)
    kit.wait_for(lambda: len(running.serving()) == 2)


# --- leaving


@pytest.mark.parametrize("path", ["/pid", "/slow"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_no_request_fails_while_they_drain(service: Callable[..., Service], kit: Any, number: int, path: str) -> None:
    """Clients go on until an answer closes their connection, as those of a gateway do."""
    running = service("--drain-delay", "1")
    clients = [Client(running, threading.Event(), path) for _ in range(12)]
    kit.wait_for(lambda: all(client.answers for client in clients))
    assert running.stop(number) == 0
    for client in clients:
        client.join(20)
        assert (client.is_alive(), client.was_sent_away, client.failures) == (False, True, [])
        assert min(client.answers) > 0
    assert len({answer for client in clients for answer in client.answers}) == 2
    assert not running.is_open()


def test_a_worker_that_does_not_leave_is_killed(service: Callable[..., Service], kit: Any) -> None:
    running = service("--drain", "0.5")
    with socket.create_connection(("127.0.0.1", running.port)) as stuck:
        stuck.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        running.get()
        found = running.workers()
        assert running.stop() == 0
    assert all(map(is_gone, found))


def test_nothing_is_left_when_the_parent_is_killed(service: Callable[..., Service], kit: Any) -> None:
    running = service()
    found = running.workers()
    running.process.kill()
    kit.wait_for(lambda: all(map(is_gone, found)) and not running.is_open())


def test_a_signal_while_they_load_ends_all_at_once(service: Callable[..., Service], tmp_path: Path, kit: Any) -> None:
    (tmp_path / "hold").touch()
    running = service(ready=False)
    kit.wait_for(lambda: (tmp_path / "loaded-1").exists())
    found = running.workers()
    assert running.stop() == 0
    assert len(found) == 2
    assert all(map(is_gone, found))
    assert "worker_died" not in running.log


# --- dying


def test_a_workers_death_fails_only_its_own_connections(service: Callable[..., Service], kit: Any) -> None:
    running = service()
    until = threading.Event()
    clients = [Client(running, until) for _ in range(8)]
    kit.wait_for(lambda: all(client.answers for client in clients))
    before = running.workers()
    dying = clients[0].answers[-1]
    mourned = [client.answers[-1] == dying for client in clients]
    os.kill(dying, signal.SIGKILL)
    kit.wait_for(lambda: len(running.workers() - before) == 1)
    (new,) = running.workers() - before
    kit.wait_for(lambda: new in running.serving())
    until.set()
    for client, was_its in zip(clients, mourned, strict=True):
        client.join(20)
        # One failure for the connection that broke; a new one may have met the dying listener.
        assert len(client.failures) <= (2 if was_its else 0), client.failures
        assert min(client.answers) > 0
    assert running.stop() == 0
    assert re.search(r"event=worker_died worker=\d status=137 again_in=0.05", running.log)


def test_counters_do_not_fall_when_a_worker_dies(service: Callable[..., Service], kit: Any) -> None:
    running = service()
    before = running.serving()
    counted = running.counted("seamark_predictor_requests_total")
    os.kill(min(before), signal.SIGKILL)
    kit.wait_for(lambda: min(before) not in running.workers())
    kit.wait_for(lambda: running.counted("seamark_predictor_worker_starts_total") == 3)
    assert running.counted("seamark_predictor_requests_total") >= counted == 24
    running.stop()


def test_a_worker_that_cannot_load_again_is_tried_again_while_others_serve(
    service: Callable[..., Service], tmp_path: Path, kit: Any
) -> None:
    running = service()
    first = running.workers()
    (tmp_path / "fail").touch()
    os.kill(min(first), signal.SIGKILL)
    kit.wait_for(lambda: running.workers() - first)
    kit.wait_for(lambda: running.workers() == {max(first)})
    assert running.serving() == {max(first)}
    (tmp_path / "fail").unlink()
    kit.wait_for(lambda: len(running.serving()) == 2)
    assert running.stop() == 0
    deaths = re.findall(r"again_in=([0-9.]+) reason=(.*)", running.log)
    assert [float(seconds) for seconds, _ in deaths] == [0.05 * 2**i for i in range(len(deaths))]
    assert deaths[1][1] == '"Cannot load the model: the test wants it so"'


def test_old_deaths_are_forgotten(service: Callable[..., Service], kit: Any) -> None:
    running = service("--steady", "0")
    for _ in range(2):
        before = running.workers()
        os.kill(min(before), signal.SIGKILL)
        kit.wait_for(lambda old=before: len(running.workers() - old) == 1 and len(running.serving()) == 2)
    running.stop()
    assert re.findall(r"again_in=([0-9.]+)", running.log) == ["0.05"] * 2


@pytest.mark.parametrize(
    ("how", "status", "line"),
    [
        ("fail", 2, "Cannot load the model: the test wants it so\n"),
        ("crash", 137, r"Cannot serve: worker \d ended with status 137\n"),
    ],
)
def test_workers_that_cannot_load_end_the_whole_with_one_line(
    service: Callable[..., Service], tmp_path: Path, how: str, status: int, line: str
) -> None:
    (tmp_path / how).touch()
    running = service(ready=False)
    assert running.finish() == status
    assert re.fullmatch(line, running.log)


def test_the_whole_ends_when_the_last_worker_cannot_come_again(
    service: Callable[..., Service], tmp_path: Path, kit: Any
) -> None:
    running = service("--workers", "2")
    (tmp_path / "fail").touch()
    for worker in running.workers():
        os.kill(worker, signal.SIGKILL)
    assert running.finish() == 2
    assert running.log.endswith("\nCannot load the model: the test wants it so\n")


# --- cores


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", 4),
        ("150000 100000\n", 2),
        ("100000 100000\n", 1),
        ("5000 100000\n", 1),
        ("900000 100000\n", 4),
        (None, 4),
    ],
)
def test_cores_are_those_the_container_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None, expected: int
) -> None:
    path = tmp_path / "cpu.max"
    if limit is not None:
        path.write_text(limit)
    monkeypatch.setattr(workers, "_CPU_LIMIT", path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert cores() == expected


def test_a_worker_without_its_parent_does_not_live(kit: Any) -> None:
    """The parent named is not this one: it died before the worker could ask to die with it."""
    ours, theirs = socket.socketpair()
    place = f"0:1:{os.getppid()}:{theirs.fileno()}:0"
    program = f"from seamark_predictor.workers import attach; attach({place!r}); print('lives')"
    with ours, theirs:
        done = subprocess.run([sys.executable, "-c", program], pass_fds=[theirs.fileno()], capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
