"""How a first model is deployed, and how a challenger goes through the steps or is rolled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seamark.actions import Promote, Retire, RollBack, Serve
from seamark.evidence import Arm, Evidence
from seamark.seen import ModelSeen, RevisionSeen, RouteSeen
from seamark.spec import HeaderMatch, Hold, Inconclusive, Shadow, Weight
from seamark.state import Route, State

Make = Callable[..., Any]

CANARY = (Shadow(100, 10), Weight(10), Hold(10), Weight(50), Hold(10))


def challenged(deployed: Make, letter: str = "b", **parts: Any) -> Any:
    """A champion a, and the manifest now naming another model under test that is ready."""
    world = deployed(**parts)
    world.name_model(letter)
    world.until(lambda: world.state.rollout and world.state.rollout.ready_since is not None)
    return world


# --- the first model


def test_a_first_model_gets_all_traffic_when_it_is_ready_and_is_the_champion_when_the_route_is_confirmed(
    make_world: Make,
) -> None:
    world = make_world()
    world.ready[world.name("a")] = False
    world.gateway_works = False
    assert world.tick().actions == (Serve("churn-aaaaaaaa", "models:/churn", "a" * 64, 1),)
    assert world.phase("a") == "Pending"
    assert world.tick().actions == ()
    assert world.state.message == "waiting for churn-aaaaaaaa to be ready"
    world.ready[world.name("a")] = True
    assert world.tick().actions == (Route({"churn-aaaaaaaa": 100}),)
    world.ticks(5)
    assert world.state.champion is None, "the gateway has not confirmed"
    world.gateway_works = True
    world.until(lambda: world.state.champion)
    assert (world.state.champion, world.phase("a")) == ("churn-aaaaaaaa", "Champion")
    assert world.told() == [("Deployed", "Deployed")]
    assert world.state.message == ""


def test_a_first_model_that_is_not_ready_says_why_and_gets_no_traffic(make_world: Make) -> None:
    world = make_world()
    world.tick()
    world.revisions[world.name("a")] = RevisionSeen(1, 0, "exit status 2: no such file")
    world.ticks(3, 1000)
    assert world.route is None
    assert world.state.message == "waiting for churn-aaaaaaaa to be ready: exit status 2: no such file"


def test_a_first_model_replaced_before_it_was_deployed_is_retired_when_it_has_no_traffic(make_world: Make) -> None:
    world = make_world()
    world.gateway_works = False
    world.ticks(3)
    world.name_model("b")
    world.tick()
    assert world.name("a") in world.revisions, "it may have traffic: its route was asked for"
    world.gateway_works = True
    world.until(lambda: world.state.champion)
    world.ticks(2)
    assert (world.state.champion, world.phase("a")) == (world.name("b"), "Retired")
    assert list(world.revisions) == [world.name("b")]


def test_a_first_model_replaced_before_anything_was_routed_is_retired_at_once(make_world: Make) -> None:
    world = make_world()
    world.ready[world.name("a")] = False
    world.ticks(2)
    world.name_model("b")
    world.tick()
    assert list(world.revisions) == [world.name("b")]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, ""),
        (
            ModelSeen("models:/churn", error="Cannot read package /x: no such folder"),
            "Cannot read package /x: no such folder",
        ),
        (ModelSeen("models:/other", "c" * 64), ""),
        (ModelSeen("models:/other", error="about another address"), ""),
        (ModelSeen("models:/churn", ""), ""),
    ],
    ids=["unknown", "cannot be used", "another address", "error of another address", "no digest"],
)
def test_a_model_that_is_not_known_changes_nothing(deployed: Make, model: ModelSeen | None, message: str) -> None:
    world = deployed()
    before = world.state.revisions
    world.model = model
    decision = world.tick()
    assert (decision.actions, world.state.revisions) == ((), before)
    assert world.state.message == message


# --- strategies without steps


def test_without_steps_a_ready_challenger_gets_all_traffic_and_is_promoted_when_that_is_confirmed(
    deployed: Make,
) -> None:
    world = deployed(rollout={"gates": (), "progress_deadline": 100.0})
    world.name_model("b")
    world.until(lambda: world.weight("b") == 100)
    assert world.state.champion == world.name("a")
    assert world.state.route == Route({world.name("b"): 100}, fallback=world.name("a"))
    decision = world.tick()
    assert Promote(world.name("b"), world.name("a")) in decision.actions
    assert world.told()[1:] == [("WeightChanged", "WeightChanged"), ("Promoted", "GatesPassed")]
    assert world.records[-1].what == "Promote"
    assert (world.state.champion, world.state.previous) == (world.name("b"), world.name("a"))


def test_the_champion_before_stays_as_fallback_for_a_while_and_is_retired_when_the_route_is_without_it(
    deployed: Make,
) -> None:
    world = deployed(rollout={"gates": (), "progress_deadline": 100.0})
    world.name_model("b")
    world.until(lambda: world.state.champion == world.name("b"))
    world.tick(99)
    assert world.name("a") in world.revisions
    assert world.state.route.fallback == world.name("a")
    decision = world.tick(2)
    assert decision.actions == (Route({world.name("b"): 100}),), "first the route without it"
    assert world.tick().actions == (Retire(world.name("a")),)
    assert world.state.previous is None


def test_a_promotion_without_gates_does_not_claim_that_any_was_passed(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": CANARY, "gates": ()})
    world.until(lambda: world.state.champion == world.name("b"))
    assert world.events[-1].message.endswith(": no gates to pass")


def test_a_promotion_while_the_evidence_is_gone_says_that_the_gates_were_passed(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": CANARY})
    world.until(lambda: world.weight("b") == 100)
    world.evidence = lambda: None
    world.until(lambda: world.state.champion == world.name("b"))
    assert world.events[-1].message.endswith(": the gates were passed")


def test_a_manifest_that_names_the_champion_before_again_tries_it_as_a_challenger(deployed: Make) -> None:
    world = deployed(rollout={"gates": ()})
    world.name_model("b")
    world.until(lambda: world.state.champion == world.name("b"))
    world.name_model("a")
    world.tick()
    assert world.state.previous is None
    world.until(lambda: world.state.champion == world.name("a"))
    assert [revision.name for revision in world.state.revisions] == [world.name("b"), world.name("a")]


# --- steps


def test_a_canary_goes_through_its_steps_in_order_and_is_promoted(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": CANARY})
    world.until(lambda: world.state.champion == world.name("b"))
    assert [(event.kind, event.message) for event in world.events[1:]] == [
        ("ShadowStarted", "churn-bbbbbbbb gets copies of 100 % of the requests; users do not see its answers"),
        ("WeightChanged", "10 % of the traffic goes to churn-bbbbbbbb"),
        ("WeightChanged", "50 % of the traffic goes to churn-bbbbbbbb"),
        ("WeightChanged", "100 % of the traffic goes to churn-bbbbbbbb"),
        ("Promoted", "churn-bbbbbbbb is the champion, after churn-aaaaaaaa: the gates say Equivalent"),
    ]
    assert world.events[-1].evidence["gates"] == [
        {"metric": "errorRate", "outcome": "Equivalent", "message": "as told"}
    ]


def test_a_shadow_is_mirrored_and_its_clock_starts_when_the_gateway_confirms(deployed: Make) -> None:
    world = deployed(rollout={"steps": (Shadow(30, 10), Hold(None))})
    world.name_model("b")
    world.until(lambda: world.state.rollout and world.state.rollout.ready_since is None)
    world.gateway_works = False
    world.ticks(30)
    assert world.state.route == Route({world.name("a"): 100}, mirror=(world.name("b"), 30))
    assert world.phase("b") == "Pending"
    assert "ShadowStarted" not in world.kinds()
    world.gateway_works = True
    world.until(lambda: "ShadowStarted" in world.kinds())
    confirmed = world.now
    assert world.phase("b") == "Shadow"
    world.until(lambda: world.state.rollout.step == 1)
    assert world.now - confirmed == 10


@pytest.mark.parametrize("outcome", ["Better", "Equivalent"])
def test_a_step_passes_when_its_time_is_over_and_the_verdict_is_good(deployed: Make, outcome: str) -> None:
    world = challenged(deployed, rollout={"steps": (Hold(10), Weight(5), Hold(None))})
    world.outcome = outcome
    world.until(lambda: world.state.rollout.step_since is not None)
    world.tick(9.9)
    assert world.state.rollout.step == 0
    assert world.decisions[-1].wake_after == pytest.approx(0.2)
    world.tick(0.2)
    assert world.state.route.weights == {world.name("a"): 95, world.name("b"): 5}


def test_a_weight_is_announced_when_confirmed_and_the_next_step_starts_at_once(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": (Weight(10), Hold(60))})
    assert world.state.route.weights == {world.name("a"): 90, world.name("b"): 10}
    assert world.kinds() == ["Deployed"]
    world.tick()
    assert world.kinds() == ["Deployed", "WeightChanged"]
    assert world.phase("b") == "Canary"
    assert (world.state.rollout.step, world.state.rollout.step_since) == (1, world.now)


def test_an_unconfirmed_weight_is_asked_for_again_after_a_while_and_not_raised(deployed: Make) -> None:
    world = deployed(rollout={"steps": (Weight(10), Weight(20))})
    world.name_model("b")
    world.until(lambda: world.state.rollout)
    world.gateway_works = False
    decisions = [world.tick() for _ in range(6)]
    asked = [action for decision in decisions for action in decision.actions if isinstance(action, Route)]
    assert asked == [Route({world.name("a"): 90, world.name("b"): 10}, fallback=world.name("a"))] * 3


def test_a_hold_without_end_waits_for_a_person(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": (Shadow(100, 10), Hold(None))})
    world.ticks(10, 1000)
    assert world.state.message == "waiting for a person to promote churn-bbbbbbbb"
    assert world.state.route.mirror == (world.name("b"), 100), "it goes on mirroring, or there is nothing to judge"
    world.command("promote", by="ada")
    world.until(lambda: world.state.champion == world.name("b"))
    assert world.told()[-1] == ("Promoted", "PromotedByPerson")
    assert world.events[-1].message.endswith(": ada promoted it")


@pytest.mark.parametrize(
    ("by", "reason", "told"),
    [
        ("ada", "the board agreed", "ada promoted it: the board agreed"),
        ("", "", "a person promoted it"),
    ],
)
def test_who_promoted_and_why_is_kept(deployed: Make, by: str, reason: str, told: str) -> None:
    world = challenged(deployed, rollout={"steps": (Hold(None),)})
    world.ticks(3, 10)
    world.command("promote", by=by, reason=reason)
    world.until(lambda: world.state.champion == world.name("b"))
    assert world.events[-1].message.endswith(f": {told}")
    assert (world.events[-1].evidence["by"], world.events[-1].evidence["because"]) == (by, reason)


def test_a_last_step_of_full_weight_is_announced_once(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": (Weight(100), Hold(10))})
    world.until(lambda: world.state.champion == world.name("b"))
    assert world.kinds() == ["Deployed", "WeightChanged", "Promoted"]


def test_steps_taken_out_of_the_manifest_meanwhile_end_the_rollout_early(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": CANARY})
    world.until(lambda: world.state.rollout.step == 2)
    world.change(rollout={"steps": (Weight(10),)})
    world.until(lambda: world.state.champion == world.name("b"), limit=4)


def test_a_weight_made_smaller_in_the_manifest_is_followed_down(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": (Weight(50), Weight(50), Hold(None))})
    world.gateway_works = False
    world.change(rollout={"steps": (Weight(20), Hold(None))})
    world.tick()
    assert world.state.route.weights[world.name("b")] == 20


@pytest.mark.parametrize(
    ("step", "match", "sticky", "mirror"),
    [
        (Shadow(100, 60), (), None, True),
        (Hold(60), (("x-tester", "yes"),), "x-user", False),
        (Weight(10), (("x-tester", "yes"),), "x-user", False),
        (Weight(100), (), None, False),
    ],
    ids=["shadow", "hold", "some weight", "full weight"],
)
def test_matched_and_sticky_users_meet_a_challenger_that_answers_users(
    deployed: Make, step: Any, match: Any, sticky: str | None, mirror: bool
) -> None:
    world = challenged(
        deployed, rollout={"steps": (step,), "match": (HeaderMatch("x-tester", "yes"),), "sticky_header": "x-user"}
    )
    route = world.state.route
    assert (route.match, route.sticky, route.mirror is not None) == (match, sticky, mirror)
    assert route.match_to == (world.name("b") if match else None)
    assert route.fallback == (None if isinstance(step, Shadow) else world.name("a"))


def test_a_hold_after_a_shadow_does_not_mirror_where_people_meet_the_challenger(deployed: Make) -> None:
    world = challenged(
        deployed, rollout={"steps": (Shadow(100, 5), Hold(None)), "match": (HeaderMatch("x-tester", "yes"),)}
    )
    world.until(lambda: world.state.rollout.step == 1)
    assert (world.state.route.mirror, world.state.route.match) == (None, (("x-tester", "yes"),))


def test_a_hold_before_any_shadow_mirrors_nothing(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": (Hold(None),)})
    assert world.state.route == Route({world.name("a"): 100})


# --- readiness


def test_a_challenger_waits_for_all_its_replicas_before_it_gets_anything(deployed: Make) -> None:
    world = deployed(rollout={"steps": (Weight(10),)}, serving={"replicas": 3})
    world.name_model("b")
    world.until(lambda: world.name("b") in world.revisions)
    world.revisions[world.name("b")] = RevisionSeen(3, 2)
    world.ticks(5)
    assert world.weight("b") == 0
    assert world.state.message == "waiting for churn-bbbbbbbb to be ready"
    world.revisions[world.name("b")] = RevisionSeen(3, 3)
    world.ticks(1)
    assert world.weight("b") == 10


def test_a_challenger_not_ready_within_the_progress_deadline_is_rolled_back(deployed: Make) -> None:
    world = deployed(rollout={"steps": CANARY, "progress_deadline": 100.0})
    world.ready[world.name("b")] = False
    world.name_model("b")
    world.until(lambda: world.state.rollout)
    world.revisions[world.name("b")] = RevisionSeen(1, 0, "out of memory")
    world.tick(99)
    assert world.state.rollout
    world.tick(1)
    assert world.told()[-1] == ("RolledBack", "ChallengerNotReady")
    assert world.events[-1].message == "churn-aaaaaaaa stays: churn-bbbbbbbb was not ready within 100 s: out of memory"
    world.ticks(2)
    assert list(world.revisions) == [world.name("a")]


def at_weight(deployed: Make, **parts: Any) -> Any:
    world = challenged(deployed, rollout={"steps": (Weight(10), Hold(100), Weight(50), Hold(None)), **parts})
    world.until(lambda: world.state.rollout.step == 1)
    return world


def test_a_challenger_that_stops_answering_loses_its_traffic_at_once_and_gets_it_back_when_ready(
    deployed: Make,
) -> None:
    world = at_weight(deployed)
    world.tick(20)
    world.ready[world.name("b")] = False
    assert Route({world.name("a"): 100}) in world.tick().actions
    assert world.state.message == "waiting for churn-bbbbbbbb to be ready"
    world.ticks(5, 10)
    assert (world.weight("b"), world.state.rollout.step) == (0, 1)
    world.ready[world.name("b")] = True
    world.tick()
    assert world.weight("b") == 10
    assert world.kinds().count("WeightChanged") == 1, "getting it back is no news"
    world.tick(78)
    assert world.state.rollout.step == 1, "the outage did not count"
    world.tick(2)
    assert world.weight("b") == 50


def test_traffic_is_not_given_back_before_the_gateway_has_confirmed_the_retreat(deployed: Make) -> None:
    world = at_weight(deployed)
    world.ready[world.name("b")] = False
    world.gateway_works = False
    world.route = None
    world.tick()
    world.ready[world.name("b")] = True
    world.ticks(6)
    assert world.state.route.weights == {world.name("a"): 100}
    world.gateway_works = True
    world.until(lambda: world.weight("b") == 10)


def test_a_route_that_is_already_there_needs_no_confirmation_of_the_one_before(deployed: Make) -> None:
    world = at_weight(deployed)
    world.ready[world.name("b")] = False
    world.tick()
    world.ready[world.name("b")] = True
    world.route = RouteSeen({world.name("a"): 90, world.name("b"): 10})
    world.tick(0.5)
    assert world.state.route.weights[world.name("b")] == 10


@pytest.mark.parametrize(("seconds", "is_given_up"), [(59.0, False), (61.0, True)])
def test_a_challenger_that_is_not_back_in_time_is_rolled_back(
    deployed: Make, seconds: float, is_given_up: bool
) -> None:
    world = at_weight(deployed)
    world.ready[world.name("b")] = False
    world.tick()
    world.tick(seconds)
    assert (world.told()[-1] == ("RolledBack", "ChallengerNotReady")) is is_given_up


def test_a_challenger_that_is_half_back_gets_the_time_of_a_new_one(deployed: Make) -> None:
    world = at_weight(deployed)
    world.change(serving={"replicas": 2})
    world.revisions[world.name("b")] = RevisionSeen(2, 0)
    world.tick()
    world.revisions[world.name("b")] = RevisionSeen(2, 1)
    world.tick(599)
    assert world.state.rollout
    world.tick(2)
    assert world.told()[-1] == ("RolledBack", "ChallengerNotReady")


def test_a_challenger_in_a_crash_loop_is_rolled_back_at_once(deployed: Make) -> None:
    world = at_weight(deployed)
    world.revisions[world.name("b")] = RevisionSeen(1, 0, "exit status 139, 3 times in a row")
    decision = world.tick()
    assert RollBack(world.name("b"), world.name("a")) in decision.actions
    assert world.events[-1].message == (
        "all traffic is back on churn-aaaaaaaa: churn-bbbbbbbb stopped answering: exit status 139, 3 times in a row"
    )


def test_a_failure_text_beside_an_answering_replica_is_no_crash(deployed: Make) -> None:
    world = at_weight(deployed)
    world.revisions[world.name("b")] = RevisionSeen(2, 1, "one replica restarts")
    world.tick()
    assert world.state.rollout


def test_a_step_does_not_pass_while_a_replica_is_missing(deployed: Make) -> None:
    world = at_weight(deployed)
    world.change(serving={"replicas": 2})
    world.tick()
    world.revisions[world.name("b")] = RevisionSeen(2, 1)
    world.ticks(2, 200)
    assert world.weight("b") == 10
    assert world.state.message == "waiting for all replicas of churn-bbbbbbbb"
    world.revisions[world.name("b")] = RevisionSeen(2, 2)
    world.tick()
    assert world.weight("b") == 50


def test_a_champion_that_stops_answering_does_not_shift_traffic(deployed: Make) -> None:
    world = at_weight(deployed)
    world.ready[world.name("a")] = False
    assert world.tick().actions == ()


def test_what_should_be_served_and_is_lost_is_served_again_and_not_at_every_look(deployed: Make) -> None:
    world = deployed()
    world.revisions.clear()
    world.now += 1
    decision = world.decide()
    assert decision.actions == (Serve(world.name("a"), "models:/churn", "a" * 64, 1),)
    world.commit(decision)
    world.now += 1
    assert world.decide().actions == (), "it was just asked for"
    world.now += 1.5
    assert len(world.decide().actions) == 1, "nothing came of it"


def test_other_replicas_in_the_manifest_are_served(deployed: Make) -> None:
    world = deployed()
    world.change(serving={"replicas": 2})
    assert world.tick().actions == (Serve(world.name("a"), "models:/churn", "a" * 64, 2),)


def test_a_served_revision_that_nobody_knows_is_retired(deployed: Make) -> None:
    world = deployed()
    world.revisions["churn-stray"] = RevisionSeen(1, 1)
    assert world.tick().actions == (Retire("churn-stray"),)


def test_a_gateway_that_lists_a_revision_without_traffic_does_not_keep_it(deployed: Make) -> None:
    world = deployed()
    world.revisions["churn-stray"] = RevisionSeen(1, 1)
    world.route = RouteSeen({world.name("a"): 100, "churn-stray": 0})
    assert world.tick().actions == (Retire("churn-stray"),)


def test_what_a_driver_routed_before_it_died_is_not_retired_while_it_has_traffic(make_world: Make) -> None:
    world = make_world()
    world.revisions[world.name("d")] = RevisionSeen(1, 1)
    world.route = RouteSeen({world.name("d"): 100}, mirror=(world.name("d"), 100))
    world.ready[world.name("a")] = False
    world.ticks(3)
    assert world.name("d") in world.revisions
    world.ready[world.name("a")] = True
    world.ticks(4)
    assert list(world.revisions) == [world.name("a")]


def test_a_foreign_change_of_the_route_is_undone_and_nothing_is_retired_meanwhile(deployed: Make) -> None:
    world = deployed()
    world.revisions["churn-stray"] = RevisionSeen(1, 1)
    world.route = RouteSeen({"churn-stray": 100})
    assert world.tick(5).actions == (Route({world.name("a"): 100}),)
    assert world.tick().actions == (Retire("churn-stray"),)


def test_a_clock_that_goes_back_stops_nothing(deployed: Make) -> None:
    world = at_weight(deployed)
    world.tick(-3600)
    world.route = None
    world.tick()
    assert world.weight("b") == 10
    world.until(lambda: world.weight("b") == 50, limit=400, seconds=20)


# --- verdicts


def test_a_worse_challenger_is_rolled_back_at_once_and_retired_when_the_gateway_has_confirmed(deployed: Make) -> None:
    world = at_weight(deployed)
    world.outcome = "Worse"
    world.gateway_works = False
    decision = world.tick()
    kinds = [type(action).__name__ for action in decision.actions]
    assert kinds == ["Route", "RollBack", "Record", "Notify"], "traffic is asked back first"
    assert decision.actions[0] == Route({world.name("a"): 100})
    assert decision.verdict is not None
    assert decision.verdict.outcome == "Worse"
    event = world.events[-1]
    assert (event.kind, event.reason) == ("RolledBack", "IsWorse")
    assert event.message == "all traffic is back on churn-aaaaaaaa: it is Worse"
    assert event.evidence["gates"] == [{"metric": "errorRate", "outcome": "Worse", "message": "as told"}]
    assert (event.evidence["weight"], event.evidence["verdict"]) == (10, "Worse")
    world.ticks(5)
    assert world.name("b") in world.revisions
    world.gateway_works = True
    world.until(lambda: world.name("b") not in world.revisions)
    assert (world.phase("b"), world.state.champion) == ("RolledBack", world.name("a"))


def test_a_version_rolled_back_is_not_tried_again_until_the_manifest_names_another_in_between(deployed: Make) -> None:
    world = at_weight(deployed)
    world.outcome = "Worse"
    world.tick()
    world.outcome = "Equivalent"
    world.ticks(20, 100)
    assert world.state.rollout is None
    world.name_model("a")
    world.ticks(3)
    assert world.kinds()[-1] == "RolledBack"
    world.name_model("b")
    world.until(lambda: world.state.rollout)
    assert world.state.rollout.challenger == world.name("b")
    assert [revision.name for revision in world.state.revisions] == [world.name("a"), world.name("b")]


EVIDENCE_OF_OTHERS: list[tuple[str, Callable[[Any], Evidence | None]]] = [
    ("no evidence", lambda w: None),
    ("no challenger", lambda w: Evidence(w.now)),
    ("another challenger", lambda w: Evidence(w.now, None, Arm("churn-cccccccc", w.now, w.now, 9, 2))),
    ("another try", lambda w: Evidence(w.now, None, Arm(w.name("b"), w.state.rollout.ready_since - 2, w.now, 9, 2))),
    ("old", lambda w: Evidence(w.now - 1000, None, Arm(w.name("b"), w.now, w.now, 9, 2))),
    (
        "another champion",
        lambda w: Evidence(w.now, Arm("churn-cccccccc", 0, w.now, 9, 0), Arm(w.name("b"), w.now, w.now, 9, 2)),
    ),
]


@pytest.mark.parametrize(("case", "make"), EVIDENCE_OF_OTHERS, ids=[case for case, _ in EVIDENCE_OF_OTHERS])
def test_evidence_that_is_not_about_this_try_counts_as_none(deployed: Make, case: str, make: Any) -> None:
    world = at_weight(deployed)
    evidence = make(world)
    world.evidence = lambda: evidence
    decision = world.tick(0.1)
    assert decision.verdict is None, case
    assert world.state.rollout


def test_evidence_from_a_moment_before_the_noted_readiness_counts(deployed: Make) -> None:
    world = at_weight(deployed)
    evidence = Evidence(world.now, None, Arm(world.name("b"), world.state.rollout.ready_since - 0.5, world.now, 9, 2))
    world.evidence = lambda: evidence
    assert world.tick(0.1).verdict.outcome == "Worse"


def inconclusive(deployed: Make, action: str, outcome: str | None) -> Any:
    world = at_weight(deployed, on_inconclusive=Inconclusive(action, 50.0))
    world.outcome = outcome
    world.tick(99.5)
    assert not world.state.rollout.extended
    world.tick(1)
    return world


@pytest.mark.parametrize("outcome", ["Inconclusive", None])
def test_an_inconclusive_step_is_extended_and_then_rolled_back(deployed: Make, outcome: str | None) -> None:
    world = inconclusive(deployed, "extend", outcome)
    assert world.state.rollout.extended
    assert world.state.message == "the step is extended: the gates cannot judge churn-bbbbbbbb yet"
    world.tick(49)
    assert world.state.rollout
    world.tick(1)
    assert world.told()[-1] == ("RolledBack", "Inconclusive")


def test_one_late_look_after_the_extension_rolls_back_too(deployed: Make) -> None:
    world = at_weight(deployed, on_inconclusive=Inconclusive("extend", 50.0))
    world.outcome = None
    world.tick(151)
    assert world.told()[-1] == ("RolledBack", "Inconclusive")
    assert "there is no evidence" in world.events[-1].message


def test_an_extended_step_passes_when_the_verdict_comes(deployed: Make) -> None:
    world = inconclusive(deployed, "extend", "Inconclusive")
    world.tick(30)
    world.outcome = "Better"
    world.tick()
    assert world.weight("b") == 50


def test_an_inconclusive_step_waits_for_a_person_where_the_manifest_says_pause(deployed: Make) -> None:
    world = inconclusive(deployed, "pause", "Inconclusive")
    world.ticks(5, 10_000)
    assert world.state.message == "waiting for a person: the gates cannot judge churn-bbbbbbbb"
    assert world.weight("b") == 10


@pytest.mark.parametrize(("outcome", "weight"), [("Inconclusive", 50), (None, 10)])
def test_an_inconclusive_step_goes_on_where_the_manifest_says_promote_unless_nothing_at_all_is_known(
    deployed: Make, outcome: str | None, weight: int
) -> None:
    world = inconclusive(deployed, "promote", outcome)
    world.tick()
    assert world.weight("b") == weight


def test_doubt_that_comes_after_a_good_verdict_has_its_own_time(deployed: Make) -> None:
    world = at_weight(deployed, on_inconclusive=Inconclusive("extend", 50.0))
    world.violate(50)
    world.tick(101)
    world.tick(1000)
    assert world.state.message == "promotion is blocked while the input contract is violated"
    world.outcome = None
    world.tick()
    world.tick(49)
    assert world.state.rollout, "the step had passed long ago; the doubt is young"
    world.tick(2)
    assert world.told()[-1] == ("RolledBack", "Inconclusive")


def test_without_gates_no_evidence_is_needed(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": CANARY, "gates": ()})
    world.outcome = None
    world.until(lambda: world.state.champion == world.name("b"))


# --- other models meanwhile


def test_a_new_model_mid_rollout_supersedes_the_challenger_and_starts_from_zero(deployed: Make) -> None:
    world = at_weight(deployed)
    world.gateway_works = False
    world.name_model("c")
    world.tick()
    assert world.told()[-1] == ("RolledBack", "Superseded")
    assert world.events[-1].message.endswith("the manifest now names churn-cccccccc")
    world.ticks(5)
    assert world.state.rollout is None, "the route back to the champion is not confirmed"
    world.gateway_works = True
    world.until(lambda: world.state.rollout)
    rollout = world.state.rollout
    assert (rollout.challenger, rollout.step, rollout.weight) == (world.name("c"), 0, 0)
    assert rollout.started == world.now
    assert world.phase("b") == "RolledBack"


def test_a_second_new_model_replaces_one_that_has_not_begun(deployed: Make) -> None:
    world = at_weight(deployed)
    world.gateway_works = False
    world.name_model("c")
    world.tick()
    world.name_model("d")
    world.tick()
    world.gateway_works = True
    world.until(lambda: world.state.rollout)
    assert world.state.rollout.challenger == world.name("d")
    assert world.phase("c") == "Retired"
    assert world.kinds().count("RolledBack") == 1


def test_a_manifest_that_goes_back_to_the_champions_model_only_ends_the_rollout(deployed: Make) -> None:
    world = at_weight(deployed)
    world.name_model("a")
    world.ticks(20)
    assert world.told()[-1] == ("RolledBack", "Superseded")
    assert (world.state.champion, world.state.rollout) == (world.name("a"), None)
    assert world.weight("a") == 100


def test_the_same_manifest_applied_again_changes_nothing(deployed: Make) -> None:
    world = deployed()
    before = world.state.revisions
    world.name_model("a")
    world.ticks(3)
    assert world.state.revisions == before
    assert world.kinds() == ["Deployed"]


def test_the_history_is_bounded_and_keeps_what_is_in_use(deployed: Make) -> None:
    world = deployed(rollout={"gates": ()})
    for letter in "bcdef0123456789":
        world.name_model(letter)
        world.until(lambda letter=letter: world.state.champion == world.name(letter))
    names = [revision.name for revision in world.state.revisions]
    assert len(names) == 10
    assert {world.state.champion, world.state.previous} <= set(names)


# --- approvals and the contract


def test_a_challenger_waits_for_approvals_of_different_people_before_promotion(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": (Weight(10), Hold(10))}, governance={"approvals": 2})
    world.ticks(5, 100)
    assert world.weight("b") == 10
    assert world.state.message == "waiting for approval of churn-bbbbbbbb: 0 of 2"
    world.command("approve", by="ada")
    world.command("approve", by="ada")
    world.ticks(3)
    assert world.state.message == "waiting for approval of churn-bbbbbbbb: 1 of 2"
    assert not world.state.rollout.approved
    world.command("approve", by="bob")
    world.until(lambda: world.state.champion == world.name("b"), limit=4)
    assert world.events[-1].evidence["approvers"] == ["ada", "bob"]


def test_broken_input_blocks_more_traffic_and_a_later_good_window_lets_it_go_on(deployed: Make) -> None:
    world = challenged(deployed, rollout={"steps": (Shadow(100, 10), Weight(10), Hold(10))})
    world.violate(50)
    world.ticks(5, 100)
    assert (world.weight("b"), world.state.rollout.step) == (0, 0)
    world.violate(0)
    world.until(lambda: world.state.champion == world.name("b"))


def test_broken_input_blocks_the_first_weight_and_the_last(deployed: Make) -> None:
    world = deployed(rollout={"steps": (Weight(10),)})
    world.violate(50)
    world.name_model("b")
    world.until(lambda: world.state.rollout and world.state.rollout.ready_since is not None)
    world.ticks(3)
    assert world.weight("b") == 0
    assert world.state.message == "promotion is blocked while the input contract is violated"
    world.violate(0)
    world.tick()
    world.violate(50)
    world.ticks(5)
    assert world.weight("b") == 10
    assert world.state.message == "promotion is blocked while the input contract is violated"


def test_a_state_never_seen_before_with_nothing_seen_decides_nothing(make_world: Make) -> None:
    world = make_world()
    world.model = None
    decision = world.tick()
    assert (decision.actions, decision.verdict, decision.wake_after) == ((), None, 60.0)
    assert decision.state == State(generation=1)
