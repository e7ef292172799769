"""A test can kill the operator at a named point: every time, or once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from seamark_kubernetes import fault


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "_exit", lambda status: None)
    monkeypatch.setattr(os, "kill", lambda process, number: found.append((process, number)))
    return found


ME = (os.getpid(), signal.SIGKILL)


def test_the_environment_kills_every_time(monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]]) -> None:
    monkeypatch.setenv("SEAMARK_FAULT", "route:after:kill")
    for name in ("route:before", "route:after", "route:after", "serve:after"):
        fault.point(name)
    assert kills == [ME, ME]


def test_a_line_of_the_file_kills_once(
    monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]], tmp_path: Path
) -> None:
    file = tmp_path / "fault"
    file.write_text("commit:before:kill\ntell:after:kill\n")
    monkeypatch.setenv("SEAMARK_FAULT_FILE", str(file))
    for name in ("commit:before", "commit:before", "commit:after"):
        fault.point(name)
    assert kills == [ME]
    assert file.read_text() == "tell:after:kill"


def test_without_either_nothing_dies(
    monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]], tmp_path: Path
) -> None:
    monkeypatch.delenv("SEAMARK_FAULT", raising=False)
    for file in ("", str(tmp_path / "missing")):
        monkeypatch.setenv("SEAMARK_FAULT_FILE", file)
        for name in fault.points():
            fault.point(name)
    assert kills == []
