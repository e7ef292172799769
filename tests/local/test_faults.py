"""The main job goes on when its parts are killed or its disk is full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from seamark_local import fault

Up = Callable[[dict[str, Any]], Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


# --- a platform with nothing to decide


def test_killing_any_child_fails_no_request_and_loses_no_acknowledged_row(steady: Any) -> None:
    """With two replicas every process but the gateway dies once under load; then all rows are in the log, once."""
    traffic = steady.traffic(rate=40)
    steady.await_answers(traffic, 40)
    statuses = steady.store.statuses()
    names = [name for name, status in statuses.items() if status.phase == "ready" and name != "gateway"]
    assert len(names) >= 6
    for name in names:
        steady.kill(name)
    traffic.stop()

    assert steady.failures(traffic) == []
    ids = steady.answered(traffic)
    # a killed predictor or monitor takes the few rows with it that were still between the two
    steady.until(lambda: len(steady.logged("predictions").keys() & ids) >= 0.97 * len(ids), 30)
    rows = steady.logged("predictions")
    assert [row for row, count in rows.items() if count > 1] == []
    assert set(rows) <= ids


def test_a_killed_collector_costs_not_one_row(steady: Any) -> None:
    """Rows wait on disk while the collector is away."""
    traffic = steady.traffic(rate=40)
    for _ in range(2):
        steady.await_answers(traffic, 30)
        steady.kill("collector")
    traffic.stop()
    ids = steady.answered(traffic)
    steady.until(lambda: set(steady.logged("predictions")) >= ids, 30)
    assert max(steady.logged("predictions").values()) == 1


def test_a_killed_gateway_is_back_in_a_moment(steady: Any) -> None:
    began = time.monotonic()
    steady.kill("gateway")
    traffic = steady.traffic(rate=40)
    steady.await_answers(traffic, 20)
    assert time.monotonic() - began < 10
    traffic.stop()
    assert steady.failures(traffic) == []


def feedback(running: Any, label_of: str) -> tuple[int, dict[str, Any]]:
    """Posts one label through the gateway; returns the status and the answer."""
    url = f"http://{running.platform.host}:{running.platform.port}/v1/feedback"
    body = {"deployment": "scanner", "labels": [{"prediction_id": label_of, "label": "benign"}]}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextmanager
def full_disk(home: Path) -> Iterator[None]:
    """Not one byte is free on the home's disk."""
    ballast = home / "ballast"
    with ballast.open("wb", buffering=0) as file:
        piece = 2**20
        while piece:
            try:
                file.write(bytes(piece))
            except OSError:
                piece //= 2
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def tables_in_the_way(home: Path) -> Iterator[None]:
    """The tables cannot be written: what should be folders are files."""
    kinds = [home / "data" / kind for kind in ("predictions", "labels")]
    for kind in kinds:
        kind.rename(kind.with_name(f".{kind.name}"))
        kind.touch()
    try:
        yield
    finally:
        for kind in kinds:
            kind.unlink()
            kind.with_name(f".{kind.name}").rename(kind)


def refuses_labels(running: Any, label_of: str) -> bool:
    status, answer = feedback(running, label_of)
    if status == 200:
        return False
    assert (status, answer) == (503, {"error": "Cannot store now: the log cannot be written; /readyz says why"})
    return True


def test_a_log_that_cannot_be_written_stops_no_answer_and_loses_nothing(steady: Any) -> None:
    """Predictions wait in the monitors' spools, labels are refused with a 503; afterwards all is there, once."""
    assert feedback(steady, "before") == (200, {"stored": 1})
    traffic = steady.traffic(rate=40)
    steady.await_answers(traffic, 20)
    with tables_in_the_way(steady.home):
        steady.until(lambda: refuses_labels(steady, "meanwhile"), 10)
        steady.await_answers(traffic, 60)
    steady.until(lambda: not refuses_labels(steady, "after"), 20)
    traffic.stop()

    assert steady.failures(traffic) == []
    ids = steady.answered(traffic)
    steady.until(lambda: set(steady.logged("predictions")) >= ids, 30)
    assert max(steady.logged("predictions").values()) == 1
    labels = steady.logged("labels")
    assert (labels["before"], labels["after"]) == (1, 1)


