"""`seamark serve` becomes a predictor, and says when it is ready with a request that was tried."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from seamark import profile
from seamark.errors import UserError
from seamark.package import Feature, Schema
from seamark_local.cli import app
from seamark_local.model_name import model_name
from seamark_local.serving import Options, command, models_of

#: A predictor's manners with answers that a test gives: a JSON file of path -> [status, document]; what is asked of a
#: path that is not there is 404. It writes down what it is told and asked.
STAND_IN = """
import http.server, json, os, signal, sys
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
told = json.load(open(os.environ["STAND_IN"]))
print("predictor", os.getpid(), json.dumps(sys.argv[1:]), file=sys.stderr, flush=True)
if told["fails"]:
    sys.exit("Cannot open m: it does not exist")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        print("asked", self.path, body, file=sys.stderr, flush=True)
        status, document = told["answers"].get(f"{self.path} {body}".strip(), told["answers"].get(self.path, [404, {}]))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())
    do_POST = do_GET
    def log_message(self, *_):
        pass
port = int(next(word for word in sys.argv if word.startswith("--port=")).partition("=")[2])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
PREDICT = "/v1/models/m:predict"


def metadata(*inputs: tuple[str, str, list[int]]) -> list[Any]:
    entries = [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in inputs]
    return [200, {"platform": "sklearn_skops", "inputs": entries}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Desk:
    """Runs the real command with a stand-in for the predictor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "seamark_predictor").mkdir()
        (folder / "seamark_predictor" / "__init__.py").touch()
        (folder / "seamark_predictor" / "__main__.py").write_text(STAND_IN)
        self._running: list[subprocess.Popen[str]] = []

    def serve(self, *arguments: str, fails: bool = False, **answers: Any) -> subprocess.Popen[str]:
        """answers: by path, ready by default."""
        told = {"fails": fails, "answers": {"/readyz": [200, {}], **answers}}
        (self.folder / "told.json").write_text(json.dumps(told))
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "STAND_IN": str(self.folder / "told.json")}
        started = subprocess.Popen(
            [sys.executable, "-m", "seamark_local.cli", "serve", "--port", str(self.port), *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._running.append(started)
        return started

    def said(self, started: subprocess.Popen[str], lines: int) -> list[str]:
        """So many lines of its standard output."""
        assert started.stdout is not None
        return [started.stdout.readline().rstrip("\n").replace(str(self.port), "PORT") for _ in range(lines)]

    def close(self) -> None:
        for started in self._running:
            if started.poll() is None:
                started.kill()
            started.communicate()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def interrupt(started: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Ctrl-C, as a terminal sends it to all that it shows; (exit status, what came yet on either output)."""
    os.killpg(started.pid, signal.SIGINT)
    output, errors = started.communicate(timeout=20)
    return started.returncode, output, errors


# --- what it prints


def test_a_made_up_row_is_printed_once_it_was_answered(desk: Desk) -> None:
    inputs = metadata(("age", "FP64", [-1, 1]), ("country", "BYTES", [-1, 1]), ("member", "BOOL", [-1, 1]))
    started = desk.serve("m.skops", **{"/v2/models/m": inputs, PREDICT: [200, {}]})
    head, line = desk.said(started, 2)
    assert head == "Serving m at http://127.0.0.1:PORT (sklearn_skops, 3 inputs). Try it:"
    words = shlex.split(line)
    assert words[:-1] == ["curl", "-s", "http://127.0.0.1:PORT/v1/models/m:predict", "-d"]
    assert json.loads(words[-1]) == {"instances": [[0, "", False]]}
    status, _, errors = interrupt(started)
    assert (status, "Traceback" in errors) == (0, False)
    assert f"asked {PREDICT} {words[-1]}\n" in errors


def test_a_row_that_is_refused_is_not_printed(desk: Desk) -> None:
    refused = f'{PREDICT} {{"instances": [[0]]}}'
    answers = {"/v2/models/m": metadata(("x", "FP64", [-1, 1])), refused: [422, {}], PREDICT: [200, {}]}
    _, line = desk.said(desk.serve("m.onnx", **answers), 2)
    assert json.loads(shlex.split(line)[-1]) == {"instances": [[1]]}


def test_where_no_row_works_there_is_still_an_address(desk: Desk) -> None:
    answers = {"/v2/models/m": metadata(("x", "FP64", [-1, 1])), PREDICT: [500, {}]}
    _, line = desk.said(desk.serve("m.onnx", **answers), 2)
    assert line == "  curl -s http://127.0.0.1:PORT/v2/models/m"


def test_free_tensors_are_asked_for_as_such(desk: Desk) -> None:
    inputs = metadata(("pixels", "FP32", [-1, 2, 2]), ("flag", "BOOL", [1]))
    answers = {"/v2/models/m": inputs, "/v2/models/m/infer": [200, {}]}
    _, line = desk.said(desk.serve("m.onnx", **answers), 2)
    assert json.loads(shlex.split(line)[-1])["inputs"] == [
        {"name": "pixels", "shape": [1, 2, 2], "datatype": "FP32", "data": [0, 0, 0, 0]},
        {"name": "flag", "shape": [1], "datatype": "BOOL", "data": [False]},
    ]


def test_an_input_of_millions_is_not_made_up(desk: Desk) -> None:
    answers = {"/v2/models/m": metadata(("pixels", "FP32", [-1, 3, 4000, 4000])), "/v2/models/m/infer": [200, {}]}
    _, line = desk.said(desk.serve("m.onnx", **answers), 2)
    assert line.endswith("/v2/models/m")


def make_package(folder: Path, features: int) -> None:
    schema = Schema("regression", tuple(Feature(f"f{i}") for i in range(features)))
    numbers = np.tile(np.linspace(0, 10, 101).reshape(-1, 1), features)
    folder.mkdir()
    built = profile.build(schema, numbers, [], np.zeros((101, 1)), None)
    (folder / "profile.json").write_bytes(built.to_json())
    (folder / "seamark.json").write_text(json.dumps({"name": "m"}))


def test_a_packages_row_is_the_most_ordinary_of_its_profile(desk: Desk) -> None:
    make_package(desk.folder / "v1", 2)
    _, line = desk.said(desk.serve("v1", **{PREDICT: [200, {}]}), 2)
    assert json.loads(shlex.split(line)[-1]) == {"instances": [[5.0, 5.0]]}


def test_a_long_row_goes_to_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(desk.folder))
    make_package(desk.folder / "v1", 500)
    _, line = desk.said(desk.serve("v1", **{PREDICT: [200, {}]}), 2)
    file = Path(shlex.split(line)[-1].removeprefix("@"))
    assert file.parent == desk.folder
    assert json.loads(file.read_text()) == {"instances": [[5.0] * 500]}


