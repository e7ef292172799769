"""A real server for the clients: two packages and two bare models, over HTTP and gRPC.

`SEAMARK_PYTHON` names the interpreter that has the server; by default the repository's own environment.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PYTHON = os.environ.get("SEAMARK_PYTHON") or str(HERE.parent.parent / ".venv/bin/python")
MODELS = {"cancer": "cancer", "mixed": "mixed", "free": "free.onnx", "half": "half.onnx"}

# In the environment of all other tests there are no clients.
collect_ignore_glob = [] if find_spec("kserve") else ["test_*.py"]


@dataclass(frozen=True)
class Site:
    """http, grpc: `host:port`. expected: inputs and right answers by model."""

    http: str
    grpc: str
    expected: dict[str, Any]

    @property
    def url(self) -> str:
        return f"http://{self.http}"


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_ready(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError("the server was not ready within 60 s")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("models")
    subprocess.run([PYTHON, str(HERE / "models.py"), str(root)], check=True, timeout=120)
    http, grpc = free_ports(2)
    command = [PYTHON, "-m", "seamark_predictor", "--port", str(http), "--grpc-port", str(grpc)]
    for name, path in MODELS.items():
        command += ["--model", f"{name}={root / path}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_ready(f"http://127.0.0.1:{http}", process)
        yield Site(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", json.loads((root / "expected.json").read_text()))
    finally:
        process.terminate()
        errors = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert "prediction_failed" not in errors, errors
