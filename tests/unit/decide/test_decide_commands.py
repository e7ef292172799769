"""What people can ask for: promote, abort, pause, resume, approve; each obeyed or refused once, and answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from seamark.actions import RollBack
from seamark.evidence import Drift
from seamark.seen import Command, RevisionSeen
from seamark.spec import Hold, Shadow, Trigger, Weight
from seamark.state import Route

Make = Callable[..., Any]


def under_test(deployed: Make, **parts: Any) -> Any:
    """A challenger b with 10 % of the traffic, in a hold of 100 s."""
    world = deployed(**{"rollout": {"steps": (Weight(10), Hold(100), Weight(50), Hold(100))}, **parts})
    world.name_model("b")
    world.until(lambda: world.state.rollout and world.state.rollout.step == 1)
    return world


# --- promote


def test_promote_skips_to_the_end(deployed: Make) -> None:
    world = under_test(deployed)
    world.outcome = None
    world.command("promote", by="ada")
    world.tick()
    assert world.weight("b") == 100
    world.tick()
    assert world.state.champion == world.name("b")
    assert world.told()[-2:] == [("WeightChanged", "WeightChanged"), ("Promoted", "PromotedByPerson")]


@pytest.mark.parametrize(
    ("by", "reason", "why"),
    [
        ("", "", "a person promoted it"),
        ("ada", "", "ada promoted it"),
        ("", "the holidays begin", "a person promoted it: the holidays begin"),
        ("ada", "the holidays begin", "ada promoted it: the holidays begin"),
    ],
)
def test_who_promoted_and_why_is_told_and_kept_for_the_audit(deployed: Make, by: str, reason: str, why: str) -> None:
    world = under_test(deployed, governance={"approvals": 1})
    world.command("promote", by=by, reason=reason)
    world.tick()
    assert (world.state.rollout.by, world.state.rollout.because) == (by, reason)
    world.command("approve", by="grace")
    world.until(lambda: world.state.champion == world.name("b"), limit=3)
    told, kept = world.events[-1], world.records[-1]
    assert told.message == f"churn-bbbbbbbb is the champion, after churn-aaaaaaaa: {why}"
    assert (told.reason, kept.reason) == ("PromotedByPerson", "PromotedByPerson")
    for evidence in (told.evidence, kept.evidence):
        said = {field: evidence[field] for field in ("by", "because", "approvers", "previous")}
        assert said == {"by": by, "because": reason, "approvers": ["grace"], "previous": world.name("a")}


def test_a_promotion_by_the_gates_names_nobody(deployed: Make) -> None:
    world = deployed(rollout={"steps": (Hold(10),)})
    world.name_model("b")
    world.until(lambda: world.state.champion == world.name("b"))
    for evidence in (world.events[-1].evidence, world.records[-1].evidence):
        assert not {"by", "because"} & set(evidence)


def test_of_two_who_promote_the_last_one_answers_for_it(deployed: Make) -> None:
    world = under_test(deployed)
    world.command("promote", by="ada", reason="first")
    world.command("promote", by="grace")
    world.until(lambda: world.state.champion == world.name("b"), limit=3)
    assert (world.records[-1].evidence["by"], world.records[-1].evidence["because"]) == ("grace", "")


def test_promote_overrules_a_bad_verdict(deployed: Make) -> None:
    world = under_test(deployed)
    world.command("promote")
    world.outcome = "Worse"
    world.until(lambda: world.state.champion == world.name("b"), limit=3)
    assert world.events[-1].evidence["verdict"] == "Worse"


def test_a_bad_verdict_overrules_a_promotion_that_waits_for_approval(deployed: Make) -> None:
    world = under_test(deployed, governance={"approvals": 1})
    world.command("promote")
    world.tick()
    assert world.state.message == "waiting for approval of churn-bbbbbbbb: 0 of 1"
    world.outcome = "Worse"
    world.tick()
    assert world.told()[-1] == ("RolledBack", "IsWorse")


def test_promote_waits_for_the_input_contract(deployed: Make) -> None:
    world = under_test(deployed)
    world.violate(50)
    world.command("promote")
    world.ticks(5)
    assert (world.weight("b"), world.state.rollout.forced) == (10, True)
    world.violate(0)
    world.until(lambda: world.state.champion == world.name("b"), limit=3)


def test_promote_of_an_unready_challenger_is_refused(deployed: Make) -> None:
    world = under_test(deployed)
    world.revisions[world.name("b")] = RevisionSeen(1, 0)
    world.command("promote")
    world.tick()
    assert world.state.answer == "Cannot promote churn-bbbbbbbb: it is not ready"
    assert not world.state.rollout.forced


def test_promote_before_the_challenger_was_ever_ready_is_refused(deployed: Make) -> None:
    world = deployed()
    world.ready[world.name("b")] = False
    world.name_model("b")
    world.until(lambda: world.state.rollout)
    world.command("promote")
    world.tick()
    assert (
        world.state.message == "waiting for churn-bbbbbbbb to be ready; Cannot promote churn-bbbbbbbb: it is not ready"
    )


@pytest.mark.parametrize("verb", ["promote", "abort", "approve"])
def test_a_command_about_a_rollout_is_refused_where_none_is_running(deployed: Make, verb: Any) -> None:
    world = deployed()
    world.command(verb)
    decision = world.tick()
    assert decision.actions == ()
    assert world.state.message == f"Cannot {verb} churn: no rollout is running"
    world.tick(599)
    assert world.state.message
    world.tick(2)
    assert world.state.message == "", "an answer is shown for ten minutes"


def test_a_command_is_obeyed_once_and_old_ones_never(deployed: Make) -> None:
    world = deployed()
    world.state = replace(world.state, last_command=7)
    world.commands = [Command(7, "pause")]
    world.tick()
    assert not world.state.paused
    world.commands = [Command(9, "resume"), Command(8, "pause")]
    world.tick()
    assert (world.state.paused, world.state.last_command) == (False, 9), "in the order of their ids"


# --- abort


@pytest.mark.parametrize(
    ("by", "reason", "text"),
    [("", "", "aborted"), ("ada", "", "aborted by ada"), ("ada", "odd scores", "aborted by ada: odd scores")],
)
def test_abort_returns_all_traffic_to_the_champion_at_once(deployed: Make, by: str, reason: str, text: str) -> None:
    world = under_test(deployed)
    world.command("abort", by=by, reason=reason)
    decision = world.tick()
    assert decision.actions[:2] == (Route({world.name("a"): 100}), RollBack(world.name("b"), world.name("a")))
    assert world.told()[-1] == ("RolledBack", "Aborted")
    assert world.events[-1].message == f"all traffic is back on churn-aaaaaaaa: {text}"
    world.ticks(10, 100)
    assert world.state.rollout is None, "it is not tried again by itself"


def test_abort_before_the_first_model_is_deployed_is_refused(make_world: Make) -> None:
    world = make_world()
    world.command("abort")
    world.tick()
    assert world.state.answer == "Cannot abort churn: no rollout is running"
    world.until(lambda: world.state.champion)


# --- pause and resume


def test_a_pause_stops_the_clock_of_a_step_and_resume_goes_on_from_there(deployed: Make) -> None:
    world = under_test(deployed)
    world.tick(60)
    world.command("pause")
    world.tick(0.5)
    world.ticks(5, 1000)
    assert (world.state.message, world.weight("b"), world.state.rollout.step) == ("paused", 10, 1)
    world.command("resume")
    world.tick(0.5)
    world.tick(39)
    assert world.state.rollout.step == 1
    world.tick(1)
    assert world.weight("b") == 50


def test_a_pause_stops_the_progress_deadline(deployed: Make) -> None:
    world = deployed()
    world.ready[world.name("b")] = False
    world.name_model("b")
    world.until(lambda: world.state.rollout)
    world.command("pause")
    world.tick(300)
    world.tick(10_000)
    world.command("resume")
    world.tick(1)
    world.tick(290)
    assert world.state.rollout
    world.tick(20)
    assert world.told()[-1] == ("RolledBack", "ChallengerNotReady")


def test_while_paused_a_step_does_not_advance_though_everything_else_is_there(deployed: Make) -> None:
    world = deployed(rollout={"steps": (Weight(10), Weight(50), Hold(None))})
    world.name_model("b")
    world.until(lambda: world.state.rollout)
    world.gateway_works = False
    world.ticks(2)
    world.command("pause")
    world.tick()
    world.gateway_works = True
    world.ticks(5)
    assert (world.weight("b"), world.state.rollout.step) == (10, 0)
    world.command("resume")
    world.ticks(3)
    assert (world.weight("b"), world.state.rollout.step) == (50, 2)


def test_while_paused_a_step_that_has_passed_does_not_go_on(deployed: Make) -> None:
    world = under_test(deployed)
    world.violate(50)
    world.tick(101)
    assert world.state.rollout.passed
    world.command("pause")
    world.tick()
    world.violate(0)
    world.ticks(5)
    assert (world.weight("b"), world.state.message) == (10, "paused")
    world.command("resume")
    world.tick()
    assert world.weight("b") == 50


def test_pause_and_resume_twice_are_the_same_as_once(deployed: Make) -> None:
    world = under_test(deployed)
    world.command("resume")
    world.command("pause")
    world.tick()
    since = world.state.paused_since
    world.command("pause")
    world.tick(100)
    assert world.state.paused_since == since
    world.command("resume")
    world.command("resume")
    world.tick()
    assert (world.state.paused, world.state.paused_since) == (False, None)


def test_a_memory_that_does_not_say_when_the_pause_began_can_be_resumed(deployed: Make) -> None:
    world = under_test(deployed)
    world.state = replace(world.state, paused=True, paused_since=None)
    world.command("resume")
    world.tick()
    assert not world.state.paused


def test_while_paused_a_worse_challenger_is_still_rolled_back(deployed: Make) -> None:
    world = under_test(deployed)
    world.command("pause")
    world.tick()
    world.outcome = "Worse"
    world.tick()
    assert world.told()[-1] == ("RolledBack", "IsWorse")
    assert world.weight("b") == 0


def test_while_paused_a_challenger_loses_its_traffic_when_it_fails_and_does_not_get_it_back(deployed: Make) -> None:
    world = under_test(deployed)
    world.command("pause")
    world.tick()
    world.ready[world.name("b")] = False
    world.tick()
    world.tick(1000)
    assert (world.weight("b"), world.state.rollout is not None) == (0, True)
    world.ready[world.name("b")] = True
    world.ticks(5)
    assert world.weight("b") == 0
    world.command("resume")
    world.tick()
    assert world.weight("b") == 10


def test_an_outage_that_a_pause_interrupts_counts_without_the_pause(deployed: Make) -> None:
    world = under_test(deployed)
    world.ready[world.name("b")] = False
    world.tick()
    world.command("pause")
    world.tick(30)
    world.command("resume")
    world.tick(1000)
    assert world.state.rollout
    world.tick(25)
    assert world.state.rollout
    world.tick(10)
    assert world.told()[-1] == ("RolledBack", "ChallengerNotReady")


def test_while_paused_promote_is_refused_and_abort_is_obeyed(deployed: Make) -> None:
    world = under_test(deployed)
    world.command("pause")
    world.command("promote")
    world.tick()
    assert world.state.message == "paused; Cannot promote churn-bbbbbbbb: it is paused; resume it first"
    world.command("abort")
    world.tick()
    assert world.told()[-1] == ("RolledBack", "Aborted")


def test_while_paused_no_new_model_is_taken_up_and_after_it_the_last_one_is(deployed: Make) -> None:
    world = deployed(rollout={"gates": ()})
    world.command("pause")
    world.tick()
    world.name_model("b")
    world.ticks(3)
    world.name_model("c")
    world.ticks(3)
    assert [revision.name for revision in world.state.revisions] == [world.name("a")]
    world.command("resume")
    world.until(lambda: world.state.champion == world.name("c"))
    assert world.phase("b") == "unknown"


def test_while_paused_a_waiting_model_does_not_begin_its_rollout(deployed: Make) -> None:
    world = deployed(rollout={"steps": (Shadow(100, 10),)})
    world.route = None
    world.gateway_works = False
    world.name_model("b")
    world.tick()
    world.command("pause")
    world.tick()
    world.gateway_works = True
    world.ticks(5)
    assert (world.state.rollout, world.phase("b")) == (None, "Pending")
    world.command("resume")
    world.until(lambda: world.state.rollout)


def test_while_paused_no_retraining_starts_and_the_champion_before_is_kept(deployed: Make) -> None:
    world = deployed(rollout={"gates": ()}, retraining={"on": (Trigger(drift="feature"),), "min_labels": 1})
    world.name_model("b")
    world.until(lambda: world.state.champion == world.name("b"))
    world.command("pause")
    world.tick()
    world.drift = (Drift("feature", "age", 0.5, 0.1, 1000, world.now - 1000),)
    world.labels = (1000, 1000)
    world.ticks(3, 1000)
    assert (world.started, world.state.retraining.waiting) == ([], "waiting for a person to resume")
    assert world.name("a") in world.revisions
    world.command("resume")
    world.ticks(3)
    assert [job.job for job in world.started] == ["churn-retrain-1"]
    assert world.name("a") not in world.revisions


def test_a_first_model_is_deployed_even_while_paused(make_world: Make) -> None:
    world = make_world()
    world.command("pause")
    world.until(lambda: world.state.champion)
    assert world.state.paused
