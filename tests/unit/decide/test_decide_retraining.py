"""What starts a retraining, what stands against it, and what becomes of the Job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from seamark.actions import StartRetraining, StopRetraining
from seamark.seen import Alerts, JobSeen
from seamark.spec import Hold, Trigger, Weight

Make = Callable[..., Any]

HOUR = 3600.0


def watching(deployed: Make, *on: Trigger, **parts: Any) -> Any:
    """A champion a that is retrained on feature drift, or on what is given."""
    world = deployed(retraining={"on": on or (Trigger(drift="feature"),), **parts})
    world.labels = (1000, 1000)
    return world


def training(deployed: Make, **parts: Any) -> Any:
    """The same, with a Job running."""
    world = watching(deployed, **parts)
    world.drift_in("age")
    world.tick()
    assert world.state.retraining.job == "churn-retrain-1"
    return world


# --- triggers


def test_drift_with_enough_labels_starts_one_job_on_data_from_the_drift_on(deployed: Make) -> None:
    world = watching(deployed, trainer=replace(watching(deployed).spec.retraining.trainer, config={"trials": 3}))
    world.drift_in("age", "income", since=world.now - 600)
    began = world.now - 600
    decision = world.tick()
    start = StartRetraining("churn-retrain-1", world.name("a"), began, "feature drift in age, income", {"trials": 3})
    assert start in decision.actions
    assert world.told()[1:] == [("Alarm", "FeatureDrift"), ("RetrainingStarted", "FeatureDrift")]
    assert world.events[-1].message == "churn-retrain-1: feature drift in age, income"
    assert world.events[-1].evidence == {
        "job": "churn-retrain-1", "cause": "feature drift in age, income", "since": began, "labels": 1000
    }  # fmt: skip
    assert world.records[-1].what == "StartRetraining"
    world.ticks(5)
    assert len(world.started) == 1


@pytest.mark.parametrize(
    ("kind", "features", "cause"),
    [
        ("prediction", ("",), "prediction drift"),
        ("feature", ("a", "b", "c", "d", "e"), "feature drift in a, b, c and 2 more"),
    ],
)
def test_a_cause_names_what_drifted(deployed: Make, kind: str, features: tuple[str, ...], cause: str) -> None:
    world = watching(deployed, Trigger(drift=kind))
    world.drift_in(*features, kind=kind)
    world.tick()
    assert world.started[0].cause == cause


def test_drift_of_a_kind_that_the_manifest_does_not_name_starts_nothing(deployed: Make) -> None:
    world = watching(deployed, Trigger(drift="concept"))
    world.drift_in("age")
    world.ticks(3)
    assert (world.started, world.state.retraining.waiting) == ([], "")


def test_drift_without_enough_labels_waits_and_says_so(deployed: Make) -> None:
    world = watching(deployed)
    world.drift_in("age")
    world.labels = (120, 5000)
    world.tick()
    assert (world.started, world.state.retraining.waiting) == ([], "waiting for labels: 120 of 500")
    world.outcome = None
    world.tick()
    assert world.state.retraining.waiting == "waiting for labels: 120 of 500", "no evidence changes nothing"
    world.outcome = "Equivalent"
    world.labels = (500, 5000)
    world.tick()
    assert (len(world.started), world.state.retraining.waiting) == (1, "")


def test_drift_that_goes_away_while_it_waits_is_forgotten(deployed: Make) -> None:
    world = watching(deployed)
    world.labels = (120, 5000)
    world.drift_in("age")
    world.tick()
    world.no_drift("age")
    world.tick()
    assert world.state.retraining.waiting == ""


def test_another_trigger_does_not_wait_for_the_labels_of_drift(deployed: Make) -> None:
    world = watching(deployed, Trigger(drift="feature"), Trigger(new_labels=900))
    world.labels = (120, 1000)
    world.drift_in("age")
    world.tick()
    assert world.started[0].cause == "900 new labels"


@pytest.mark.parametrize(
    ("alerts", "lasted", "starts"),
    [
        pytest.param(None, 299.0, False, id="no alert manager: it must last"),
        pytest.param(None, 300.0, True, id="no alert manager: it has lasted"),
        pytest.param(Alerts(None), 1e6, False, id="it does not answer"),
        pytest.param(Alerts(frozenset()), 1e6, False, id="nothing fires, or all is silenced"),
        pytest.param(Alerts(frozenset({("feature", "income")})), 1e6, False, id="another feature's alert"),
        pytest.param(Alerts(frozenset({("prediction", "age")})), 1e6, False, id="another kind's alert"),
        pytest.param(Alerts(frozenset({("feature", "age")})), 0.0, True, id="it fires"),
    ],
)
def test_drift_starts_a_job_when_it_lasts_or_where_there_is_an_alert_manager_while_its_alert_fires(
    deployed: Make, alerts: Alerts | None, lasted: float, starts: bool
) -> None:
    world = watching(deployed)
    world.alerts = alerts
    world.drift_in("age", since=world.now + 1 - lasted)
    world.tick()
    assert [job.cause for job in world.started] == (["feature drift in age"] if starts else [])


def test_a_silence_while_retraining_waits_stops_it_and_its_end_lets_it_start(deployed: Make) -> None:
    world = watching(deployed)
    world.fire("age")
    world.drift_in("age")
    world.labels = (120, 120)
    world.tick()
    assert world.state.retraining.waiting == "waiting for labels: 120 of 500"
    world.fire()
    world.labels = (1000, 1000)
    world.ticks(3, 1000)
    assert (world.started, world.state.retraining.waiting) == ([], "")
    world.fire("age")
    world.tick()
    assert len(world.started) == 1


@pytest.mark.parametrize("alerts", [Alerts(None), Alerts(frozenset())], ids=["no answer", "a silence"])
def test_a_job_that_has_started_goes_on_though_its_alert_does_not(deployed: Make, alerts: Alerts) -> None:
    world = watching(deployed)
    world.fire("age")
    world.drift_in("age")
    world.tick()
    world.alerts = alerts
    world.ticks(3)
    assert world.state.retraining.job == "churn-retrain-1"
    world.jobs.clear()
    world.tick(60)
    assert [job.job for job in world.started] == ["churn-retrain-1"] * 2, "a lost one is asked for again"
    world.job_ends("b")
    world.until(lambda: world.state.champion == world.name("b"))


def test_a_job_names_and_dates_only_the_drift_whose_alert_fires(deployed: Make) -> None:
    world = watching(deployed)
    world.drift_in("age", "income")
    early, late = world.drift
    world.drift = (replace(early, since=world.now - 5000), replace(late, since=world.now - 2000))
    began = world.now - 2000
    world.fire("income")
    world.tick()
    assert (world.started[0].cause, world.started[0].since) == ("feature drift in income", began)


@pytest.mark.parametrize("alerts", [Alerts(None), Alerts(frozenset())], ids=["no answer", "a silence"])
def test_new_labels_and_schedules_need_no_alert(deployed: Make, alerts: Alerts) -> None:
    world = watching(deployed, Trigger(drift="feature"), Trigger(new_labels=900))
    world.alerts = alerts
    world.drift_in("age")
    world.tick()
    assert [job.cause for job in world.started] == ["900 new labels"]
    world = watching(deployed, Trigger(drift="feature"), Trigger(schedule="0 * * * *"))
    world.alerts = alerts
    world.drift_in("age")
    world.tick()
    world.tick(HOUR)
    assert [job.cause for job in world.started] == ["schedule 0 * * * *"]


def test_new_labels_start_a_job_and_count_anew_from_there(deployed: Make) -> None:
    world = watching(deployed, Trigger(new_labels=1000), cooldown=0.0)
    world.labels = (0, 999)
    world.tick()
    assert world.started == []
    world.labels = (0, 1000)
    world.tick()
    assert world.started[0].since == world.now - 90 * 86400
    world.job_ends(None)
    world.labels = (0, 1999)
    world.ticks(3)
    assert len(world.started) == 1
    world.labels = (0, 2000)
    world.ticks(2)
    assert len(world.started) == 2


def test_new_labels_count_from_what_is_left_where_old_ones_were_deleted(deployed: Make) -> None:
    world = watching(deployed, Trigger(new_labels=1000), cooldown=0.0)
    world.tick()
    world.job_ends(None)
    world.labels = (0, 200)
    world.ticks(2)
    assert world.state.retraining.labels_used == 200
    world.labels = (0, 1200)
    world.ticks(2)
    assert len(world.started) == 2


def test_a_schedule_starts_a_job_when_it_is_due_and_makes_up_for_missed_times_once(deployed: Make) -> None:
    world = watching(deployed, Trigger(schedule="0 * * * *"), cooldown=0.0)
    world.outcome = None  # a schedule needs no evidence
    world.tick()
    assert world.started == []
    world.tick(HOUR)
    assert world.started[0].cause == "schedule 0 * * * *"
    assert world.events[-1].reason == "Schedule"
    world.job_ends(None)
    world.tick(10)
    assert len(world.started) == 1
    world.tick(5 * HOUR)
    world.job_ends(None)
    world.ticks(3)
    assert len(world.started) == 2


def test_a_schedule_taken_out_of_the_manifest_is_forgotten(deployed: Make) -> None:
    world = watching(deployed, Trigger(schedule="0 * * * *"))
    world.tick()
    assert world.state.retraining.scheduled is not None
    world.change(retraining={"on": (Trigger(drift="feature"),)})
    world.tick()
    assert world.state.retraining.scheduled is None
    world.change(retraining={"on": ()})
    world.tick()
    assert world.state.retraining.waiting == ""


# --- brakes


def test_no_retraining_before_there_is_a_champion(make_world: Make) -> None:
    world = make_world(retraining={"on": (Trigger(new_labels=1),)})
    world.labels = (0, 10)
    world.ready[world.name("a")] = False
    world.ticks(3)
    assert world.state.retraining.waiting == "waiting for a champion"


def test_no_retraining_during_a_rollout(deployed: Make) -> None:
    world = watching(deployed)
    world.change(rollout={"steps": (Hold(None),)})
    world.name_model("b")
    world.until(lambda: world.state.rollout)
    world.drift_in("age")
    world.ticks(3)
    assert (world.started, world.state.retraining.waiting) == ([], "waiting for the running rollout to end")


def test_no_retraining_on_broken_input_and_one_when_it_is_good_again(deployed: Make) -> None:
    world = watching(deployed)
    world.drift_in("age")
    world.violate(50)
    world.ticks(3)
    assert (world.started, world.state.retraining.waiting) == ([], "blocked while the input contract is violated")
    world.violate(0)
    world.tick()
    assert len(world.started) == 1


@pytest.mark.parametrize(
    ("failures", "hours", "message"),
    [
        (1, 12, "waiting for the cooldown to end"),
        (2, 24, "waiting for the cooldown to end after 2 failures in a row"),
        (3, 32, "waiting for the cooldown to end after 3 failures in a row"),
        (2000, 32, "waiting for the cooldown to end after 2000 failures in a row"),
    ],
)
def test_the_cooldown_doubles_with_every_failure_up_to_a_limit(
    deployed: Make, failures: int, hours: float, message: str
) -> None:
    world = training(deployed, max_per_day=100)
    world.state = replace(world.state, retraining=replace(world.state.retraining, failures=failures - 1))
    world.job_ends(None)
    world.tick()
    assert world.state.retraining.failures == failures
    world.tick(hours * HOUR - 1)
    assert (len(world.started), world.state.retraining.waiting) == (1, message)
    world.tick(2)
    assert [job.job for job in world.started] == ["churn-retrain-1", "churn-retrain-2"]


def test_only_so_many_start_in_a_day(deployed: Make) -> None:
    world = training(deployed, max_per_day=2, cooldown=0.0)
    world.job_ends(None)
    world.ticks(2)
    world.job_ends(None)
    world.ticks(3)
    assert len(world.started) == 2
    assert world.state.retraining.waiting == "waiting: 2 retrainings in 24 hours, 2 are allowed"
    world.tick(24 * HOUR)
    assert len(world.started) == 3


# --- the Job


def test_a_job_unknown_to_the_driver_is_asked_for_again_under_the_same_name(deployed: Make) -> None:
    world = training(deployed)
    world.jobs.clear()
    world.ticks(4)
    assert [job.job for job in world.started] == ["churn-retrain-1", "churn-retrain-1"]
    assert world.kinds().count("RetrainingStarted") == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_a_job_that_does_not_end_in_time_is_stopped_and_failed(deployed: Make, is_known: bool) -> None:
    world = training(deployed, deadline=100.0, retries=1)
    if not is_known:
        world.jobs.clear()
    world.tick(499)
    assert world.state.retraining.job
    assert world.decisions[-1].wake_after <= 2
    decision = world.tick(2)
    assert StopRetraining("churn-retrain-1") in decision.actions
    assert world.told()[-1] == ("RetrainingFinished", "Failed")
    assert world.events[-1].message == "churn-retrain-1: it did not end in time"


def test_a_result_becomes_a_revision_that_is_rolled_out_like_any_other(deployed: Make) -> None:
    world = training(deployed)
    world.change(rollout={"steps": (Weight(10), Hold(10))})
    result = {
        "metrics": {"accuracy": 0.9, "auc": float("nan"), "folds": [0.5, float("inf")]},
        "rows": 10,
        "dataVersion": "p@1",
        "other": "x",
    }
    world.job_ends("b", result=result)
    world.tick()
    event = world.events[-1]
    assert (event.kind, event.reason, event.revision) == ("RetrainingFinished", "Succeeded", world.name("b"))
    assert event.evidence == {
        "job": "churn-retrain-1",
        "metrics": {"accuracy": 0.9, "auc": None, "folds": [0.5, None]},
        "rows": 10,
        "dataVersion": "p@1",
    }
    revision = world.state.revision(world.name("b"))
    assert (revision.origin, revision.uri, revision.version) == ("retraining", "file:///b", "b")
    world.until(lambda: world.state.champion == world.name("b"))
    assert world.kinds()[-3:] == ["WeightChanged", "WeightChanged", "Promoted"]


def test_after_a_promotion_from_retraining_the_unchanged_manifest_undoes_nothing(deployed: Make) -> None:
    world = training(deployed)
    world.job_ends("b")
    world.until(lambda: world.state.champion == world.name("b"))
    world.no_drift("age")
    world.ticks(10, 100)
    assert (world.state.champion, world.state.rollout) == (world.name("b"), None)
    world.name_model("b")
    world.ticks(3)
    assert world.state.rollout is None, "the manifest has caught up"


FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("it crashed", {"letter": None, "message": "exit status 137"}, "churn-retrain-1: exit status 137"),
    ("it crashed silently", {"letter": None}, "churn-retrain-1: the trainer gave no reason"),
    ("it names no package", {"letter": "b", "package": "", "message": "bad result"}, "churn-retrain-1: bad result"),
    (
        "it names a digest that is none",
        {"letter": "b", "digest": "../../etc"},
        "churn-retrain-1: its result has package 'file:///b' and digest '../../etc'",
    ),
]


@pytest.mark.parametrize(("case", "end", "message"), FAILURES, ids=[case for case, _, _ in FAILURES])
def test_a_failed_job_is_told_and_leaves_the_champion_untouched(
    deployed: Make, case: str, end: dict[str, Any], message: str
) -> None:
    world = training(deployed)
    world.job_ends(**end)
    world.ticks(3)
    assert (world.told()[-1], world.events[-1].message) == (("RetrainingFinished", "Failed"), message), case
    assert (world.state.champion, world.state.rollout) == (world.name("a"), None)
    assert (world.state.retraining.failures, world.state.retraining.job) == (1, None)


def test_a_result_that_is_the_champion_changes_nothing_and_says_so(deployed: Make) -> None:
    world = training(deployed)
    world.job_ends("a")
    world.ticks(3)
    assert world.told()[-1] == ("RetrainingFinished", "NoChange")
    assert (world.state.rollout, world.state.retraining.failures) == (None, 1)


def test_a_challenger_from_retraining_that_is_rolled_back_is_a_failure_and_is_not_tried_again(deployed: Make) -> None:
    world = training(deployed, max_per_day=100)
    world.change(rollout={"steps": (Weight(10), Hold(10))})
    world.job_ends("b")
    world.until(lambda: world.weight("b") == 10)
    world.outcome = "Worse"
    world.ticks(2)
    assert world.state.retraining.failures == 1
    world.tick(12 * HOUR)
    assert len(world.started) == 2, "the cooldown counts from the rollback"
    world.job_ends("b")
    world.ticks(3)
    assert world.told()[-1] == ("RetrainingFinished", "RolledBackBefore")
    assert (world.state.rollout, world.state.retraining.failures) == (None, 2)


def test_a_promotion_from_retraining_ends_the_failures(deployed: Make) -> None:
    world = training(deployed)
    world.state = replace(world.state, retraining=replace(world.state.retraining, failures=5))
    world.job_ends("b")
    world.until(lambda: world.state.champion == world.name("b"))
    assert world.state.retraining.failures == 0


def test_a_superseded_challenger_from_retraining_is_no_failure(deployed: Make) -> None:
    world = training(deployed)
    world.change(rollout={"steps": (Hold(None),)})
    world.job_ends("b")
    world.until(lambda: world.state.rollout)
    world.name_model("c")
    world.tick()
    assert (world.told()[-1][1], world.state.retraining.failures) == ("Superseded", 0)


def test_a_result_that_comes_mid_rollout_waits_for_its_end(deployed: Make) -> None:
    world = training(deployed)
    world.change(rollout={"steps": (Hold(50),)})
    world.name_model("c")
    world.until(lambda: world.state.rollout)
    world.job_ends("b")
    world.ticks(3)
    assert (world.state.rollout.challenger, world.phase("b")) == (world.name("c"), "Pending")
    assert world.name("b") not in world.revisions
    world.until(lambda: world.state.champion == world.name("c"), seconds=10)
    world.until(lambda: world.state.rollout)
    assert world.state.rollout.challenger == world.name("b")


def test_a_manifest_that_names_the_challenger_adds_nothing(deployed: Make) -> None:
    world = training(deployed)
    world.change(rollout={"steps": (Hold(None),)})
    world.job_ends("b")
    world.ticks(3)
    world.name_model("b")
    world.ticks(3)
    assert world.kinds()[-1] == "RetrainingFinished"
    assert world.state.rollout.challenger == world.name("b")
    assert world.state.revision(world.name("b")).origin == "retraining"
    assert world.state.model == world.digest("b")


def test_a_manifest_that_names_a_waiting_result_gives_it_the_turn(deployed: Make) -> None:
    world = training(deployed)
    world.change(rollout={"steps": (Hold(None),)})
    world.name_model("c")
    world.ticks(3)
    world.job_ends("b")
    world.ticks(3)
    assert (world.state.rollout.challenger, world.phase("b")) == (world.name("c"), "Pending")
    world.name_model("b")
    world.ticks(3)
    assert world.told()[-1] == ("RolledBack", "Superseded")
    assert world.state.rollout.challenger == world.name("b")
    assert [revision.name for revision in world.state.revisions].count(world.name("b")) == 1


def test_the_manifests_model_goes_before_a_retrained_one(deployed: Make) -> None:
    world = training(deployed)
    world.change(rollout={"steps": (Hold(None),)})
    world.gateway_works = False
    world.route = None
    world.job_ends("b")
    world.tick()
    world.name_model("c")
    world.tick()
    world.gateway_works = True
    world.until(lambda: world.state.rollout)
    assert world.state.rollout.challenger == world.name("c")


def test_a_running_job_of_another_deployment_is_not_looked_at(deployed: Make) -> None:
    world = watching(deployed)
    world.jobs["other-retrain-1"] = JobSeen("failed", 0.0, message="not ours")
    world.tick()
    assert world.kinds() == ["Deployed"]
