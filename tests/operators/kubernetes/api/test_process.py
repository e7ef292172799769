"""The whole process against an API server of plain HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from seamark_kubernetes.api import MODEL_DEPLOYMENT, STATE

OPTIONS = ["--predictor-image=p", "--monitor-image=m", "--trainer-image=t", "--analyzer=http://127.0.0.1:9"]
MANIFEST = {"metadata": {"name": "m"}, "spec": {"model": {"uri": "pvc://claim/path"}}}


def command(*options):
    return [sys.executable, "-m", "seamark_kubernetes", *OPTIONS, *options]


class Operator:
    def __init__(self, api_server, log) -> None:
        self.log = log
        environment = os.environ | {"KUBECONFIG": str(api_server.kubeconfig)}
        with log.open("w") as file:
            self.process = subprocess.Popen(command("--port=0"), env=environment, stdout=file, stderr=file)

    def wait_for(self, pattern):
        for _ in range(600):
            if found := re.search(pattern, self.log.read_text()):
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def get(self, path):
        port = self.wait_for(r"event=listening port=(\d+)")[1]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def operator(api_server, tmp_path):
    made = []

    def start():
        made.append(Operator(api_server, tmp_path / f"log{len(made)}"))
        return made[-1]

    yield start
    for found in made:
        found.process.kill()
        found.process.wait()


def test_it_starts_takes_turns_and_ends_in_order(api_server, operator):
    api = api_server.server.api
    found = operator()
    found.wait_for("event=ready deployments=0")
    assert found.get("/readyz")[0] == 200
    assert found.get("/healthz")[0] == 200
    api_server.do(api.create(MODEL_DEPLOYMENT, "shop", MANIFEST))
    for _ in range(400):
        if api_server.call(api.all, STATE):
            break
        time.sleep(0.05)
    assert [document["metadata"]["name"] for document in api_server.call(api.all, STATE)] == ["m"]
    assert "finalizers" not in api_server.call(api.all, MODEL_DEPLOYMENT)[0]["metadata"]
    assert json.loads(found.get("/v1/watch")[1])["models"]
    assert re.search(r'api_calls_total\{verb="list"\} [1-9]', found.get("/metrics")[1])
    assert found.stop() == 0
    assert "event=stopped" in found.log.read_text()
    assert "Traceback" not in found.log.read_text()


def test_it_takes_no_turn_before_everything_is_known(api_server, operator):
    api = api_server.server.api
    api_server.do(api.create(MODEL_DEPLOYMENT, "shop", MANIFEST))
    api_server.server.refused = "first"
    found = operator()
    found.wait_for("event=watch_failed")
    status, body = found.get("/readyz")
    assert status == 503
    assert "waiting for httproutes, inferenceservices, jobs" in body
    assert found.get("/healthz")[0] == 200
    assert api_server.call(api.all, STATE) == []
    assert found.stop() == 0


def test_a_taken_port_is_one_line_and_exit_status_2(api_server):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(command(f"--port={port}"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"Cannot listen on port {port}: address already in use\n"


def test_without_a_cluster_it_is_one_line_and_exit_status_2(tmp_path):
    environment = os.environ | {"KUBECONFIG": str(tmp_path / "no")}
    done = subprocess.run(command(), env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("Cannot connect to Kubernetes: no service account, and no usable KUBECONFIG: ")
    assert done.stderr.count("\n") == 1


def test_help_answers_without_loading_what_is_heavy():
    code = (
        "import sys\n"
        "from seamark_kubernetes.__main__ import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print(sorted({'kopf', 'lightkube', 'aiohttp', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--watch-namespace" in done.stdout
