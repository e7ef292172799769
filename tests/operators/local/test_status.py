"""The status table fits 100 columns and says what is known, and a dash for what is not."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from seamark_local.status import details, processes_table, table, troubles
from seamark_local.store import Status


def revision(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": "churn-1a2b3c4d",
        "version": "2026-11-21.1",
        "role": "champion",
        "weight": 100,
        "mirror": 0,
        "ready": "10/10",
        "requests_per_second": 1234.56,
        "error_rate": 0.1234,
        "p99": 0.01234,
        "drift": {"score": 1.2345, "threshold": 0.1, "feature": "mean fractal dimension"},
        "quality": 0.98765,
        "quality_rows": 123456,
    }
    return {**known, **changes}


def summary(*revisions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"name": "churn", "ready": True, "phase": "Serving", "verdict": None, "alarms": []}
    return {**known, "revisions": list(revisions), **changes}


def shown(thing: Any) -> str:
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(thing)
    return capture.get()


def test_the_widest_rollout_fits_100_columns_uncut() -> None:
    challenger = revision(name="churn-5e6f7a8b", role="challenger", weight=0, mirror=100)
    verdict = {"outcome": "Inconclusive", "reason": "r", "message": "too few"}
    text = shown(table([summary(revision(), challenger, verdict=verdict)]))
    for words in (
        "1234.6",
        "12.3 %",
        "12.3 ms",
        "1.23 > 0.10",
        "0.988",
        "123456",
        "challenger",
        "Inconclusive",
        "10/10",
    ):
        assert words in text
    assert "mean fracta…" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"p99": None, "quality": None, "quality_rows": 0, "drift": None}, "–", id="unknown is a dash"),
        pytest.param({"p99": 1.5}, "1.50 s", id="seconds"),
        pytest.param({"p99": 0.0005}, "0.5 ms", id="milliseconds"),
        pytest.param({"drift": {"score": 0.05, "threshold": 0.1, "feature": "age"}}, "0.05 < 0.10", id="no alarm"),
        pytest.param({"error_rate": 0.0}, "0.0 %", id="no errors is a number, not a dash"),
    ],
)
def test_each_number_is_shown_for_people(changes: dict[str, Any], words: str) -> None:
    assert words in shown(table([summary(revision(**changes))]))


def test_the_verdict_stands_beside_who_is_judged() -> None:
    verdict = {"outcome": "Worse", "reason": "r", "message": "accuracy fell"}
    text = shown(table([summary(revision(), revision(name="churn-2", role="shadow"), verdict=verdict)]))
    assert text.count("Worse") == 2
    assert "verdict    Worse: accuracy fell" in text


def test_details_tell_only_what_there_is_to_tell() -> None:
    assert details(summary()).plain == "churn: ready"
    told = details(summary(ready=False, message="paused", alarms=[f"feature {i}" for i in range(5)])).plain
    expected = ["churn: not ready", "  alarms     feature 0, feature 1, feature 2 and 2 more", "  note       paused"]
    assert told.splitlines() == expected


def test_no_deployment_is_an_empty_table() -> None:
    assert "Deployment" in shown(table([]))


def test_troubles_are_processes_that_say_what_is_wrong() -> None:
    statuses = [
        Status("a", "ready", message="old"),
        Status("b", "backoff", message="no luck"),
        Status("c", "running", message="loading"),
        Status("d", "starting"),
        Status("e", "succeeded", message="done"),
        Status("f", "failed", message="exit status 1"),
    ]
    assert [status.name for status in troubles({status.name: status for status in statuses})] == ["b", "c", "f"]


def test_processes_are_listed_by_name() -> None:
    text = shown(
        processes_table({"b": Status("b", "ready", pid=7, port=8), "a": Status("a", "backoff", message="[x]")})
    )
    assert text.index(" a ") < text.index(" b ")
    assert "[x]" in text