def test_every_model_gets_a_line_and_so_do_grpc_and_the_pages(desk: Desk) -> None:
    one = metadata(("x", "FP64", [-1, 1]))
    answers = {f"/v2/models/{name}": one for name in "ab"}
    answers |= {f"/v1/models/{name}:predict": [200, {}] for name in "ab"}
    grpc = str(free_port())
    started = desk.serve("--model", "a=x", "--model", "b=y", "--grpc-port", grpc, **answers, **{"/docs": [200, {}]})
    lines = desk.said(started, 6)
    assert [line.split()[1] for line in lines[:4:2]] == ["a", "b"]
    assert lines[4:] == [f"gRPC: 127.0.0.1:{grpc}", "All it answers: http://127.0.0.1:PORT/docs"]


# --- how it begins and ends


def test_the_process_is_the_predictor_with_nobody_beside_it(desk: Desk) -> None:
    started = desk.serve("v1", "--trust-pickle", "--workers", "2", "--", "--contract", "reject")
    desk.said(started, 2)
    status, output, errors = interrupt(started)
    first = errors.splitlines()[0].split(" ", 2)
    assert first[:2] == ["predictor", str(started.pid)]
    words = f"--name=v1 --package=v1 --host=127.0.0.1 --port={desk.port} --workers=2 --trust-pickle --contract reject"
    assert json.loads(first[2]) == words.split()
    assert (status, output) == (0, "")


