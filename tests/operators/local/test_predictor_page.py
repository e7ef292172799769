"""What the page about the predictor alone says to type works as it stands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "predictor.md").read_text()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[tuple[str, list[str]]]:
    """(command, lines that it prints) of the console blocks."""
    found = []
    for part in re.split(r"^\$ ", "".join(blocks("console", text)), flags=re.MULTILINE)[1:]:
        command, *printed = part.splitlines()
        found.append((command, printed))
    return found


class Terminal:
    """A folder where commands are typed; port 8080 of the page is another here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.serving: subprocess.Popen[str] | None = None

    def start(self, command: str) -> subprocess.Popen[str]:
        text = command.replace("seamark serve ", f"exec seamark serve --port {self.port} ").replace(
            ":8080", f":{self.port}"
        )
        return subprocess.Popen(
            ["/bin/bash", "-c", text],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def type(self, command: str) -> str:
        """What it prints, on either output."""
        done = self.start(command)
        output, errors = done.communicate(timeout=60)
        assert done.returncode == 0, errors
        return errors + output

    def serve(self, command: str) -> list[str]:
        """The lines that it prints once it is ready, until there is a request."""
        self.serving = self.start(command)
        assert self.serving.stdout is not None
        lines = [self.serving.stdout.readline().rstrip("\n") for _ in range(2)]
        return [line.replace(f":{self.port}", ":8080") for line in lines]

    def interrupt(self) -> None:
        assert self.serving is not None
        self.serving.send_signal(signal.SIGINT)
        _, errors = self.serving.communicate(timeout=30)
        assert (self.serving.returncode, "Traceback" in errors) == (0, False)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    if made.serving is not None and made.serving.poll() is None:
        made.serving.kill()
        made.serving.communicate()


def steady(line: str) -> str:
    """Without what differs from run to run."""
    return re.sub(r"[0-9.]+(e-[0-9]+)?( µs| ms| times| at most)|digest .*", "#", line)


def test_the_page_works_from_top_to_bottom(terminal: Terminal) -> None:
    (script,) = blocks("python", PAGE)
    (terminal.folder / "train.py").write_text(script)
    (train, _), (serve, served) = commands(section("Serve a model you have"))
    terminal.type(train)
    assert terminal.serve(serve) == served
    assert '{"predictions":["' in terminal.type(served[-1])
    terminal.interrupt()
    (package, packaged), (serve, served) = commands(section("Make a package of it"))
    assert [steady(line) for line in terminal.type(package).splitlines()] == [steady(line) for line in packaged]
    assert terminal.serve(serve) == served
    assert '{"predictions":["' in terminal.type(served[-1])
    for line in blocks("", section("Ask it"))[0].splitlines():
        assert '"error"' not in terminal.type(line), line
    terminal.interrupt()
