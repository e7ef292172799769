"""The `seamark` command: what it prints, how it ends, and that a mistake starts nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from seamark import profile
from seamark.actions import Notify
from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.seen import Command
from seamark.state import Revision, State
from seamark_local import machine
from seamark_local.cli import app
from seamark_local.home import make_home
from seamark_local.lock import hold, holder
from seamark_local.store import Process, Status, Store

T = TypeVar("T")

#: The real command with stand-ins for the services: a server as the gateway, and a process that only runs.
GATEWAY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STAND_IN = f"""
import sys
from seamark_local import up
from seamark_local.cli import app
from seamark_local.store import Process
port = sys.argv[sys.argv.index("--port") + 1]
up.fixed_processes = lambda home, admin: (
    Process("gateway", (sys.executable, "-c", {GATEWAY!r}, port), port=int(port), ready="/ready"),
    Process("operator", (sys.executable, "-c", "import time; time.sleep(300)")),
)
app()
"""


def until(ask: Callable[[], T | None], seconds: float = 20.0) -> T:
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def make_package(folder: Path) -> None:
    """A package whose files fit together; its model is never loaded here."""
    folder.mkdir()
    schema = Schema("binary", (Feature("age"), Feature("country", "category")), ("no", "yes"))
    outputs = np.column_stack([np.zeros(20), np.linspace(0, 1, 20)])
    built = profile.build(schema, np.arange(20.0).reshape(-1, 1), [["de"] * 15 + ["fr"] * 5], outputs, np.zeros(20))
    files = {"model.onnx": b"not loaded here", "profile.json": built.to_json()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    model = ModelFile("model.onnx", "onnx", digests["model.onnx"])
    files["seamark.json"] = Manifest("churn", "v1", model, schema, digests["profile.json"]).to_json()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def manifest(name: str = "churn", uri: str = "model", more: str = "") -> str:
    return (
        f"apiVersion: seamark.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: {name}}}\n"
        f"spec:\n  model: {{uri: '{uri}'}}\n{more}"
    )


class Desk:
    """A folder with a model package and a manifest, where commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".seamark"
        self.port = free_port()
        make_package(folder / "model")
        (folder / "churn.yaml").write_text(manifest())
        self._running: list[subprocess.Popen[str]] = []
        self._environment = {**os.environ, "COLUMNS": "100"}

    def run(self, *arguments: str) -> Result:
        """In this process, which has it all imported; the current folder is the desk's."""
        return CliRunner(env=self._environment).invoke(app, arguments)

    def up(self, *arguments: str) -> subprocess.Popen[str]:
        """`seamark up` with stand-ins; returns once it holds the home."""
        command = [sys.executable, "-c", STAND_IN, "up", "--port", str(self.port), *arguments]
        with (self.folder / "up.out").open("a") as output:
            started = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        self._running.append(started)
        until(lambda: self.home.exists() and holder(self.home / "lock") == started.pid)
        return started

    def said(self) -> str:
        return (self.folder / "up.out").read_text()

    def watch(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on until Ctrl-C, which it must feel although a test may run in the background."""
        following = subprocess.Popen(
            [sys.executable, "-m", "seamark_local.cli", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._running.append(following)
        return following

    def store(self) -> Store:
        return Store(make_home(self.home).database)

    def pids(self) -> list[int]:
        """The gateway's and the operator's, once both run."""
        store = self.store()

        def both() -> list[int] | None:
            found = [status.pid for status in store.statuses().values() if status.phase == "ready"]
            return found if len(found) == 2 else None

        try:
            return until(both)
        finally:
            store.close()

    def close(self) -> None:
        for started in self._running:
            if started.poll() is None:
                started.terminate()
            started.communicate(timeout=20)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    made = Desk(tmp_path)
    yield made
    made.close()


def refused(done: Result) -> str:
    """The one line that a command which refused said."""
    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


# --- help and start-up

SLOW = "{'sklearn', 'deltalake', 'onnxruntime', 'httpx', 'numpy', 'yaml', 'rich', 'sqlite3', 'asyncio'}"


def test_help_imports_nothing_slow_and_opens_with_examples() -> None:
    code = (
        "import sys; from seamark_local.cli import app\n"
        "try: app(['--help'])\n"
        f"finally: print('slow:', sorted({SLOW} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "slow: []\n"
    assert done.returncode == 0
    assert done.stdout.index("seamark up -f churn.yaml") < done.stdout.index("Commands:")


def test_every_command_has_help_of_one_short_line() -> None:
    done = CliRunner().invoke(app, ["--help"])
    commands = done.stdout.split("Commands:\n")[1].splitlines()
    assert len(commands) >= 14
    assert [line for line in commands if not line.endswith(".") or line.endswith("...")] == []


def test_version_is_printed(desk: Desk) -> None:
    assert re.fullmatch(r"seamark \d+\.\d+\.\d+\n", desk.run("version").stdout)
    assert desk.run("--version").stdout == desk.run("version").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["events"],
        ["logs"],
        ["down"],
        ["delete", "x"],
        ["promote", "x"],
        ["plan", "x"],
        ["history", "x"],
        ["up"],
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_home_says_how_to_make_one(desk: Desk, arguments: list[str]) -> None:
    expected = "Cannot find a Seamark home in nowhere: run seamark up -f FILE.yaml first, or name another with --home"
    assert refused(desk.run(*arguments, "--home", "nowhere")) == expected
    assert not (desk.folder / "nowhere").exists()


# --- mistakes in manifests

MISTAKES = [
    pytest.param(
        manifest() + "---\n" + manifest("other", more="  rollout: {steps: [{weight: 140}]}"),
        "churn.yaml: document 2: spec.rollout.steps[0].weight: 140 is not between 0 and 100",
        id="a wrong value in the second document",
    ),
    pytest.param(
        manifest(more="  servings: {}"),
        "churn.yaml: document 1: spec.servings: unknown field; allowed here: governance, model, monitoring, "
        "retraining, rollout, serving",
        id="an unknown field",
    ),
    pytest.param(
        "a: [1\n", "Cannot read churn.yaml: line 2: expected ',' or ']', but got '<stream end>'", id="no YAML"
    ),
    pytest.param("", "Cannot read churn.yaml: it holds no manifest", id="an empty file"),
    pytest.param(
        manifest() + "---\n" + manifest(),
        "churn.yaml: document 2: metadata.name: 'churn' is also in churn.yaml: document 1; names are used once",
        id="one name twice",
    ),
    pytest.param(
        manifest(uri="gone"),
        "churn.yaml: document 1: spec.model.uri: Cannot read model package {folder}/gone: there is no such folder",
        id="a model that is not there",
    ),
]


@pytest.mark.parametrize("command", ["up", "apply"])
@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_in_a_manifest_is_one_line_and_starts_nothing(
    desk: Desk, command: str, text: str, message: str
) -> None:
    (desk.folder / "churn.yaml").write_text(text)
    assert refused(desk.run(command, "-f", "churn.yaml")) == message.replace("{folder}", str(desk.folder))
    assert not desk.home.exists()


def test_a_missing_file_is_one_line(desk: Desk) -> None:
    assert refused(desk.run("up", "-f", "gone.yaml")) == "Cannot read gone.yaml: No such file or directory"


# --- apply and delete


def test_apply_says_what_became_of_each_manifest(desk: Desk) -> None:
    assert desk.run("apply", "-f", "churn.yaml").stdout == "churn created\n"
    assert desk.run("apply", "-f", "churn.yaml").stdout == "churn unchanged\n"
    (desk.folder / "churn.yaml").write_text(manifest(more="  serving: {replicas: 2}\n") + "---\n" + manifest("other"))
    assert desk.run("apply", "-f", "churn.yaml").stdout == "churn configured\nother created\n"


@pytest.mark.parametrize("uri", ["model", "./model", "file:model", "file:./model"])
def test_a_relative_model_path_is_relative_to_its_manifest(
    desk: Desk, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.folder / "sub").mkdir()
    monkeypatch.chdir(desk.folder / "sub")
    (desk.folder / "churn.yaml").write_text(manifest(uri=uri))
    desk.run("apply", "-f", "../churn.yaml", "--home", "../.seamark")
    [stored] = desk.store().manifests()
    assert stored.document["spec"]["model"]["uri"] == str(desk.folder / "model")


def test_a_deleted_deployment_is_forgotten(desk: Desk) -> None:
    desk.run("apply", "-f", "churn.yaml")
    assert desk.run("delete", "churn").stdout == "churn deleted\n"
    assert desk.store().manifests() == []


# --- up and down


def test_up_runs_until_sigterm_and_leaves_nothing(desk: Desk) -> None:
    started = desk.up("-f", "churn.yaml")
    pids = desk.pids()
    store = desk.store()
    assert store.fact("gateway")["port"] == desk.port
    assert store.fact("supervisor")["pid"] == started.pid
    started.terminate()
    assert started.wait(timeout=15) == 0
    assert [pid for pid in pids if is_running(pid)] == []
    assert "Stopped" in desk.said()


def test_ctrl_c_ends_up_with_status_0_and_the_next_up_goes_on(desk: Desk) -> None:
    started = desk.up("-f", "churn.yaml")
    pids = desk.pids()
    started.send_signal(signal.SIGINT)
    assert started.wait(timeout=15) == 0
    assert [pid for pid in pids if is_running(pid)] == []
    desk.up()
    assert len(desk.pids()) == 2
    assert [stored.name for stored in desk.store().manifests()] == ["churn"]


def test_a_killed_up_leaves_nothing_and_no_lock(desk: Desk) -> None:
    started = desk.up("-f", "churn.yaml")
    pids = desk.pids()
    started.kill()
    started.wait()
    until(lambda: not any(is_running(pid) for pid in pids))
    assert desk.run("down").stdout == "Seamark is not running in .seamark\n"


def test_a_second_up_of_the_same_home_is_refused(desk: Desk) -> None:
    started = desk.up("-f", "churn.yaml")
    second = desk.run("up", "-f", "churn.yaml", "--port", str(free_port()))
    assert refused(second) == f"Cannot start: Seamark is already running in {desk.home} (pid {started.pid})"
    assert started.poll() is None


def test_a_taken_port_is_one_line_and_starts_nothing(desk: Desk) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(desk.run("up", "-f", "churn.yaml", "--port", str(port)))
    assert line == f"Cannot listen on 127.0.0.1:{port}: address already in use; choose another with --port"
    assert holder(desk.home / "lock") is None
    assert not (desk.home / "state.db").exists()


def test_up_without_files_and_manifests_says_so(desk: Desk) -> None:
    desk.store().close()
    line = refused(desk.run("up", "--port", str(desk.port)))
    assert line == "Cannot start: .seamark holds no manifest; give one with -f FILE.yaml"


def test_prune_deletes_what_no_file_names_and_only_prune_does(desk: Desk) -> None:
    store = desk.store()
    store.apply({"old": {}})
    started = desk.up("-f", "churn.yaml")
    until(lambda: [stored.name for stored in store.manifests()] == ["churn", "old"])
    started.terminate()
    started.wait(timeout=15)
    desk.up("-f", "churn.yaml", "--prune")
    until(lambda: [stored.name for stored in store.manifests()] == ["churn"])


def test_up_shows_events_problems_and_lines_to_paste(desk: Desk) -> None:
    desk.up("-f", "churn.yaml")
    until(lambda: "Seamark runs in .seamark" in desk.said())
    desk.pids()
    store = desk.store()
    failing = (sys.executable, "-c", "import sys; print('Cannot load it'); sys.exit(2)")
    store.desire([Process("predictor-x", failing, ready="/readyz")])
    until(lambda: "Problem            predictor-x: Cannot load it" in desk.said())
    assert "Ready" not in desk.said(), "the gateway answers, but nobody is the champion yet"
    digest = hashlib.sha256((desk.folder / "model" / "seamark.json").read_bytes()).hexdigest()
    shutil.copytree(desk.folder / "model", desk.home / "packages" / digest)
    champion = Revision("churn-1a2b3c4d", "/", digest, "spec", 1.0, phase="Champion")
    state = State((champion,), champion=champion.name)
    store.commit("churn", 1.0, state, [Notify("Deployed", champion.name, "First", "v1 answers users")])
    until(lambda: "Deployed           churn-1a2b3c4d  v1 answers users" in desk.said())
    until(lambda: f"curl -s http://127.0.0.1:{desk.port}/v1/models/churn/evidence" in desk.said())
    assert f"http://127.0.0.1:{desk.port}/v1/models/churn:predict -d" in desk.said()


def test_down_stops_a_running_home(desk: Desk) -> None:
    started = desk.up("-f", "churn.yaml")
    pids = desk.pids()
    done = desk.run("down")
    assert (done.exit_code, done.stdout) == (0, f"Stopped Seamark in .seamark (pid {started.pid})\n")
    assert [pid for pid in pids if is_running(pid)] == []
    assert started.wait(timeout=5) == 0


# --- people's decisions


@pytest.mark.parametrize("verb", ["promote", "abort", "pause", "resume", "approve"])
def test_a_persons_decision_is_stored_with_who_and_why(desk: Desk, verb: Any) -> None:
    desk.run("apply", "-f", "churn.yaml")
    done = desk.run(verb, "churn", "--reason", "looks good")
    assert done.exit_code == 0
    assert done.stdout.startswith("churn: ")
    assert "once seamark up runs again" in done.stdout
    [command] = desk.store().commands("churn", 0)
    assert command == Command(1, verb, command.by, "looks good")
    assert command.by


def test_a_decision_can_be_made_in_somebodys_name(desk: Desk) -> None:
    desk.run("apply", "-f", "churn.yaml")
    desk.run("pause", "churn", "--by", "ana")
    assert desk.store().commands("churn", 0) == (Command(1, "pause", "ana", ""),)


class Operator:
    """Answers the first command to `churn`, as long as the home's lock is held; `answer` is a refusal, or empty."""

    def __init__(self, desk: Desk, answer: str, message: str = "") -> None:
        self._store, self._said = desk.store(), {"answer": answer, "message": message}

    def obey(self) -> None:
        [command] = until(lambda: self._store.commands("churn", 0))
        self._store.commit("churn", 1.0, State(last_command=command.id, **self._said))


@pytest.mark.parametrize(
    ("verb", "answer", "message", "status", "said"),
    [
        ("promote", "", "", 0, "churn: the challenger will become the champion"),
        (
            "promote",
            "",
            "waiting for approval of churn-2: 0 of 1",
            0,
            "churn: the challenger will become the champion; waiting for approval of churn-2: 0 of 1",
        ),
        ("pause", "", "paused", 0, "churn: nothing will be decided until seamark resume; traffic stays as it is"),
        ("abort", "Cannot abort churn: no rollout is running", "", 2, "Cannot abort churn: no rollout is running"),
    ],
    ids=["obeyed", "obeyed, and something is waited for", "a pause needs no note", "refused"],
)
def test_a_running_operators_answer_is_shown(
    desk: Desk, verb: str, answer: str, message: str, status: int, said: str
) -> None:
    desk.run("apply", "-f", "churn.yaml")
    operator = Operator(desk, answer, message)
    with hold(desk.home / "lock"), ThreadPoolExecutor() as pool:
        done = pool.submit(desk.run, verb, "churn")
        operator.obey()
        result = done.result(20)
    assert (result.exit_code, result.output) == (status, said + "\n")


def test_an_operator_that_does_not_answer_is_not_waited_for_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ANSWER_PATIENCE", 0.1)
    desk.run("apply", "-f", "churn.yaml")
    with hold(desk.home / "lock"):
        done = desk.run("resume", "churn")
    assert (done.exit_code, done.stdout) == (
        0,
        "churn: rollout and retraining will go on; the operator has not answered yet, see seamark status\n",
    )


@pytest.mark.parametrize("verb", ["promote", "delete", "status", "events", "plan", "history"])
def test_an_unknown_deployment_is_refused_with_the_known_ones(desk: Desk, verb: str) -> None:
    desk.run("apply", "-f", "churn.yaml")
    assert refused(desk.run(verb, "chrun")) == "Cannot find chrun: no ModelDeployment has this name; known: churn"


# --- looking

SUMMARY = {
    "name": "churn",
    "namespace": "default",
    "ready": True,
    "phase": "Canary",
    "message": "",
    "step": "hold 4s of 20s at 10 %",
    "verdict": {"outcome": "Inconclusive", "reason": "FewRows", "message": "accuracy: 41 of 200 labels"},
    "retraining": "",
    "alarms": ["feature age"],
    "revisions": [
        {
            "name": "churn-1a2b3c4d",
            "version": "v1",
            "role": "champion",
            "phase": "Champion",
            "weight": 90,
            "mirror": 0,
            "ready": "1/1",
            "requests_per_second": 48.21,
            "error_rate": 0.001,
            "p99": 0.0042,
            "drift": {"score": 0.412, "threshold": 0.1, "feature": "age"},
            "quality": 0.953,
            "quality_rows": 812,
        },
        {
            "name": "churn-5e6f7a8b",
            "version": "v2",
            "role": "challenger",
            "phase": "Canary",
            "weight": 10,
            "mirror": 0,
            "ready": "1/1",
            "requests_per_second": None,
            "error_rate": None,
            "p99": None,
            "drift": None,
            "quality": None,
            "quality_rows": 0,
        },
    ],
}


@pytest.fixture
def watched(desk: Desk) -> Desk:
    """A home with one deployment in the middle of a rollout."""
    desk.run("apply", "-f", "churn.yaml")
    store = desk.store()
    store.commit("churn", 0.0, State(), [Notify("Promoted", "churn-1a2b3c4d", "Done", "all gates hold")], SUMMARY)
    store.report([Status("gateway", "backoff", restarts=3, message="no luck", log="x")])
    (desk.home / "log" / "gateway.log").write_text("".join(f"line {i}\n" for i in range(100)))
    return desk


def test_status_shows_a_rollout_within_100_columns(watched: Desk) -> None:
    shown = watched.run("status").stdout
    assert max(len(line) for line in shown.splitlines()) <= 100
    for words in (
        "Seamark is not running",
        "1a2b3c4d",
        "champion",
        "90 %",
        "48.2",
        "0.1 %",
        "4.2 ms",
        "0.41 > 0.10",
        "0.953",
        "812",
        "Inconclusive: accuracy: 41 of 200 labels",
        "hold 4s of 20s at 10 %",
        "feature age",
        "gateway: no luck",
    ):
        assert words in shown
    assert "\x1b" not in shown


def test_the_status_of_one_deployment_leaves_out_the_troubles_of_others(watched: Desk) -> None:
    watched.store().report(
        [Status(f"predictor-{name}-1a2b3c4d-0", "backoff", message="!") for name in ("churn", "other")]
    )
    shown = watched.run("status", "churn").stdout
    assert "gateway: no luck" in shown
    assert "predictor-churn-1a2b3c4d-0: !" in shown
    assert "predictor-other" not in shown
    assert "predictor-other" in watched.run("status").stdout


def test_status_for_machines_is_json_with_everything(watched: Desk) -> None:
    document = json.loads(watched.run("status", "churn", "--json").stdout)
    assert document["running"] is False
    assert document["deployments"] == [SUMMARY]
    assert document["processes"]["gateway"]["message"] == "no luck"


def test_a_deployment_nobody_looked_at_yet_is_shown_as_waiting(desk: Desk) -> None:
    desk.run("apply", "-f", "churn.yaml")
    assert "not looked at yet" in desk.run("status").stdout


def line_of(following: subprocess.Popen[str]) -> str:
    assert following.stdout
    return following.stdout.readline()


def interrupted(following: subprocess.Popen[str]) -> None:
    """Ctrl-C ends it quietly."""
    following.send_signal(signal.SIGINT)
    _, error = following.communicate(timeout=10)
    assert error.strip() in ("", "Aborted!")
    assert following.returncode == 130


def test_watch_shows_the_status_until_it_is_interrupted(watched: Desk) -> None:
    watching = watched.watch("status", "--watch")
    until(lambda: "champion" in line_of(watching))
    interrupted(watching)


def test_events_are_lines_or_json_lines(watched: Desk) -> None:
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d Promoted           churn-1a2b3c4d  all gates hold\n", watched.run("events", "churn").stdout
    )
    [event] = map(json.loads, watched.run("events", "--json").stdout.splitlines())
    assert (event["kind"], event["name"], event["reason"]) == ("Promoted", "churn", "Done")


def test_followed_events_come_as_they_happen(watched: Desk) -> None:
    following = watched.watch("events", "--follow")
    assert "all gates hold" in line_of(following)
    watched.store().commit("churn", 1.0, State(), [Notify("Alarm", "churn-1a2b3c4d", "Drift", "age drifts")])
    assert "age drifts" in line_of(following)
    interrupted(following)


def test_logs_lists_processes_and_shows_the_end_of_one(watched: Desk) -> None:
    listed = watched.run("logs").stdout
    assert "gateway" in listed
    assert "backoff" in listed
    assert watched.run("logs", "gateway", "-n", "2").stdout == "line 98\nline 99\n"
    line = refused(watched.run("logs", "gatway"))
    assert line == "Cannot show the log of gatway: no such process; known: gateway"


def test_followed_logs_go_on_after_the_log_was_emptied(watched: Desk) -> None:
    log = watched.home / "log" / "gateway.log"
    following = watched.watch("logs", "gateway", "-n", "1", "-f")
    assert line_of(following) == "line 99\n"
    with log.open("a") as file:
        file.write("more\n")
    assert line_of(following) == "more\n"
    log.write_text("anew\n")
    assert line_of(following) == "anew\n"
    interrupted(following)
