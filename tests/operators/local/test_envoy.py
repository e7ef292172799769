"""The gateway: a real Envoy, configured by files, in front of small upstreams."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from seamark.actions import Route
from seamark.seen import RouteSeen
from seamark_local import envoy, xds
from seamark_local.envoy import Gateway, Model, Services, command, write_bootstrap, write_file

Count = Counter[Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


class Handler(BaseHTTPRequestHandler):
    """Answers its server's name, or the status that the path ends in."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        server: Any = self.server
        server.got.append((self.path, self.headers["x-request-id"], body))
        last = self.path.rpartition("/")[2]
        self.send_response(int(last) if last.isdecimal() else 200)
        self.send_header("content-length", str(len(server.name)))
        self.end_headers()
        self.wfile.write(server.name.encode())

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        pass


class Upstream(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = name
        self.got: list[tuple[str, str, bytes]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def ids(self) -> list[str]:
        return [request_id for _, request_id, _ in self.got]


PROGRAM = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", str(len(sys.argv[2])))
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
    def log_message(self, *_): pass
class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print("up", flush=True)
server.serve_forever()
"""


@contextmanager
def process(name: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An upstream that can be killed with everything it has open."""
    port = port or free_port()
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(port), name], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"up\n"
        yield child, port
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@dataclass
class World:
    home: Path
    port: int
    gateway: Gateway
    client: httpx.Client
    services: Services = field(default_factory=Services)

    def step(self, *models: Model) -> envoy.Synced:
        return self.gateway.sync(models, self.services, self.gateway.active())

    def route(self, *models: Model) -> None:
        until(lambda: self.step(*models).done)

    def seen(self, name: str = "m") -> RouteSeen | None:
        active = self.gateway.active()
        return active.route(name) if active else None

    def predict(self, model: str = "m", headers: dict[str, str] | None = None) -> httpx.Response:
        return self.client.post(f"/v1/models/{model}:predict", content=b"{}", headers=headers)

    def exchange(self, head: str) -> str:
        """What comes back for a request that no HTTP library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def answers(self, count: int, headers: dict[str, str] | None = None) -> Count:
        return Counter(self.predict(headers=headers).text for _ in range(count))


@contextmanager
def running(home: Path) -> Iterator[World]:
    port = free_port()
    write_bootstrap(home, port, free_port())
    with (home / "envoy.log").open("wb") as log:
        child = subprocess.Popen(command(home), stdout=log, stderr=log)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)
    world = World(home, port, Gateway(home), client)
    try:
        until(lambda: world.gateway.active() is not None)
        yield world
    finally:
        client.close()
        world.gateway.close()
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("home")) as world:
        yield world


@pytest.fixture(scope="module")
def a() -> Iterator[Upstream]:
    with Upstream("A") as upstream:
        yield upstream
        upstream.shutdown()


@pytest.fixture(scope="module")
def b() -> Iterator[Upstream]:
    with Upstream("B") as upstream:
        yield upstream
        upstream.shutdown()


@pytest.fixture
def ports(a: Upstream, b: Upstream) -> dict[str, tuple[int, ...]]:
    a.got.clear()
    b.got.clear()
    return {"A": (a.port,), "B": (b.port,)}


Ports = dict[str, tuple[int, ...]]


def test_requests_are_split_by_weight(world: World, ports: Ports) -> None:
    world.route(Model("m", Route({"A": 75, "B": 25}, fallback="A"), ports))
    answered = world.answers(800)
    assert set(answered) == {"A", "B"}
    # 200 expected; 5 standard deviations are 61.
    assert 139 <= answered["B"] <= 261


def test_the_confirmed_route_is_what_envoy_says(world: World, ports: Ports) -> None:
    world.route(Model("m", Route({"A": 75, "B": 25}, mirror=("B", 40), fallback="A"), ports))
    assert world.seen() == RouteSeen({"A": 75, "B": 25}, mirror=("B", 40))
    write_file(world.home / "envoy" / "cds.json", (world.home / "envoy" / "cds.json").read_bytes())
    assert world.seen() == RouteSeen({"A": 75, "B": 25}, mirror=("B", 40))
    assert world.seen("unknown") is None


def test_a_weight_of_zero_is_not_routed(world: World, ports: Ports) -> None:
    world.route(Model("m", Route({"A": 100, "B": 0}, fallback="A"), ports))
    assert world.seen() == RouteSeen({"A": 100})
    assert world.answers(20) == {"A": 20}


def test_the_mirrored_copy_carries_the_same_request_id(world: World, ports: Ports, a: Upstream, b: Upstream) -> None:
    world.route(Model("m", Route({"A": 100}, mirror=("B", 100)), ports))
    assert world.answers(40) == {"A": 40}
    until(lambda: len(b.got) == 40)
    assert sorted(a.ids) == sorted(b.ids)
    assert len(set(a.ids)) == 40
    assert {body for _, _, body in b.got} == {b"{}"}


def test_a_share_of_the_requests_is_mirrored(world: World, ports: Ports, b: Upstream) -> None:
    world.route(Model("m", Route({"A": 100}, mirror=("B", 25)), ports))
    world.answers(400)
    until(lambda: len(b.got) > 50)
    # 100 expected; 5 standard deviations are 43.
    assert 57 <= len(b.got) <= 143


def test_a_mirror_that_is_dead_or_slow_changes_no_answer(world: World, ports: Ports) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port in (free_port(), silent.getsockname()[1]):
            world.route(Model("m", Route({"A": 100}, mirror=("B", 100)), {**ports, "B": (port,)}))
            started = time.monotonic()
            assert world.answers(50) == {"A": 50}
            assert time.monotonic() - started < 3


def test_the_clients_request_id_is_kept_and_returned(world: World, ports: Ports, a: Upstream) -> None:
    world.route(Model("m", Route({"A": 100}), ports))
    given = ["my-id", "2d08c94c-b25a-4822-80ce-1a71833ef08e"]
    assert [world.predict(headers={"x-request-id": name}).headers["x-request-id"] for name in given] == given
    assert a.ids == given
    made = world.predict()
    assert a.ids[-1] == made.headers["x-request-id"]
    assert len(a.ids[-1]) == 36


def test_a_header_leads_to_the_challenger(world: World, ports: Ports) -> None:
    route = Route({"A": 100}, fallback="A", match=(("x-lane", "new"), ("x-team", "blue")), match_to="B")
    world.route(Model("m", route, ports))
    assert world.answers(10, {"x-lane": "new"}) == {"B": 10}
    assert world.answers(10, {"x-team": "blue"}) == {"B": 10}
    assert world.answers(10, {"x-lane": "old"}) == {"A": 10}
    assert world.answers(10) == {"A": 10}
    assert world.seen() == RouteSeen({"A": 100})


def test_a_user_stays_on_one_arm_and_joins_the_challenger_once(world: World, ports: Ports) -> None:
    arms: dict[int, dict[int, str]] = {}
    for weight in (20, 50):
        route = Route({"A": 100 - weight, "B": weight}, fallback="A", sticky="x-user")
        world.route(Model("m", route, ports))
        found = {user: world.answers(4, {"x-user": f"user-{user}"}) for user in range(60)}
        assert [user for user, answers in found.items() if len(answers) > 1] == []
        arms[weight] = {user: next(iter(answers)) for user, answers in found.items()}
    assert Counter(arms[20].values())["B"] < Counter(arms[50].values())["B"]
    assert [user for user, arm in arms[20].items() if arm == "B" and arms[50][user] == "A"] == []
    assert len(world.answers(100)) == 2, "requests without the header are still split"


def test_the_answer_names_the_revision_that_made_it(world: World, ports: Ports) -> None:
    world.route(Model("m", Route({"A": 50, "B": 50}, fallback="A"), ports))
    for _ in range(20):
        answer = world.predict()
        assert answer.headers["x-seamark-revision"] == answer.text


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
def test_what_a_model_answers_itself_is_not_tried_again(
    world: World, ports: Ports, a: Upstream, b: Upstream, status: int
) -> None:
    world.route(Model("m", Route({"A": 100}, fallback="B"), ports))
    assert world.client.post(f"/v1/models/m/{status}").status_code == status
    assert (len(a.got), len(b.got)) == (1, 0)


def test_a_model_that_is_unavailable_is_replaced_by_the_fallback(world: World, ports: Ports, b: Upstream) -> None:
    with process("dead") as (_, port):
        pass
    world.route(Model("m", Route({"A": 100}, fallback="B"), {**ports, "A": (port,)}))
    answer = world.predict()
    assert (answer.status_code, answer.text, answer.headers["x-seamark-revision"]) == (200, "B", "B")
    assert len(b.got) == 1


PATHS = [
    ("/v1/models/m", "A"),
    ("/v1/models/m:predict", "A"),
    ("/v1/models/m/ready", "A"),
    ("/v2/models/m/infer", "A"),
    ("/v2/models/m/versions/1/infer?x=1", "A"),
    ("/v1/models/m-2:predict", "B"),
    ("/v1/models/m/evidence", "analyzer"),
    ("/v1/models", "analyzer"),
    ("/metrics", "analyzer"),
    ("/v1/feedback", "collector"),
]


@pytest.mark.parametrize(("path", "answered_by"), PATHS)
def test_paths_lead_to_the_right_service(world: World, ports: Ports, path: str, answered_by: str) -> None:
    with Upstream("analyzer") as analyzer, Upstream("collector") as collector:
        world.services = Services(analyzer.port, collector.port)
        world.route(Model("m", Route({"A": 100}), ports), Model("m-2", Route({"B": 100}), ports))
        assert world.client.get(path).text == answered_by
        if path == "/metrics":
            assert analyzer.got[0][0] == "/federate"
        analyzer.shutdown()
        collector.shutdown()


@pytest.mark.parametrize("path", ["/", "/v1/models/mm:predict", "/v1/models/other", "/v2/models/m2/infer", "/stats"])
def test_other_paths_are_answered_with_the_known_names(world: World, ports: Ports, path: str) -> None:
    world.route(Model("m", Route({"A": 100}), ports), Model("n", None, ports))
    answer = world.client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "Cannot find this path; models served here: m, n"})
    assert answer.headers["content-type"] == "application/json"


def test_a_model_without_a_route_says_so(world: World, ports: Ports) -> None:
    world.route(Model("m", None, ports))
    answer = world.predict()
    assert answer.status_code == 503
    assert answer.json() == {"error": "model m has no revision that is ready yet"}
    assert world.seen() is None
    assert world.client.get("/healthz").text == "ok\n"


def test_a_body_over_the_limit_is_refused(world: World, ports: Ports, a: Upstream) -> None:
    world.route(Model("m", Route({"A": 100}), ports))
    answer = world.client.post("/v1/models/m:predict", content=b"0" * (xds.MAX_BODY + 1))
    text = "Cannot read the request: its body is larger than 16777216 bytes; send fewer rows at a time"
    assert (answer.status_code, answer.json()) == (413, {"error": text})
    assert a.got == []


@pytest.mark.parametrize(
    ("request_line", "cause"),
    [
        ("GET /v1/models/m%2Fx HTTP/1.1\r\nHost: h", "path_normalization_failed"),
        ("GET /v1/models/m HTTP/1.1", "missing_host_header"),
    ],
)
def test_a_request_that_the_gateway_cannot_read_says_why(
    world: World, ports: Ports, request_line: str, cause: str
) -> None:
    world.route(Model("m", Route({"A": 100}), ports))
    answer = world.exchange(request_line)
    assert answer.startswith("HTTP/1.1 400 ")
    assert json.loads(answer.splitlines()[-1]) == {"error": f"Cannot read the request: {cause}"}


def test_http_1_0_is_served(world: World, ports: Ports, a: Upstream) -> None:
    world.route(Model("m", Route({"A": 100}), ports))
    assert "200 OK" in world.exchange("GET /v1/models/m HTTP/1.0")
    assert a.got[0][0] == "/v1/models/m"


@contextmanager
def load(world: World, workers: int = 4) -> Iterator[Count]:
    """Predictions all the while; the counter has (status, who answered)."""
    counted: Count = Counter()
    stop = threading.Event()

    def work() -> None:
        with httpx.Client(base_url=world.client.base_url, trust_env=False, timeout=20) as client:
            while not stop.is_set():
                answer = client.post("/v1/models/m:predict", content=b"{}")
                counted[answer.status_code, answer.text] += 1

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield counted
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def failures(counted: Count) -> Count:
    return Counter({key: count for key, count in counted.items() if key[0] != 200})


def test_no_request_fails_while_a_killed_replica_has_another_replica(world: World) -> None:
    with process("A0") as (child, first), process("A1") as (_, second):
        world.route(Model("m", Route({"A": 100}), {"A": (first, second)}))
        with load(world) as counted:
            until(lambda: counted[200, "A0"] > 50 and counted[200, "A1"] > 50)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            after = counted[200, "A1"]
            until(lambda: counted[200, "A1"] > after + 200)
        assert failures(counted) == {}


def test_another_replica_is_asked_before_the_other_revision(world: World, ports: Ports) -> None:
    with process("A0") as (child, first), process("A1") as (_, second):
        world.route(Model("m", Route({"A": 100}, fallback="B"), {"A": (first, second), "B": ports["B"]}))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        answered = world.answers(100)
    assert answered["A1"] > 90


@pytest.mark.parametrize(("killed", "weights"), [("A", {"A": 90, "B": 10}), ("B", {"A": 50, "B": 50})])
def test_no_request_fails_while_a_killed_revision_has_another(
    world: World, killed: str, weights: dict[str, int]
) -> None:
    with process("A") as (child_a, port_a), process("B") as (child_b, port_b):
        world.route(Model("m", Route(weights, fallback="A"), {"A": (port_a,), "B": (port_b,)}))
        child = child_a if killed == "A" else child_b
        other = "B" if killed == "A" else "A"
        with load(world) as counted:
            until(lambda: counted[200, "A"] > 50 and counted[200, "B"] > 20)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            after = counted[200, other]
            until(lambda: counted[200, other] > after + 200)
        assert failures(counted) == {}


def test_with_a_single_replica_requests_wait_for_its_restart(world: World) -> None:
    with process("A") as (child, port), ExitStack() as later:
        world.route(Model("m", Route({"A": 100}), {"A": (port,)}))
        with load(world) as counted:
            until(lambda: counted[200, "A"] > 50)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            time.sleep(1.5)  # the time that a restart takes
            later.enter_context(process("A again", port))
            until(lambda: counted[200, "A again"] > 50)
        assert failures(counted) == {}


def test_a_hung_replica_is_left_for_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds, "TRY_TIMEOUT", 0.5)
    with process("A0") as (child, first), process("A1") as (_, second):
        world.route(Model("m", Route({"A": 100}), {"A": (first, second)}))
        os.kill(child.pid, signal.SIGSTOP)
        try:
            assert {world.predict().text for _ in range(3)} == {"A1"}
        finally:
            os.kill(child.pid, signal.SIGCONT)


def test_no_request_fails_through_twenty_route_changes(world: World, ports: Ports) -> None:
    with Upstream("A") as second, load(world) as counted:
        routes = [
            Route({"A": 100}),
            Route({"A": 100}, mirror=("B", 100)),
            Route({"A": 90, "B": 10}, fallback="A"),
            Route({"A": 50, "B": 50}, fallback="A", sticky="x-user"),
            Route({"B": 100}, fallback="A"),
        ]
        world.route(Model("m", routes[0], ports))
        counted.clear()
        for i, route in enumerate(itertools.islice(itertools.cycle(routes), 20)):
            several = {**ports, "A": (*ports["A"], second.port) if i % 3 else ports["A"]}
            before = counted.total()
            world.route(Model("m", route, several))
            until(lambda before=before: counted.total() > before + 20)
        second.shutdown()
    assert failures(counted) == {}


def test_clusters_come_before_the_routes_that_name_them_and_go_after(world: World, ports: Ports) -> None:
    def clusters() -> set[str]:
        document = json.loads((world.home / "envoy" / "cds.json").read_bytes())
        return {resource["name"] for resource in document["resources"] if resource["name"].startswith("model/")}

    world.route(Model("m", Route({"A": 100}), ports))
    model = Model("m", Route({"B": 100}), ports)
    assert not world.step(model).done
    assert world.seen() == RouteSeen({"A": 100})
    assert clusters() >= {"model/m/A/users", "model/m/B/users"}
    world.route(model)
    assert world.seen() == RouteSeen({"B": 100})
    assert "model/m/A/users" in clusters(), "requests under way may still try again"
    rds = world.home / "envoy" / "rds.json"
    os.utime(rds, (0, time.time() - envoy.LINGER))
    world.route(model)
    assert clusters() == {"model/m/B/users"}


def test_a_change_interrupted_after_any_step_is_finished_by_another_operator(tmp_path: Path, ports: Ports) -> None:
    with running(tmp_path) as world:
        for steps in range(6):
            world.route(Model("m", Route({"A": 100}), ports))
            model = Model("m", Route({"A": 50, "B": 50}, fallback="A"), ports)
            for _ in range(steps):
                world.step(model)
            world.gateway.close()
            world.gateway = Gateway(tmp_path)
            world.route(model)
            assert world.seen() == RouteSeen({"A": 50, "B": 50})


def test_a_refused_configuration_is_reported_and_the_old_one_stays(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy, "PATIENCE", 0.3)
    with running(tmp_path) as world:
        world.route(Model("m", Route({"A": 100}), ports))
        broken = Model("m", Route({"A": 100}, sticky="not a header\n"), ports)
        until(lambda: world.step(broken).problem)
        assert "Cannot configure the gateway: Envoy refused it" in world.step(broken).problem
        assert world.seen() == RouteSeen({"A": 100})
        assert world.answers(5) == {"A": 5}
        world.route(Model("m", Route({"B": 100}), ports))
        assert world.answers(5) == {"B": 5}


def test_envoy_started_again_serves_the_same_at_once(tmp_path: Path, ports: Ports) -> None:
    with running(tmp_path) as world:
        world.route(Model("m", Route({"B": 100}), ports))
    with running(tmp_path) as world:
        assert world.answers(3) == {"B": 3}
        assert world.seen() == RouteSeen({"B": 100})


def test_without_envoy_nothing_is_confirmed(tmp_path: Path) -> None:
    write_bootstrap(tmp_path, free_port(), free_port())
    gateway = Gateway(tmp_path)
    assert gateway.active() is None
    gateway.sync([], Services(), None)
    synced = gateway.sync([], Services(), None)
    assert synced == envoy.Synced(False, "Cannot reach the gateway: Envoy's admin port does not answer")
    gateway.close()
