"""The README's quick start works as printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def commands() -> list[tuple[str, str]]:
    """(command, what it prints) of the quick start's console blocks, in order."""
    text = (ROOT / "README.md").read_text().split("## Run your own")[1].split("\n## ")[0]
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command.split("   #")[0].strip(), output.strip()))
    return found


def busy(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    return tmp_path


def test_the_printed_lines_print_what_is_printed(checkout: Path) -> None:
    if busy(8080):
        pytest.skip("port 8080 is taken on this machine, and the README names it")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    platform: subprocess.Popen[bytes] | None = None
    ran = []
    try:
        for command, printed in commands():
            if command.startswith("make "):
                continue
            if command.startswith("seamark up"):
                platform = subprocess.Popen(command.split(), cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
                _wait_for_the_model()
                continue
            ran.append(command.split()[0])
            _prints(lambda command=command: run(command), command, printed)
    finally:
        if platform:
            platform.terminate()
            assert platform.wait(timeout=30) == 0
    assert ran.count("curl") >= 5


def _wait_for_the_model() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen("http://localhost:8080/v2/models/iris/ready", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the model was not ready within 60 s")


def _prints(run: Callable[[], subprocess.CompletedProcess[str]], command: str, printed: str) -> None:
    """Counters and evidence are refreshed every few seconds, so a line may need a second look."""
    deadline = time.monotonic() + 15
    while True:
        done = run()
        if done.returncode == 0 and _is_met(printed, done.stdout):
            return
        assert time.monotonic() < deadline, f"{command} printed {done.stdout[:300]!r} {done.stderr[:300]!r}"
        time.sleep(0.5)


def _is_met(printed: str, got: str) -> bool:
    """Printed output is met up to its first `...`; JSON up to white space."""
    wanted = printed.split("...")[0].strip()
    if not wanted.startswith("{") or "..." in printed:
        return got.strip().startswith(wanted)
    try:
        return bool(json.loads(got) == json.loads(wanted))
    except ValueError:
        return False
