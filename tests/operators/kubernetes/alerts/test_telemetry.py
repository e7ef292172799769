"""The operator's metrics keep to the catalogue, start at 0 and stay few."""

from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark.actions import EventKind, Notify
from seamark.metrics import CATALOGUE
from seamark_kubernetes.calls import Verb
from seamark_kubernetes.telemetry import MAX_EVENTS, SHOWN, AlertResult, Telemetry, TurnResult

OWN = {name: metric for name, metric in CATALOGUE.items() if metric.source == "operator"}
EVENT = "seamark_rollout_event_timestamp_seconds"


def values(telemetry: Telemetry) -> dict[tuple[str, tuple[str, ...]], float]:
    """Samples by name and label values, these by the labels' names."""
    families = text_string_to_metric_families(telemetry.text().decode())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def told(telemetry: Telemetry, kind: EventKind, revision: str = "churn-1", deployment: str = "churn") -> None:
    telemetry.told("team", deployment, Notify(kind, revision, "Because", "it is so"))


def test_everything_in_the_catalogue_is_exported_and_nothing_else() -> None:
    telemetry = Telemetry()
    telemetry.passed()
    told(telemetry, "Promoted")
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(telemetry.text().decode())
        if not family.name.startswith("process_")
    }
    assert set(families) == set(OWN)
    for name, family in families.items():
        assert (family.type, family.documentation) == (OWN[name].kind, OWN[name].help)
        assert family.samples
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(OWN[name].all_labels)


def test_counters_start_at_zero_for_every_label_value() -> None:
    found = values(Telemetry())
    for name, choices in (("turns", TurnResult), ("api_calls", Verb), ("alerts", AlertResult)):
        for choice in get_args(choices):
            assert found[f"seamark_operator_{name}_total", (choice,)] == 0
    assert found["seamark_operator_turn_seconds_count", ()] == 0
    assert found["seamark_operator_deployments", ()] == 0
    assert not any(name.endswith("_created") for name, _ in found)


def test_a_pass_that_never_was_has_no_time(kit: SimpleNamespace) -> None:
    telemetry = Telemetry(kit.Clock(1_800_000_000.25))
    name = ("seamark_operator_last_pass_timestamp_seconds", ())
    assert name not in values(telemetry)
    telemetry.passed()
    assert values(telemetry)[name] == 1_800_000_000.25


def test_what_is_counted_is_shown() -> None:
    telemetry = Telemetry()
    telemetry.turn("done", 0.01)
    telemetry.turn("failed", 100.0)
    telemetry.api_call("patch")
    telemetry.alert("duplicate", 999)
    telemetry.alert("refused")
    telemetry.alerts_ignored(2)
    telemetry.deployments(7)
    found = values(telemetry)
    assert found["seamark_operator_turns_total", ("done",)] == 1
    assert found["seamark_operator_turns_total", ("failed",)] == 1
    assert found["seamark_operator_turn_seconds_bucket", ("0.01",)] == 1
    assert found["seamark_operator_turn_seconds_bucket", ("30.0",)] == 1
    assert found["seamark_operator_turn_seconds_bucket", ("+Inf",)] == 2
    assert found["seamark_operator_turn_seconds_sum", ()] == 100.01
    assert found["seamark_operator_api_calls_total", ("patch",)] == 1
    assert found["seamark_operator_alerts_total", ("duplicate",)] == 999
    assert found["seamark_operator_alerts_total", ("refused",)] == 1
    assert found["seamark_operator_alerts_ignored", ()] == 2
    assert found["seamark_operator_deployments", ()] == 7


@pytest.mark.parametrize("kind", get_args(EventKind))
def test_events_of_a_rollout_have_their_time(kit: SimpleNamespace, kind: EventKind) -> None:
    telemetry = Telemetry(kit.Clock(1_800_000_000.0))
    told(telemetry, kind)
    shown = {key: value for key, value in values(telemetry).items() if key[0] == EVENT}
    labels = ("churn", kind, "team", "churn-1")
    assert shown == ({(EVENT, labels): 1_800_000_000.0} if kind in SHOWN else {})


def test_the_events_shown_are_events_there_are() -> None:
    assert set(get_args(EventKind)) >= SHOWN
    assert {"Promoted", "RolledBack", "RetrainingStarted", "ShadowStarted", "WeightChanged"} == SHOWN


def test_an_event_that_comes_again_has_its_new_time(kit: SimpleNamespace) -> None:
    clock = kit.Clock(1.0)
    telemetry = Telemetry(clock)
    told(telemetry, "WeightChanged")
    clock.now = 2.0
    told(telemetry, "WeightChanged")
    assert [value for (name, _), value in values(telemetry).items() if name == EVENT] == [2.0]


def test_of_a_deployment_only_the_newest_events_are_kept() -> None:
    telemetry = Telemetry()
    for number in range(MAX_EVENTS):
        told(telemetry, "Promoted", f"churn-{number}")
    told(telemetry, "Promoted", "churn-0")  # it is the newest now
    told(telemetry, "Promoted", "churn-x")
    told(telemetry, "Promoted", "fraud-1", "fraud")
    revisions = {labels[3] for name, labels in values(telemetry) if name == EVENT}
    assert revisions == {f"churn-{n}" for n in range(MAX_EVENTS)} - {"churn-1"} | {"churn-x", "fraud-1"}


def test_a_deleted_deployment_leaves_no_series() -> None:
    telemetry = Telemetry()
    told(telemetry, "Promoted")
    telemetry.forget("team", "churn")
    telemetry.forget("team", "churn")
    assert not [name for name, _ in values(telemetry) if name == EVENT]
