"""Alerts fire when they should and are silent before: promtool runs the files *.test.yaml. Each has its runbook."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import queries

from seamark_kubernetes import alertmanager

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
FILES = sorted((queries.FILES / "rules").glob("*.yaml"))
TESTS = sorted(FOLDER.glob("*.test.yaml"))
ALERTS = {rule["alert"]: rule for rule in queries.rules()}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


def test_prometheus_takes_the_rules(promtool: Any) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, FILES))
    assert done.returncode == 0, done.stderr
    assert len(FILES) == 3


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_and_are_silent_as_they_should(promtool: Any, path: Path) -> None:
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def looks_at(case: dict[str, Any], alert: str) -> list[dict[str, Any]]:
    return [look for look in case.get("alert_rule_test", []) if look["alertname"] == alert]


def alone(alert: str) -> dict[str, Any]:
    """The file that tests the alert, without what tests others."""
    files = [yaml.safe_load(path.read_text()) for path in TESTS]
    (found,) = [file for file in files if any(looks_at(case, alert) for case in file["tests"])]
    cases = [case | {"alert_rule_test": looks_at(case, alert)} for case in found["tests"] if looks_at(case, alert)]
    return found | {"tests": cases}


#: What may become of a rule by mistake.
MISTAKES: dict[str, dict[str, Any]] = {
    "never fires": {"expr": "vector(0) > 1"},
    "always fires": {"expr": "vector(1)"},
    "fires at once": {"for": "0s"},
    "fires late": {"for": "1d"},
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("alert", ALERTS)
def test_a_mistake_in_a_rule_is_found(promtool: Any, tmp_path: Path, alert: str, mistake: dict[str, Any]) -> None:
    rule = ALERTS[alert] | mistake
    if rule.get("for", "0s") == ALERTS[alert].get("for", "0s") and "expr" not in mistake:
        return
    rules, tests = tmp_path / "rules.yaml", tmp_path / "test.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "wrong", "rules": [rule]}]}))
    tests.write_text(yaml.safe_dump(alone(alert) | {"rule_files": [str(rules)]}))
    assert promtool("test", "rules", str(tests)).returncode != 0


def outcomes(alert: str) -> list[bool]:
    """Whether something is expected to fire, for each time at which promtool looks at the alert."""
    return [bool(look.get("exp_alerts")) for case in alone(alert)["tests"] for look in case["alert_rule_test"]]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_silent_before_firing_and_silent_after(alert: str) -> None:
    text = "".join("!" if fires else "." for fires in outcomes(alert))
    assert re.search(r"\.!\.", text), text


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_how_grave_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert re.fullmatch(r"Seamark[A-Z][A-Za-z]+", alert)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.lower()}"
    assert "\n" not in "".join(rule["annotations"].values())


def sections() -> dict[str, str]:
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in RUNBOOK.split("\n## ")[1:]}


def test_the_runbook_has_a_heading_for_each_alert_and_for_no_other() -> None:
    assert sorted(name for name in sections() if name.startswith("Seamark")) == sorted(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_the_runbook_says_what_it_means_where_to_look_and_what_to_do(alert: str) -> None:
    text = sections()[alert]
    assert re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE) == ["Means.", "Look at.", "Do."]
    assert ALERTS[alert]["labels"]["severity"] in text.partition("\n\n")[0]


def test_no_name_is_given_twice() -> None:
    assert [name for name, count in Counter(rule["alert"] for rule in queries.rules()).items() if count > 1] == []


def test_the_drift_alert_is_the_one_that_the_operator_reads() -> None:
    rule = ALERTS[alertmanager.ALERT]
    assert {"namespace", "deployment", "kind", "feature"} <= queries.used_labels(rule["expr"])


def test_helm_leaves_the_files_as_they_are() -> None:
    """The template puts them in by .Files.Get, which fills nothing in: Prometheus's own braces stay."""
    template = (ROOT / "charts" / "seamark" / "templates" / "prometheusrule.yaml").read_text()
    assert ".Files.Get $path" in template
    assert not re.search(r"\btpl\b", template)