def test_ctrl_c_before_it_is_ready_ends_it_without_a_word(desk: Desk) -> None:
    started = desk.serve("m.onnx", **{"/readyz": [503, {}]})
    assert started.stderr is not None
    while "asked /readyz" not in started.stderr.readline():
        pass
    status, output, errors = interrupt(started)
    assert (status, output, "Traceback" in errors) == (0, "", False)


def test_a_predictor_that_does_not_start_has_the_last_word(desk: Desk) -> None:
    started = desk.serve("m", fails=True)
    output, errors = started.communicate(timeout=20)
    assert (started.returncode, output) == (1, "")
    assert errors.splitlines()[1:] == ["Cannot open m: it does not exist"]


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_that_is_taken_is_said_and_nobody_elses_model_is_announced(desk: Desk, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["serve", "m", "--port", str(desk.port), option, str(port)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"Cannot listen on 127.0.0.1:{port}: address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Cannot serve: give either PACKAGE_OR_MODEL or --model NAME=MODEL, once or several times"),
        (["a", "--model", "b=c"], "Cannot serve: give either PACKAGE_OR_MODEL or --model NAME=MODEL"),
        (["--model", "a=b", "--name", "c"], "Cannot use --name with --model: it names its model itself"),
        (["--model", "a"], "Cannot use --model 'a': NAME=MODEL is needed"),
        (["--model", "a="], "Cannot use --model 'a=': NAME=MODEL is needed"),
        (["--model", "a=b", "--model", "a=c"], "Cannot use --model 'a=c': two models have the name a"),
        (["--model", "a b=c"], "Cannot use the name 'a b': 1 to 128 letters, digits, dots, hyphens and underscores"),
        (["a", "--name", ""], "Cannot use the name ''"),
        (["a", "b"], "Cannot serve 'b' as well: several models are named by --model NAME=MODEL"),
    ],
)
def test_a_wrong_command_line_is_said(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_options_become_the_predictors() -> None:
    options = Options((("a", "x"), ("b", "s3://y=z")), "::1", 1, 2, "auto", trust_pickle=False, more=("--cache", "9"))
    expected = "--model=a=x --model=b=s3://y=z --host=::1 --port=1 --grpc-port=2 --workers=auto --cache 9"
    assert command(options)[1:] == ["-m", "seamark_predictor", *expected.split()]


# --- names


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("Churn Model_v2.skops", "churn-model-v2"),
        ("/models/churn.onnx", "churn"),
        ("model.joblib", "model"),
        ("models:/churn/3", "churn"),
        ("models:/Churn@champion", "churn"),
        ("s3://bucket/models/churn.tar.gz", "churn"),
        ("s3://bucket/models/churn/", "churn"),
        ("https://example.org/a%20b.onnx?token=1", "a-b"),
        ("/", "model"),
        ("é", "model"),
    ],
)
def test_a_model_without_a_name_gets_its_files(source: str, name: str) -> None:
    assert model_name(source) == name
    assert models_of(source, None, []) == ((name, source),)


def test_a_package_has_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "seamark.json").write_text(json.dumps({"name": "Fraud Check"}))
    assert model_name(str(tmp_path)) == model_name(tmp_path.as_uri()) == "fraud-check"
    (tmp_path / "seamark.json").write_text("[]")
    assert model_name(str(tmp_path)) == model_name(tmp_path.name)


@given(st.text())
def test_a_made_name_is_always_one_that_may_be_given(source: str) -> None:
    try:
        ((name, _),) = models_of(source, None, [])
    except (ValueError, UserError) as error:
        raise AssertionError(f"{source!r} makes no name") from error
    assert models_of(source, name, []) == ((name, source),)
