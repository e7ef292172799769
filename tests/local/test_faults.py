"""The main job goes on when its parts are killed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable

from seamark.log import table
from seamark_local import fault
from seamark_local.demo.story import failed
from seamark_local.demo.traffic import Traffic

Up = Callable[[dict[str, Any]], Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def logged(running: Any, kind: str) -> Counter[str]:
    """How often each prediction id is in a table of the log."""
    path = table(str(running.platform.home / "data"), kind, "default", "scanner")
    try:
        ids = DeltaTable(path).to_pyarrow_table(columns=["prediction_id"])["prediction_id"].to_pylist()
    except Exception:  # the table comes with its first batch
        return Counter()
    return Counter(ids)


def answered(traffic: Traffic) -> set[str]:
    return {answer.prediction_id for answer in traffic.since(0) if answer.status == 200}


def kill(running: Any, name: str) -> None:
    """kill -9, then wait until a new process answers in its place."""
    old = running.store.statuses()[name].pid
    os.kill(old, signal.SIGKILL)

    def replaced() -> bool:
        status = running.store.statuses().get(name)
        return status is not None and status.pid != old and status.phase == "ready"

    running.until(replaced, 30)


def test_killing_any_child_fails_no_request_and_loses_no_acknowledged_row(up: Up, manifest: dict[str, Any]) -> None:
    """With two replicas every process but the gateway dies once under load; then all rows are in the log, once."""
    manifest["spec"]["serving"] = {"replicas": 2}
    running = up(manifest)
    traffic = running.traffic(rate=40)
    running.until(lambda: len(traffic.since(0)) > 40)
    names = [name for name, status in running.store.statuses().items() if status.phase == "ready" and name != "gateway"]
    assert len(names) >= 6
    for name in names:
        kill(running, name)
    traffic.stop()

    bad = [answer for answer in traffic.since(0) if failed(answer)]
    assert bad == []
    ids = answered(traffic)
    # a killed predictor or monitor takes the few rows with it that were still between the two
    running.until(lambda: len(logged(running, "predictions").keys() & ids) >= 0.97 * len(ids), 30)
    rows = logged(running, "predictions")
    assert [row for row, count in rows.items() if count > 1] == []
    assert set(rows) <= ids | {""}


def test_a_killed_collector_costs_not_one_row(up: Up, manifest: dict[str, Any]) -> None:
    """Rows wait on disk while the collector is away, and labels are refused until they are durable."""
    running = up(manifest)
    traffic = running.traffic(rate=40)
    for _ in range(3):
        before = len(traffic.since(0))
        running.until(lambda before=before: len(traffic.since(0)) > before + 40)
        kill(running, "collector")
    traffic.stop()
    ids = answered(traffic)
    running.until(lambda: set(logged(running, "predictions")) >= ids, 30)
    assert max(logged(running, "predictions").values()) == 1


def test_a_killed_gateway_is_back_in_a_moment(up: Up, manifest: dict[str, Any]) -> None:
    running = up(manifest)
    kill(running, "gateway")
    began = time.time()
    traffic = running.traffic(rate=40)
    running.until(lambda: len([a for a in traffic.since(began) if a.status == 200]) > 40)
    assert [answer for answer in traffic.since(began) if failed(answer)] == []


def test_the_operator_killed_at_every_step_of_a_rollout_and_a_retraining_resumes(
    up: Up, manifest: dict[str, Any], packages: Path
) -> None:
    """Before and after each action and each commit the operator dies; the story comes out the same, once."""
    running = up(manifest)
    traffic = running.traffic(rate=60)
    home = running.platform.home
    faults = home / "fault"
    points = {f"{point}:{when}:kill" for point in fault.POINTS for when in ("before", "after")}
    unlikely = {point for point in points if point.startswith(("stop_retraining", "roll_back", "retire"))}
    faults.write_text("\n".join(points - unlikely))

    def promoted(count: int) -> bool:
        return len(running.events("Promoted")) >= count

    manifest["spec"]["model"]["uri"] = str(packages / "v2")
    running.platform.apply(manifest)
    running.until(lambda: promoted(1), 90)
    manifest["spec"]["retraining"] = {"triggers": [{"newLabels": 200}], "cooldown": "10m", "minLabels": 100}
    running.platform.apply(manifest)
    running.until(lambda: promoted(2), 90)
    traffic.stop()

    assert faults.read_text() == ""
    assert [answer for answer in traffic.since(0) if failed(answer)] == []
    jobs = [name for name in running.store.statuses() if "retrain" in name]
    assert jobs == ["trainer-scanner-retrain-1"]
    kinds = Counter(event["kind"] for event in running.store.events())
    assert kinds["RetrainingStarted"] == kinds["RetrainingFinished"] == 1
    assert kinds["Promoted"] == kinds["ShadowStarted"] == 2
    assert kinds["RolledBack"] == 0


def test_killing_the_supervisor_leaves_no_orphan_and_up_again_resumes(up: Up, manifest: dict[str, Any]) -> None:
    running = up(manifest)
    pids = [status.pid for status in running.store.statuses().values() if status.pid]
    os.kill(running.store.fact("supervisor")["pid"], signal.SIGKILL)

    def gone() -> bool:
        return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)

    deadline = time.monotonic() + 10
    while not gone():
        assert time.monotonic() < deadline, "children outlived the supervisor"
        time.sleep(0.05)
    running.platform.stop()

    again = up(manifest)
    traffic = again.traffic(rate=20)
    again.until(lambda: len(answered(traffic)) > 20)
    assert len(again.events("Deployed")) == 1


def test_a_trainer_that_crashes_is_reported_and_the_champion_stays(up: Up, manifest: dict[str, Any]) -> None:
    manifest["spec"]["retraining"] = {
        "triggers": [{"newLabels": 50}],
        "minLabels": 10,
        "cooldown": "10m",
        "retries": 1,
        "trainer": {"config": {"candidates": ["no such candidate"]}},
    }
    running = up(manifest)
    champion = running.store.state("scanner").champion
    running.traffic(rate=40)
    running.until(lambda: running.events("RetrainingFinished"), 90)
    finished = running.events("RetrainingFinished")[0]
    assert finished["reason"] == "Failed"
    assert "no such candidate" in finished["message"]
    assert running.store.state("scanner").champion == champion
    assert running.store.statuses()["trainer-scanner-retrain-1"].restarts == 1