def dropped(running: Any) -> float:
    """Predictions that the monitors counted as dropped because the disk refused them."""
    url = f"http://{running.platform.host}:{running.platform.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if "dropped_total{" in line and 'reason="disk"' in line)


def test_a_full_disk_stops_no_answer_and_what_it_costs_is_counted(
    steady: Any, processes_of: Callable[[Path], list[psutil.Process]]
) -> None:
    """State, spools, log and log files have no room; a predictor that dies then comes back all the same."""
    if not steady.home.is_mount():
        pytest.skip("this user may not mount a disk")
    before = dropped(steady)
    traffic = steady.traffic(rate=40)
    steady.await_answers(traffic, 20)
    victims = [psutil.Process(steady.pid(name)) for name in ("operator", f"predictor-{steady.champion}-0")]
    command = victims[1].cmdline()
    with full_disk(steady.home):
        steady.until(lambda: refuses_labels(steady, "on-a-full-disk"), 10)
        for victim in victims:
            victim.kill()
        # what runs cannot be read from the store: it is on the full disk, too
        steady.until(lambda: [p for p in processes_of(steady.home) if p.cmdline() == command and p != victims[1]], 20)
        steady.await_answers(traffic, 80)
    steady.until(lambda: not refuses_labels(steady, "after-a-full-disk"), 20)
    traffic.stop()

    def all_run_again() -> bool:
        statuses = steady.store.statuses().values()
        old = {victim.pid for victim in victims}
        return all(status.phase == "ready" and status.pid not in old for status in statuses)

    def unaccounted() -> float:
        rows = steady.logged("predictions")
        assert max(rows.values()) == 1
        return len(ids) - len(rows.keys() & ids) - (dropped(steady) - before)

    ids = steady.answered(traffic)
    steady.until(all_run_again, 40)
    # a killed predictor takes the few rows with it that its monitor has not got yet
    steady.until(lambda: 0 <= unaccounted() <= 5, 20)
    assert dropped(steady) > before
    assert steady.failures(traffic) == []


def test_a_second_up_is_refused_and_disturbs_nothing(steady: Any) -> None:
    pids = {name: status.pid for name, status in steady.store.statuses().items()}
    command = [sys.executable, "-m", "seamark_local.cli", "up", "--home", str(steady.home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    supervisor = steady.store.fact("supervisor")["pid"]
    expected = f"Cannot start: Seamark is already running in {steady.home} (pid {supervisor})\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
    assert {name: status.pid for name, status in steady.store.statuses().items()} == pids


def test_killing_the_supervisor_leaves_no_orphan_and_up_again_resumes(
    steady: Any, processes_of: Callable[[Path], list[psutil.Process]]
) -> None:
    assert len(processes_of(steady.home)) >= 9
    os.kill(steady.store.fact("supervisor")["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while left := processes_of(steady.home):
        assert time.monotonic() < deadline, f"outlived the supervisor: {left}"
        time.sleep(0.05)
    steady.platform.stop()

    steady.platform.start(steady.document)
    traffic = steady.traffic(rate=20)
    steady.await_answers(traffic, 20)
    traffic.stop()
    assert len(steady.events("Deployed")) == 1


# --- a platform that decides


def test_the_operator_killed_at_every_step_of_a_rollout_and_a_retraining_resumes(
    up: Up, manifest: dict[str, Any], packages: Path
) -> None:
    """Before and after each action and each commit the operator dies; the story comes out the same, once."""
    running = up(manifest)
    traffic = running.traffic(rate=60)
    faults = running.home / "fault"
    points = {f"{point}:{when}:kill" for point in fault.POINTS for when in ("before", "after")}
    others = {point for point in points if point.startswith(("stop_retraining", "roll_back", "retire"))}
    faults.write_text("\n".join(points - others))

    manifest["spec"]["model"]["uri"] = str(packages / "v2")
    manifest["spec"]["retraining"] = {"triggers": [{"newLabels": 200}], "cooldown": "10m", "minLabels": 100}
    running.platform.apply(manifest)
    running.until(lambda: len(running.events("Promoted")) == 2, 150)
    traffic.stop()

    assert faults.read_text() == ""
    assert running.failures(traffic) == []
    jobs = [name for name in running.store.statuses() if "retrain" in name]
    assert jobs == ["trainer-scanner-retrain-1"]
    kinds = Counter(event["kind"] for event in running.store.events())
    assert kinds["RetrainingStarted"] == kinds["RetrainingFinished"] == 1
    assert kinds["Promoted"] == kinds["ShadowStarted"] == 2
    assert kinds["RolledBack"] == 0
    assert [event["evidence"]["weight"] for event in running.events("WeightChanged")] == [20, 100, 20, 100]
