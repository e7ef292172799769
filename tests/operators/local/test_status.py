"""The status table fits the terminal and says what is known, and a dash for what is not."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from seamark_local.status import cropped, details, processes_table, table, troubles
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


def shown(thing: Any, width: int = 100) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(thing)
    return capture.get()


WORDS = ("1234.6", "12.3 %", "12.3 ms", "1.23 > 0.10", "0.988", "123456", "challenger", "Inconclusive", "10/10")
HEADINGS = (
    "Deployment",
    "phase",
    "Revision",
    "version",
    "Role",
    "verdict",
    "Weight",
    "copied",
    "Ready",
    "Errors",
    "p99",
)


def widest() -> Any:
    champion = revision(role="champion")
    challenger = revision(name="churn-5e6f7a8b", role="challenger", weight=0, mirror=100)
    verdict = {"outcome": "Inconclusive", "reason": "r", "message": "too few"}
    return table([summary(champion, challenger, verdict=verdict)])


@pytest.mark.parametrize("width", [78, 80, 99, 100, 200])
def test_the_widest_rollout_fits_uncut_down_to_78_columns(width: int) -> None:
    text = shown(widest(), width)
    for words in (*WORDS, *HEADINGS, "churn", "Serving", "Drift", "feature", "Quality", "rows"):
        assert words in text
    assert text.count("…") == 2
    assert text.count("mean fracta…") == 2


def test_a_small_pane_leaves_out_drift_and_quality_and_cuts_nothing() -> None:
    text = shown(widest(), 60)
    for words in (*HEADINGS, "1234.6", "12.3 ms", "Inconclusive", "10/10", "Serving"):
        assert words in text
    assert "…" not in text
    assert "Quality" not in text


def cropped_to(height: int) -> list[str]:
    console = Console(width=80, height=height, no_color=True)
    with console.capture() as capture:
        console.print(cropped(Text("\n".join(f"line {i}" for i in range(10)))), end="")
    return capture.get().splitlines()


@pytest.mark.parametrize("height", [10, 11, 50])
def test_what_fits_the_terminal_is_shown_whole(height: int) -> None:
    assert cropped_to(height) == [f"line {i}" for i in range(10)]


@pytest.mark.parametrize("height", [2, 9])
def test_what_does_not_fit_is_counted(height: int) -> None:
    *lines, hint = cropped_to(height)
    assert lines == [f"line {i}" for i in range(height - 1)]
    assert hint == f"{10 - len(lines)} more lines; name one deployment or enlarge the terminal"


def test_the_longest_name_is_folded_at_80_columns() -> None:
    name = "a-name-as-long-as-names-may-be-at-all-40"
    text = shown(table([summary(revision(name=f"{name}-1a2b3c4d"), name=name)]), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert f"{name}: ready" in text
    assert "Quality" in text
    assert "1a2b3c4d" in text


def test_a_long_verdict_is_indented_on_every_line() -> None:
    verdict = {"outcome": "Inconclusive", "reason": "r", "message": "not enough " * 20}
    first, *rest = shown(details(summary(verdict=verdict)), 80).splitlines()
    assert first == "churn: ready"
    assert len(rest) > 2
    assert rest[0].startswith("  verdict    Inconclusive: not enough")
    assert all(line.startswith((" " * 13 + "not enough", " " * 13 + "enough")) for line in rest[1:])


def test_a_retrained_version_is_shown_without_the_name_that_it_begins_with() -> None:
    text = shown(table([summary(revision(version="churn-retrain-12"))]))
    assert "retrain-12" in text
    assert "churn-ret" not in text


def test_a_revision_that_was_given_up_says_so() -> None:
    given_up = revision(name="churn-2", role="retired", phase="RolledBack", ready="0/0")
    text = shown(table([summary(revision(), given_up)]))
    assert "rolled back" in text
    assert "0/0" not in text


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


@pytest.mark.parametrize(("exceeds", "words"), [(True, "0.10 > 0.10"), (False, "0.10 < 0.10")])
def test_rounded_scores_that_look_equal_tell_who_is_over(exceeds: bool, words: str) -> None:
    drift = {"score": 0.1, "threshold": 0.1, "feature": "age", "exceeds": exceeds}
    assert words in shown(table([summary(revision(drift=drift))]))


@pytest.mark.parametrize("width", [80, 120])
def test_deployments_of_several_namespaces_are_named_with_their_own(width: int) -> None:
    longest = "a-namespace-as-long-as-names-may-be-at-all-so-that-it-is-folded"
    text = shown(table([summary(revision(), namespace=one) for one in ("shop", longest)], namespaces=True), width)
    assert max(map(len, text.splitlines())) <= width
    assert "shop/churn: ready" in text
    assert "Quality" in text


def test_the_address_is_told_where_there_is_one() -> None:
    assert "address    http://churn.example.com" in shown(details(summary(url="http://churn.example.com")))
    assert "address" not in shown(details(summary()))


def test_the_verdict_stands_beside_who_is_judged() -> None:
    verdict = {"outcome": "Worse", "reason": "r", "message": "accuracy fell"}
    text = shown(table([summary(revision(), revision(name="churn-2", role="shadow"), verdict=verdict)]))
    assert text.count("Worse") == 2
    assert "verdict    Worse: accuracy fell" in text


def test_details_tell_only_what_there_is_to_tell() -> None:
    assert shown(details(summary())) == "churn: ready\n"
    told = shown(details(summary(ready=False, message="paused", alarms=[f"feature {i}" for i in range(5)])))
    expected = ["churn: not ready", "  alarms     feature 0, feature 1, feature 2 and 2 more", "  note       paused"]
    assert [line.rstrip() for line in told.splitlines()] == expected


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


def test_a_failed_job_is_no_trouble_any_more_once_another_followed() -> None:
    names = ("trainer-m-retrain-9", "trainer-m-retrain-10", "trainer-m-retrain-11", "trainer-m-2-retrain-1")
    phases = ("failed", "failed", "succeeded", "failed")
    statuses = {name: Status(name, phase, message="x") for name, phase in zip(names, phases, strict=True)}  # type: ignore[arg-type]  # of a tuple, mypy sees texts only
    assert [status.name for status in troubles(statuses)] == ["trainer-m-2-retrain-1"]


def test_processes_are_listed_by_name() -> None:
    text = shown(
        processes_table({"b": Status("b", "ready", pid=7, port=8), "a": Status("a", "backoff", message="[x]")})
    )
    assert text.index(" a ") < text.index(" b ")
    assert "[x]" in text


def test_the_gateways_port_is_the_one_people_call() -> None:
    text = shown(processes_table({"gateway": Status("gateway", "ready", port=4711)}, gateway=8080))
    assert "8080" in text
    assert "4711" not in text
