"""A rollout under fire: processes die, stand still or never come up, and users notice nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import onnx
import pytest

Up = Callable[[dict[str, Any]], Any]
Variant = Callable[..., Path]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def steps(manifest: dict[str, Any], *wanted: dict[str, Any]) -> None:
    manifest["spec"]["rollout"]["steps"] = list(wanted)


def test_any_process_may_die_during_a_rollout(up: Up, manifest: dict[str, Any], packages: Path) -> None:
    """With one replica each: in shadow the challenger's processes die, at 50 % every process but the gateway."""
    steps(manifest, {"shadow": {"for": "1h"}}, {"weight": 50}, {"hold": {}})
    running = up(manifest)
    champion = running.champion
    traffic = running.traffic(rate=40)
    manifest["spec"]["model"]["uri"] = str(packages / "v2")
    running.platform.apply(manifest)
    running.until(lambda: running.events("ShadowStarted"))
    challenger = running.challenger

    for process in (f"predictor-{challenger}-0", f"monitor-{challenger}-0"):
        running.kill(process)
        running.await_answers(traffic, 10)
    assert {answer.revision for answer in traffic.since(0)} == {champion}
    assert running.challenger == challenger

    steps(manifest, {"shadow": {"for": "1s"}}, {"weight": 50}, {"hold": {}})
    running.platform.apply(manifest)
    statuses = running.store.statuses()
    for process in sorted(name for name in statuses if name != "gateway"):
        running.until(lambda: running.weight(challenger) == 50)
        running.await_answers(traffic, 5, by=challenger)
        running.kill(process)
        running.await_answers(traffic, 10)
    running.until(lambda: running.weight(challenger) == 50)

    running.store.command("scanner", "promote")
    running.until(lambda: running.events("Promoted"))
    running.await_answers(traffic, 10, by=challenger)
    traffic.stop()
    assert running.failures(traffic) == []
    assert [event["evidence"]["weight"] for event in running.events("WeightChanged")] == [50, 100]
    assert (len(running.events("ShadowStarted")), running.events("RolledBack")) == (1, [])


def test_processes_that_stand_still_lead_to_no_decision(up: Up, manifest: dict[str, Any], packages: Path) -> None:
    """The analyzer, the operator, the challenger and at last everything stops for a while, as a laptop that sleeps."""
    steps(manifest, {"shadow": {"for": "1s"}}, {"weight": 30}, {"hold": {"for": "2s"}}, {"weight": 60}, {"hold": {}})
    running = up(manifest)
    traffic = running.traffic(rate=40)
    manifest["spec"]["model"]["uri"] = str(packages / "v2")
    running.platform.apply(manifest)
    running.until(lambda: running.events("WeightChanged"))
    challenger = running.challenger

    with running.stopped([running.pid("analyzer")]):
        running.throughout(3, lambda: running.challenger == challenger and running.weight(challenger) == 30)
    running.until(lambda: running.weight(challenger) == 60, 20)

    with running.stopped([running.pid("operator")]):
        running.await_answers(traffic, 60)
    running.until(lambda: running.challenger == challenger and running.weight(challenger) == 60, 20)

    # a challenger that hangs while it carries 60 %: what waits for it goes to the champion in time
    with running.stopped([running.pid(f"predictor-{challenger}-0")]):
        running.until(lambda: running.weight(challenger) == 0, 20)
    running.until(lambda: running.weight(challenger) == 60, 20)

    everything = [running.store.fact("supervisor")["pid"]]
    everything += [status.pid for status in running.store.statuses().values()]
    with running.stopped(everything):
        time.sleep(3)  # nothing is there that could tell when it is over
    running.await_answers(traffic, 60)
    running.throughout(1, lambda: running.challenger == challenger)
    running.store.command("scanner", "promote")
    running.until(lambda: running.events("Promoted"))
    traffic.stop()
    assert running.failures(traffic) == []
    assert [status.name for status in running.store.statuses().values() if status.restarts] == []
    assert {event["kind"] for event in running.store.events()} == {
        "Deployed",
        "ShadowStarted",
        "WeightChanged",
        "Promoted",
    }


# --- challengers that are no good


class Sleeper:
    """Whoever loads its pickle sleeps."""

    def __reduce__(self) -> tuple[Callable[[float], None], tuple[float]]:
        return time.sleep, (600.0,)


def of_an_unknown_future(model: Path) -> bytes:
    """The model in an operator set that no runtime knows yet."""
    found = onnx.load(model)
    for opset in found.opset_import:
        opset.version = 999
    return bytes(found.SerializeToString())


def test_bad_challengers_are_given_up_and_nobody_noticed_them(
    up: Up, manifest: dict[str, Any], packages: Path, variant: Variant, tmp_path: Path
) -> None:
    """One after the other: one cannot start, one never becomes ready, one answers the opposite of the truth.

    The operator is killed before and after the first rollback and the first retirement, too.
    """
    joblib.dump(Sleeper(), tmp_path / "sleeper")
    manifest["spec"]["model"]["trustPickle"] = True
    running = up(manifest)
    champion = running.champion
    traffic = running.traffic(rate=40)
    faults = running.home / "fault"
    kills = [f"{point}:{when}:kill" for point in ("roll_back", "retire") for when in ("before", "after")]
    faults.write_text("\n".join(kills))

    def put(package: Path, deadline: str) -> None:
        manifest["spec"]["model"]["uri"] = str(package)
        manifest["spec"]["rollout"]["progressDeadline"] = deadline
        running.platform.apply(manifest)

    def rolled_back(count: int, reason: str) -> str:
        running.until(lambda: len(running.events("RolledBack")) == count, 40)
        event = running.events("RolledBack")[-1]
        assert (event["reason"], running.champion) == (reason, champion)
        return str(event["message"])

    package = variant("future", of_an_unknown_future(packages / "v1" / "model.onnx"))
    put(package, "1h")
    running.until(lambda: "Cannot load model.onnx: " in running.store.summary("scanner")["message"])
    put(package, "1s")
    rolled_back(1, "ChallengerNotReady")
    put(variant("sleeper", (tmp_path / "sleeper").read_bytes(), "joblib"), "2s")
    assert rolled_back(2, "ChallengerNotReady").endswith("was not ready within 2 s")
    assert running.events("ShadowStarted") == []
    put(variant("opposite", classes=["malignant", "benign"]), "1h")
    rolled_back(3, "AgreementTooLow")
    traffic.stop()

    assert running.failures(traffic) == []
    assert {answer.revision for answer in traffic.since(0)} == {champion}
    processes = {"collector", "analyzer", "operator", "gateway", f"predictor-{champion}-0", f"monitor-{champion}-0"}
    running.until(lambda: set(running.store.statuses()) == processes, 30)
    assert (len(running.events("RolledBack")), faults.read_text()) == (3, "")
