"""Retrainings that go wrong are told, change nothing and are tried again within the brakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

Up = Callable[[dict[str, Any]], Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

#: Seconds. Short, because it doubles with each failure.
COOLDOWN = 0.04


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer that `up` starts is the stand-in beside this file; untold, it hands over to the real one."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "stand_in"))


def test_trainers_that_crash_hang_and_write_garbage_change_nothing(
    stand_in: None, up: Up, manifest: dict[str, Any], processes_of: Callable[[Path], list[psutil.Process]]
) -> None:
    """One retraining after the other fails in its own way; the pause before each doubles; the daily limit ends it.

    The first is a real trainer that crashes on its config, twice, because one retry is allowed.
    """
    retraining = {"triggers": [{"newLabels": 20}], "maxPerDay": 6, "retries": 1}
    bad = {"config": {"candidates": ["no such candidate"]}}
    manifest["spec"]["retraining"] = {**retraining, "cooldown": "1h", "trainer": bad}
    running = up(manifest)
    champion = running.champion
    traffic = running.traffic(rate=40)
    running.until(lambda: len(running.events("RetrainingFinished")) == 1)

    kinds = {"2": "hang", "3": "garbage", "4": "wrong_digest", "5": "damaged", "6": "die"}
    short = {"cooldown": f"{COOLDOWN * 1000:g}ms", "deadline": "2s", "trainer": {"config": {"standIn": kinds}}}
    manifest["spec"]["retraining"] = {**retraining, **short}
    running.platform.apply(manifest)
    running.until(lambda: len(running.events("RetrainingFinished")) == 2)
    jobs = [process.environ().get("SEAMARK_JOB") for process in processes_of(running.home)]
    assert "scanner-retrain-2" not in jobs
    limit = "6 retrainings in 24 hours, 6 are allowed"
    running.until(lambda: limit in running.store.summary("scanner")["retraining"])
    traffic.stop()

    finished = running.events("RetrainingFinished")
    assert {event["reason"] for event in finished} == {"Failed"}
    causes = (
        "candidate 'no such candidate' is unknown",
        "deadline of 2 s exceeded",
        "wrote no readable result: ",
        "its result says '000000000000'",
        "model.onnx has SHA-256 ",
        "killed by SIGKILL",
    )
    assert [cause for cause, event in zip(causes, finished, strict=True) if cause not in event["message"]] == []
    restarts = [running.store.statuses()[f"trainer-scanner-retrain-{job}"].restarts for job in range(2, 7)]
    assert restarts == [0, 0, 0, 0, 1]

    started = running.events("RetrainingStarted")
    pauses = [after["time"] - before["time"] for before, after in zip(finished[1:], started[2:], strict=False)]
    assert [pause >= COOLDOWN * 2**failures for failures, pause in enumerate(pauses, start=2)] == [True] * 4

    assert running.failures(traffic) == []
    assert {answer.revision for answer in traffic.since(0)} == {champion}
    assert [revision.name for revision in running.store.state("scanner").revisions] == [champion]
