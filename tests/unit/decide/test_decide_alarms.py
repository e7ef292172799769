"""When drift raises an alarm and when it clears, and what broken input blocks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from seamark.evidence import Contract, Drift, Evidence
from seamark.seen import Alerts
from seamark.spec import Trigger

Make = Callable[..., Any]


def finding(feature: str = "age", *, kind: str = "feature", since: float | None = None, **fields: Any) -> Drift:
    given = {"score": 0.5, "threshold": 0.1, "rows": 100, "impact": 1.0, **fields}
    return Drift(kind, feature, since=since, **given)


@pytest.mark.parametrize(("lasted", "is_active"), [(299.0, False), (300.0, True)])
def test_drift_raises_an_alarm_when_it_has_lasted_an_interval(deployed: Make, lasted: float, is_active: bool) -> None:
    world = deployed()
    world.drift = (finding(since=world.now + 1 - lasted),)
    world.tick()
    assert ("Alarm" in world.kinds()) is is_active


def test_an_alarm_names_the_features_by_impact_and_holds_the_findings(deployed: Make) -> None:
    world = deployed()
    began = world.now - 1000
    world.drift = (
        finding("income", since=began, impact=0.2, score=0.25),
        finding("age", since=began, impact=0.9),
        finding("broken", since=began, impact=math.nan, score=math.inf),
        finding("fine", score=0.01),
    )
    world.tick()
    event = world.events[-1]
    assert (event.kind, event.reason, event.revision) == ("Alarm", "FeatureDrift", world.name("a"))
    assert event.message == (
        "feature drift: age (score 0.5, threshold 0.1), income (score 0.25, threshold 0.1), "
        "broken (score inf, threshold 0.1)"
    )
    findings = event.evidence["findings"]
    assert [one["feature"] for one in findings] == ["age", "income", "broken"]
    assert findings[0] == {
        "kind": "feature", "feature": "age", "score": 0.5, "threshold": 0.1, "rows": 100, "impact": 0.9
    }  # fmt: skip
    json.dumps(event.evidence, allow_nan=False)


def test_an_alarm_of_several_kinds_says_so_and_a_kind_without_features_is_named_itself(deployed: Make) -> None:
    world = deployed()
    world.drift = (finding(since=0.0), finding("", kind="prediction", since=0.0, impact=2.0))
    world.tick()
    assert world.events[-1].reason == "Drift"
    assert world.events[-1].message == (
        "feature and prediction drift: prediction (score 0.5, threshold 0.1), age (score 0.5, threshold 0.1)"
    )


def test_three_kinds_are_listed_as_people_do(deployed: Make) -> None:
    world = deployed()
    world.drift = tuple(finding("", kind=kind, since=0.0) for kind in ("prediction", "concept", "label"))
    world.tick()
    assert world.events[-1].message.startswith("concept, label and prediction drift: ")


def test_a_message_names_ten_features_and_counts_the_others(deployed: Make) -> None:
    world = deployed()
    world.drift_in(*(f"f{i}" for i in range(12)))
    world.tick()
    assert world.events[-1].message.endswith("f9 (score 0.5, threshold 0.1) and 2 more")
    assert len(world.events[-1].evidence["findings"]) == 12


def test_the_same_alarm_is_raised_once_and_again_only_when_it_grows(deployed: Make) -> None:
    world = deployed()
    world.drift_in("age")
    world.ticks(3)
    assert world.kinds().count("Alarm") == 1
    world.drift_in("age", "income")
    world.ticks(3)
    assert world.kinds().count("Alarm") == 2
    assert world.state.alarms == (("feature", "age"), ("feature", "income"))
    world.drift = (finding("age", since=0.0), finding("income", score=0.01))
    world.ticks(3)
    assert world.state.alarms == (("feature", "age"),)
    assert world.kinds()[-1] == "Alarm", "one of two is over: no news"


def test_an_alarm_clears_when_the_last_drift_is_below_its_threshold(deployed: Make) -> None:
    world = deployed()
    world.drift_in("age", "income")
    world.tick()
    world.no_drift("age", "income")
    world.ticks(3)
    assert world.told()[1:] == [("Alarm", "FeatureDrift"), ("AlarmCleared", "BelowThreshold")]
    assert world.events[-1].message == "no drift any more in age, income"
    assert world.state.alarms == ()


STILL_UNKNOWN: list[tuple[str, tuple[Drift, ...]]] = [
    ("nothing is measured", ()),
    ("no rows", (finding("age", score=0.0, rows=0),)),
    ("only another kind is measured", (finding("", kind="prediction", score=0.0),)),
    ("it is above again but not for long", (finding("age", since=4e9),)),
]


@pytest.mark.parametrize(("case", "drift"), STILL_UNKNOWN, ids=[case for case, _ in STILL_UNKNOWN])
def test_an_alarm_is_not_cleared_by_what_says_nothing(deployed: Make, case: str, drift: tuple[Drift, ...]) -> None:
    world = deployed()
    world.drift_in("age")
    world.tick()
    world.drift = drift
    world.ticks(3)
    assert world.state.alarms == (("feature", "age"),), case


def test_no_evidence_raises_nothing_and_clears_nothing(deployed: Make) -> None:
    world = deployed()
    world.drift_in("age")
    world.tick()
    world.outcome = None
    world.ticks(3)
    assert world.state.alarms == (("feature", "age"),)
    assert world.kinds() == ["Deployed", "Alarm"]


def test_a_feature_that_is_not_watched_any_more_does_not_keep_its_alarm(deployed: Make) -> None:
    world = deployed()
    world.drift_in("age")
    world.tick()
    world.no_drift("income")
    world.tick()
    assert world.kinds()[-1] == "AlarmCleared"


def test_drift_of_another_champion_says_nothing(deployed: Make) -> None:
    world = deployed(rollout={"gates": ()})
    world.drift_in("age")
    old = world.evidence()
    world.drift = ()
    world.name_model("b")
    world.until(lambda: world.state.champion == world.name("b"))
    world.evidence = lambda: old
    world.ticks(2)
    assert "Alarm" not in world.kinds()


# --- an alert manager

UNKNOWN = Alerts(None)
AGE = ("feature", "age")


def firing(*alerts: tuple[str, str]) -> Alerts:
    return Alerts(frozenset(alerts))


@pytest.mark.parametrize(
    ("alerts", "lasted", "is_raised"),
    [
        pytest.param(None, 299.0, False, id="no alert manager: it must last"),
        pytest.param(None, 300.0, True, id="no alert manager: it has lasted"),
        pytest.param(UNKNOWN, 1e6, False, id="it does not answer"),
        pytest.param(firing(), 1e6, False, id="nothing fires, or all is silenced"),
        pytest.param(firing(("feature", "income")), 1e6, False, id="another feature's alert"),
        pytest.param(firing(("prediction", "age")), 1e6, False, id="another kind's alert"),
        pytest.param(firing(AGE), 1e6, True, id="it fires"),
        pytest.param(firing(AGE), 0.0, True, id="it fires at once: its rule has waited"),
        pytest.param(firing(AGE, ("skew", "")), 1e6, True, id="it fires beside others"),
    ],
)
def test_drift_counts_when_it_lasts_or_where_there_is_an_alert_manager_while_its_alert_fires(
    deployed: Make, alerts: Alerts | None, lasted: float, is_raised: bool
) -> None:
    world = deployed()
    world.alerts = alerts
    world.drift = (finding(since=world.now + 1 - lasted),)
    world.tick()
    assert ("Alarm" in world.kinds()) is is_raised
    assert world.state.alarms == ((AGE,) if is_raised else ())


def test_an_alert_without_drift_in_the_evidence_raises_nothing(deployed: Make) -> None:
    world = deployed()
    world.fire("age", "income")
    world.drift = (finding("age", score=0.05),)
    world.ticks(3)
    assert world.kinds() == ["Deployed"]


def test_an_alarm_names_only_what_fires(deployed: Make) -> None:
    world = deployed()
    world.fire("income")
    world.drift_in("age", "income")
    world.tick()
    assert world.events[-1].message == "feature drift: income (score 0.5, threshold 0.1)"
    world.fire("age", "income")
    world.tick()
    assert world.state.alarms == (AGE, ("feature", "income"))
    assert world.kinds() == ["Deployed", "Alarm", "Alarm"]


def test_a_kind_without_features_has_an_alert_without_one(deployed: Make) -> None:
    world = deployed()
    world.drift_in("", kind="prediction")
    world.fire("prediction", kind="prediction")
    world.tick()
    assert "Alarm" not in world.kinds()
    world.fire("", kind="prediction")
    world.tick()
    assert world.told()[-1] == ("Alarm", "PredictionDrift")


def test_while_the_alert_manager_does_not_answer_no_alarm_clears_and_after_it_does(deployed: Make) -> None:
    world = deployed()
    world.fire("age")
    world.drift_in("age")
    world.tick()
    world.alerts = UNKNOWN
    world.no_drift("age")
    world.ticks(3)
    assert (world.kinds(), world.state.alarms) == (["Deployed", "Alarm"], (AGE,))
    world.fire()
    world.ticks(3)
    assert (world.kinds(), world.state.alarms) == (["Deployed", "Alarm", "AlarmCleared"], ())


def test_a_silence_neither_clears_an_alarm_while_drift_is_there_nor_raises_it_again_at_its_end(deployed: Make) -> None:
    world = deployed()
    world.drift_in("age")
    for _ in range(2):
        world.fire("age")
        world.ticks(3)
        world.fire()
        world.ticks(3)
    assert (world.kinds(), world.state.alarms) == (["Deployed", "Alarm"], (AGE,))


def test_an_alarm_raised_before_an_alert_manager_was_used_is_kept(deployed: Make) -> None:
    world = deployed()
    world.drift_in("age")
    world.tick()
    world.fire()
    world.ticks(3)
    assert (world.kinds(), world.state.alarms) == (["Deployed", "Alarm"], (AGE,))


def test_broken_input_needs_no_alert(deployed: Make) -> None:
    world = deployed()
    world.alerts = UNKNOWN
    world.violate(30)
    world.tick()
    assert world.kinds()[-1] == "ContractViolated"


# --- the contract


def test_broken_input_is_told_with_the_worst_first_and_blocks_retraining(deployed: Make) -> None:
    world = deployed(retraining={"on": (Trigger(drift="feature"),)})
    world.violate(30)
    world.ticks(3)
    assert world.told()[1:] == [
        ("ContractViolated", "ContractViolated"),
        ("RetrainingBlocked", "ContractViolated"),
    ]
    violated, blocked = world.events[-2:]
    assert violated.message == "30 of 100 rows break the contract: age range (30 rows)"
    assert violated.evidence == {
        "rows": 100, "violating": 30, "violations": [{"feature": "age", "rule": "range", "rows": 30}]
    }  # fmt: skip
    assert blocked.message == "no retraining while 30 of 100 rows break the contract"
    assert world.state.violations == (("age", "range"),)
    assert world.state.retraining.blocked == "ContractViolated"
    world.violate(5)
    world.ticks(3)
    assert (world.state.violations, world.state.retraining.blocked) == ((), "")
    assert len(world.events) == 3, "the end is quiet"


def test_broken_input_without_retraining_in_the_manifest_blocks_promotion_only(deployed: Make) -> None:
    world = deployed()
    world.violate(30)
    world.tick()
    assert world.kinds() == ["Deployed", "ContractViolated"]
    assert world.state.retraining.blocked == ""


@pytest.mark.parametrize(
    ("rows", "violating", "is_violated"),
    [(100, 5, False), (100, 6, True), (19, 19, False), (20, 20, True), (0, 0, False)],
)
def test_input_is_broken_above_the_allowed_share_of_enough_rows(
    deployed: Make, rows: int, violating: int, is_violated: bool
) -> None:
    world = deployed()
    world.contract = Contract(rows, violating)
    world.tick()
    assert bool(world.state.violations) is is_violated


@pytest.mark.parametrize(("rows", "violating", "is_over"), [(0, 0, False), (10, 9, False), (10, 0, True)])
def test_a_violation_ends_with_a_good_window_and_not_with_an_empty_one(
    deployed: Make, rows: int, violating: int, is_over: bool
) -> None:
    world = deployed()
    world.violate(50)
    world.tick()
    world.contract = Contract(rows, violating)
    world.tick()
    assert (world.state.violations == ()) is is_over


def test_evidence_before_there_is_a_champion_names_no_revision(make_world: Make) -> None:
    world = make_world()
    world.model = None
    world.evidence = lambda: Evidence(world.now, drift=(finding(since=0.0),), contract=Contract(100, 50))
    world.tick()
    assert [(event.kind, event.revision) for event in world.events] == [("Alarm", ""), ("ContractViolated", "")]
