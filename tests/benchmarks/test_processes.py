"""Processes of a benchmark: on their cores, and out of the way where they are to be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.serving.processes import Process, start

CORE = min(os.sched_getaffinity(0))
SOON = 30.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


@pytest.mark.parametrize(("yields", "policy"), [(True, os.SCHED_IDLE), (False, os.SCHED_OTHER)])
def test_a_process_that_yields_does_so_to_those_of_our_own_session(tmp_path: Path, yields: bool, policy: int) -> None:
    process: Process = start(["sleep", "60"], cores=(CORE,), log=tmp_path / "log", yields=yields)
    try:
        pid = process.child.pid
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        assert os.sched_getscheduler(pid) == policy
        assert os.sched_getaffinity(pid) == {CORE}
        # The kernel shares a core out among sessions first: to another one's processes nobody yields.
        assert os.getsid(pid) == os.getsid(0)
        assert os.getpgid(pid) != os.getpgid(0), "what a terminal sends to us is not for it"
    finally:
        process.stop()
    assert process.has_ended()
