"""The supervisor makes the processes that the store asks for be the processes that run, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from seamark_local import logs
from seamark_local.home import Home, make_home
from seamark_local.store import Process, Status, Store

T = TypeVar("T")

DRIVER = """
import asyncio, signal, sys
from pathlib import Path
from seamark_local import logs, probe, runner, supervisor
from seamark_local.home import make_home
from seamark_local.store import Store
{setup}
async def main():
    home = make_home(Path(sys.argv[1]))
    watched, stop = supervisor.Supervisor(Store(home.database), home), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await watched.run(stop)
asyncio.run(main())
"""

#: A server: answers what its file says (200 without one), may start a child of its own, may ignore SIGTERM.
SERVER = """
import http.server, os, pathlib, signal, subprocess, sys
port, answer, grandchild = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
if os.environ.get("STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if grandchild:
    child = subprocess.Popen(["sleep", "300"], start_new_session=grandchild[0] == "apart")
    answer.with_suffix(".pid").write_text(str(child.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = answer.read_text() if answer.exists() else "200 "
        self.send_response(int(text.split()[0]))
        self.end_headers()
        self.wfile.write(text[4:].encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def until(ask: Callable[[], T | None], seconds: float = 15.0) -> T:
    """The first true answer; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Bench:
    """A home, its store, and supervisors of it in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home: Home = make_home(folder / "home")
        self.store = Store(self.home.database)
        self.answer = folder / "answer"
        self._server = folder / "server.py"
        self._server.write_text(SERVER)
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, setup: str = "") -> subprocess.Popen[bytes]:
        code = DRIVER.replace("{setup}", setup)
        supervisor = subprocess.Popen([sys.executable, "-c", code, str(self.home.root)])
        self._started.append(supervisor)
        return supervisor

    def server(self, *more: str, name: str = "server", port: int = 0, **env: str) -> Process:
        argv = (sys.executable, str(self._server), "{port}", str(self.answer), *more)
        return Process(name, argv, env, port=port, ready="/readyz")

    def job(self, code: str, name: str = "trainer-1", **rest: float) -> Process:
        return replace(Process(name, (sys.executable, "-c", code), kind="job"), **rest)  # type: ignore[arg-type]

    def status(self, phase: str, name: str = "server", since: float = -1.0) -> Status:
        """The status once the process is in this phase and was started after `since`."""

        def found() -> Status | None:
            status = self.store.statuses().get(name)
            return status if status and status.phase == phase and status.started > since else None

        return until(found)

    def close(self) -> None:
        for supervisor in self._started:
            if supervisor.poll() is None:
                supervisor.terminate()
                supervisor.wait(timeout=20)
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


# --- services


def test_a_service_gets_a_port_and_becomes_ready(bench: Bench) -> None:
    bench.store.desire([bench.server()])
    bench.start()
    status = bench.status("ready")
    assert status.port > 0
    assert status.pid > 0
    assert status.restarts == 0
    assert status.log == str(bench.home.log_of("server"))


def test_the_port_stands_in_the_environment_too(bench: Bench) -> None:
    code = "import os, sys; sys.exit(0 if os.environ['AT'] == sys.argv[1] != '{' + 'port}' else 5)"
    bench.store.desire([Process("trainer-1", (sys.executable, "-c", code, "{port}"), {"AT": "{port}"}, kind="job")])
    bench.start()
    assert bench.status("succeeded", "trainer-1").port > 0


def test_a_killed_service_is_back_at_once_on_its_port(bench: Bench) -> None:
    bench.store.desire([bench.server()])
    bench.start()
    before = bench.status("ready")
    killed = time.time()
    os.kill(before.pid, signal.SIGKILL)
    after = bench.status("ready", since=killed)
    assert after.started - killed < 1.0
    assert (after.port, after.restarts) == (before.port, 1)


def test_what_a_killed_service_had_started_ends_with_it(bench: Bench) -> None:
    bench.store.desire([bench.server("with")])
    bench.start()
    status = bench.status("ready")
    grandchild = int(bench.answer.with_suffix(".pid").read_text())
    os.kill(status.pid, signal.SIGKILL)
    until(lambda: not is_running(grandchild))


def test_a_service_that_is_not_desired_any_more_ends_and_has_no_status(bench: Bench) -> None:
    bench.store.desire([bench.server(), bench.server(name="other")])
    bench.start()
    status = bench.status("ready")
    bench.store.undesire(["server"])
    until(lambda: "server" not in bench.store.statuses())
    assert not is_running(status.pid)
    assert bench.status("ready", "other").restarts == 0


def test_a_changed_definition_restarts_its_service(bench: Bench) -> None:
    bench.store.desire([bench.server()])
    bench.start()
    before = bench.status("ready")
    bench.store.desire([bench.server(CHANGED="yes")])
    after = bench.status("ready", since=before.started)
    assert not is_running(before.pid)
    assert b"CHANGED=yes" in Path(f"/proc/{after.pid}/environ").read_bytes()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(
            (sys.executable, "-c", "import sys; print('Cannot read x: no'); sys.exit(2)"),
            "Cannot read x: no",
            id="a user's mistake is told in its own words",
        ),
        pytest.param(
            (sys.executable, "-c", "raise ValueError('no luck')"),
            "exit status 1: ValueError: no luck",
            id="a crash is told with its last line",
        ),
        pytest.param(
            (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"),
            "killed by SIGKILL",
            id="a signal is named",
        ),
        pytest.param(
            ("/nowhere/program",), "Cannot start /nowhere/program: No such file or directory", id="a missing program"
        ),
    ],
)
def test_a_service_that_keeps_failing_is_in_backoff_and_says_why(
    bench: Bench, argv: tuple[str, ...], message: str
) -> None:
    bench.store.desire([Process("server", argv, ready="/readyz")])
    bench.start()
    status = until(lambda: (s := bench.status("backoff")).restarts >= 1 and s)
    assert status.message == message
    assert status.pid == 0


def test_a_service_that_says_it_is_not_ready_is_not_and_its_reason_is_shown(bench: Bench) -> None:
    bench.answer.write_text("503 no model yet\nmore")
    bench.store.desire([bench.server()])
    bench.start()
    until(lambda: bench.status("running").message == "no model yet")
    bench.answer.write_text("200 ")
    assert bench.status("ready").message == ""
    bench.answer.write_text("503 lost it")
    until(lambda: bench.status("running").message == "lost it")


def test_a_service_that_hangs_is_restarted(bench: Bench) -> None:
    bench.store.desire([bench.server()])
    bench.start("probe.PATIENCE, probe.SILENT_LIMIT, runner.HUNG_GRACE, runner.PROBE_WHEN_READY = 0.2, 1.0, 0.2, 0.2")
    before = bench.status("ready")
    os.kill(before.pid, signal.SIGSTOP)
    assert bench.status("running").pid == before.pid
    after = bench.status("ready", since=before.started)
    assert after.pid != before.pid
    assert not is_running(before.pid)


def test_a_service_that_never_becomes_ready_gets_another_port(bench: Bench) -> None:
    code = "import sys; print('port', sys.argv[1]); sys.exit(1)"
    bench.store.desire([Process("server", (sys.executable, "-c", code, "{port}"), ready="/readyz")])
    bench.start()
    until(lambda: bench.status("backoff").restarts >= 2)
    ports = bench.home.log_of("server").read_text().split()[1::2]
    assert len(set(ports)) >= 2


# --- the end of the supervisor


def test_sigterm_leaves_nothing_running_and_forgets_no_desire(bench: Bench) -> None:
    bench.store.desire([bench.server("with"), bench.server(name="stubborn", STUBBORN="yes")])
    supervisor = bench.start("supervisor.GROUP_GRACE = 0.5")
    pids = [bench.status("ready").pid, bench.status("ready", "stubborn").pid]
    pids.append(int(bench.answer.with_suffix(".pid").read_text()))
    supervisor.terminate()
    assert supervisor.wait(timeout=10) == 0
    assert [pid for pid in pids if is_running(pid)] == []
    assert bench.store.statuses() == {}
    assert len(bench.store.desired()) == 2


def test_a_service_has_its_port_again_after_a_stop(bench: Bench) -> None:
    bench.store.desire([bench.server()])
    supervisor = bench.start()
    before = bench.status("ready")
    supervisor.terminate()
    supervisor.wait()
    bench.start()
    after = bench.status("ready")
    assert (after.port, after.restarts) == (before.port, 0)


def test_children_die_with_a_killed_supervisor_and_the_next_one_goes_on(bench: Bench) -> None:
    bench.store.desire([bench.server(), bench.server(name="other")])
    supervisor = bench.start()
    before = [bench.status("ready", name) for name in ("server", "other")]
    supervisor.kill()
    supervisor.wait()
    until(lambda: not any(is_running(status.pid) for status in before))
    bench.start()
    after = [bench.status("ready", status.name, since=status.started) for status in before]
    assert [status.port for status in after] == [status.port for status in before]


def test_what_a_killed_supervisors_children_left_is_ended_by_the_next_one(bench: Bench) -> None:
    bench.store.desire([bench.server("apart")])
    supervisor = bench.start()
    bench.status("ready")
    stray = int(bench.answer.with_suffix(".pid").read_text())
    bench.store.undesire(["server"])
    supervisor.kill()
    supervisor.wait()
    assert is_running(stray)
    bench.start()
    until(lambda: not is_running(stray))
    until(lambda: bench.store.statuses() == {})


# --- jobs

WRITE = "import os; open(os.environ['SEAMARK_TERMINATION_LOG'], 'wb').write({})"


@pytest.mark.parametrize(
    ("code", "phase", "message", "result"),
    [
        pytest.param(WRITE.format("b'{\"rows\": 3}'"), "succeeded", "", '{"rows": 3}', id="a success has its result"),
        pytest.param("pass", "succeeded", "", "", id="a job need not write a result"),
        pytest.param(
            WRITE.format('b\'{"error": "x"}\'') + "; os._exit(3)",
            "failed",
            "exit status 3",
            '{"error": "x"}',
            id="a failure keeps its result",
        ),
        pytest.param(WRITE.format(r"b'\xff\x00'"), "succeeded", "", "�\0", id="bytes that are no text are passed on"),
        pytest.param(WRITE.format("b'x' * 10**6"), "succeeded", "", "x" * 4096, id="no more than 4096 bytes are read"),
        pytest.param(
            "import os; os.mkfifo(os.environ['SEAMARK_TERMINATION_LOG'])", "succeeded", "", "", id="a pipe is not read"
        ),
        pytest.param(
            "import os; os.symlink('/etc/passwd', os.environ['SEAMARK_TERMINATION_LOG'])",
            "succeeded",
            "",
            "",
            id="a link is not followed",
        ),
    ],
)
def test_a_job_runs_once_and_its_result_is_reported(
    bench: Bench, code: str, phase: str, message: str, result: str
) -> None:
    bench.store.desire([bench.job(code)])
    bench.start()
    status = bench.status(phase, "trainer-1")
    assert (status.message, status.result, status.restarts) == (message, result, 0)
    assert status.finished is not None
    assert status.finished >= status.started


def test_a_failing_job_is_tried_again_as_often_as_it_may_be(bench: Bench) -> None:
    bench.store.desire([bench.job("print('again'); raise SystemExit(1)", retries=2)])
    bench.start()
    status = bench.status("failed", "trainer-1")
    assert status.restarts == 2
    assert status.message == "exit status 1: again"
    assert bench.home.log_of("trainer-1").read_text().split() == ["again"] * 3


def test_a_job_beyond_its_deadline_is_killed_and_has_failed(bench: Bench) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    bench.store.desire([bench.job(code, deadline=0.5, retries=3)])
    bench.start("runner.HUNG_GRACE = 0.2")
    pid = bench.status("running", "trainer-1").pid
    status = bench.status("failed", "trainer-1")
    assert status.message == "deadline of 0.5 s exceeded"
    assert status.restarts == 0
    assert not is_running(pid)


def test_a_finished_job_never_runs_again(bench: Bench) -> None:
    bench.store.desire([bench.job("print('ran')")])
    supervisor = bench.start()
    bench.status("succeeded", "trainer-1")
    bench.store.undesire(["trainer-1"])
    bench.store.desire([bench.job("print('ran differently')")])
    supervisor.terminate()
    supervisor.wait()
    bench.start()
    bench.store.desire([bench.job("print('after')", name="trainer-2")])
    bench.status("succeeded", "trainer-2")
    assert bench.home.log_of("trainer-1").read_text().split() == ["ran"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_job_under_way_when_the_supervisor_ends_runs_again(bench: Bench, end: signal.Signals, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)"
    bench.store.desire([bench.job(code)])
    supervisor = bench.start()
    bench.status("running", "trainer-1")
    supervisor.send_signal(end)
    supervisor.wait()
    go.touch()
    bench.start()
    assert bench.status("succeeded", "trainer-1").restarts == 1


def test_a_job_that_is_not_desired_any_more_is_stopped_for_good(bench: Bench) -> None:
    bench.store.desire([bench.job("import time; time.sleep(300)")])
    bench.start()
    pid = bench.status("running", "trainer-1").pid
    bench.store.undesire(["trainer-1"])
    status = bench.status("stopped", "trainer-1")
    assert status.finished is not None
    assert status.message == "stopped before it ended"
    assert not is_running(pid)


# --- logs


def test_a_talkative_process_does_not_fill_the_disk(bench: Bench) -> None:
    code = (
        "import time\nfor i in range(400):\n print(f'{i:03d}' * 1000, flush=True); time.sleep(0.005)\ntime.sleep(300)"
    )
    bench.store.desire([Process("server", (sys.executable, "-c", code))])
    bench.start("logs.trim.__defaults__ = (100_000,); supervisor.TRIM_INTERVAL = 0.05")
    log = bench.home.log_of("server")
    until(lambda: any(logs.last_line(part).startswith("399") for part in (log, logs.previous(log))))
    until(lambda: logs.size(log) <= 100_000)
    assert 0 < logs.size(logs.previous(log)) <= 100_000
    assert sorted(path.name for path in bench.home.logs.iterdir()) == ["server.log", "server.log.1"]
