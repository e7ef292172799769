"""What people are shown about a deployment: everything that is known, in words, and nothing that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.actions import Decision, Verdict
from seamark.evidence import Arm, Drift, Evidence, Share
from seamark.seen import ModelSeen, RevisionSeen, RouteSeen, Seen
from seamark.spec import Hold, Model, ModelDeployment, Rollout, Shadow, Step, Weight
from seamark.state import Phase, RetrainingState, Revision, RolloutState, State
from seamark.summary import role, summarise

NOW = 100.0
STEPS: tuple[Step, ...] = (Shadow(100, 10.0), Weight(10), Hold(20.0), Hold(None))


def spec(*steps: Step) -> ModelDeployment:
    return ModelDeployment("churn", "shop", Model("/churn"), rollout=Rollout(steps=steps or STEPS))


def revision(name: str, phase: Phase = "Retired", created: float = 0.0) -> Revision:
    return Revision(name, f"/{name}", name * 8, "spec", created, f"version {name}", phase)


def shown(state: State, seen: Seen | None = None, verdict: Verdict | None = None) -> dict[str, Any]:
    summary = summarise(spec(), state, seen or Seen(NOW), Decision(state, verdict=verdict))
    json.dumps(summary, allow_nan=False)
    return summary


# --- the deployment


def test_nothing_known_is_shown_as_nothing() -> None:
    assert shown(State()) == {
        "name": "churn",
        "namespace": "shop",
        "ready": False,
        "phase": "Pending",
        "message": "",
        "step": "",
        "verdict": None,
        "retraining": "",
        "alarms": [],
        "revisions": [],
    }


READY = RevisionSeen(2, 1)
CARRIED = RouteSeen({"a": 100})


@pytest.mark.parametrize(
    ("champion", "replicas", "route", "is_ready"),
    [
        pytest.param("a", READY, CARRIED, True, id="a replica answers and has the traffic"),
        pytest.param("a", READY, RouteSeen({"a": 1, "b": 99}), True, id="a little traffic"),
        pytest.param("a", RevisionSeen(2, 0), CARRIED, False, id="no replica answers"),
        pytest.param("a", None, CARRIED, False, id="it is not served"),
        pytest.param("a", READY, None, False, id="no route is confirmed"),
        pytest.param("a", READY, RouteSeen({"a": 0, "b": 100}), False, id="no traffic"),
        pytest.param("a", READY, RouteSeen({"b": 100}), False, id="traffic goes past it"),
        pytest.param(None, READY, CARRIED, False, id="no champion yet"),
    ],
)
def test_a_deployment_is_ready_when_its_champion_answers_users(
    champion: str | None, replicas: RevisionSeen | None, route: RouteSeen | None, is_ready: bool
) -> None:
    seen = Seen(NOW, revisions={"a": replicas} if replicas else {}, route=route)
    assert shown(State((revision("a"),), champion), seen)["ready"] is is_ready


def rolling(phase: Phase, **changes: Any) -> State:
    return State((revision("a", "Champion"), revision("b", phase)), "a", rollout=RolloutState("b", 0.0), **changes)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        pytest.param(State(), "Pending", id="nothing is deployed"),
        pytest.param(State(champion="a"), "Serving", id="a champion"),
        pytest.param(State(champion="a", paused=True), "Paused", id="a pause"),
        pytest.param(rolling("Pending"), "Serving", id="a challenger gets ready"),
        pytest.param(rolling("Shadow"), "Shadow", id="a shadow"),
        pytest.param(rolling("Canary"), "Canary", id="a canary"),
        pytest.param(rolling("Canary", paused=True), "Paused", id="a pause goes before a canary"),
        pytest.param(State(champion="a", rollout=RolloutState("x", 0.0)), "Serving", id="a challenger forgotten"),
    ],
)
def test_each_phase_has_a_name(state: State, phase: str) -> None:
    assert shown(state)["phase"] == phase


TROUBLED = Seen(
    NOW,
    model=ModelSeen("/churn", error="Cannot read it"),
    revisions={"a": RevisionSeen(1, 1), "b": RevisionSeen(1, 0, "out of memory"), "c": RevisionSeen(1, 0, "no image")},
)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (Seen(NOW), ""),
        (Seen(NOW, model=ModelSeen("/churn", "a" * 64)), ""),
        (Seen(NOW, model=TROUBLED.model), "Cannot read it"),
        (Seen(NOW, revisions=TROUBLED.revisions), "b is failing: out of memory; c is failing: no image"),
        (TROUBLED, "Cannot read it; b is failing: out of memory; c is failing: no image"),
    ],
    ids=["nothing", "a model that is fine", "a model that is not", "revisions that fail", "the model first"],
)
def test_without_a_message_what_is_wrong_is_shown(seen: Seen, message: str) -> None:
    assert shown(State(), seen)["message"] == message
    assert shown(State(message="paused"), seen)["message"] == "paused"


@pytest.mark.parametrize(
    ("rollout", "text"),
    [
        (RolloutState("b", 1.0, step=0, step_since=95.0), "1 of 4: shadow 5s of 10s, 100 % copied"),
        (RolloutState("b", 1.0, step=0, step_since=95.6), "1 of 4: shadow 4s of 10s, 100 % copied"),
        (RolloutState("b", 1.0, step=1), "2 of 4: weight 10 %"),
        (RolloutState("b", 1.0, step=2), "3 of 4: hold 0s of 20s at 10 %"),
        (RolloutState("b", 1.0, step=2, step_since=88.0, held=3.0), "3 of 4: hold 15s of 20s at 10 %"),
        (RolloutState("b", 0, step=2, step_since=88, held=3, unready_since=99), "3 of 4: hold 3s of 20s at 10 %"),
        (RolloutState("b", 1.0, step=3, step_since=90.0), "4 of 4: hold until a person promotes, at 10 %"),
        (RolloutState("b", 1.0, step=4), "all steps are done: promoting"),
    ],
)  # fmt: skip
def test_each_step_has_words(rollout: RolloutState, text: str) -> None:
    assert shown(State(rollout=rollout))["step"] == text


def test_a_hold_before_any_weight_is_at_nothing() -> None:
    state = State(rollout=RolloutState("b", 1.0))
    summary = summarise(spec(Hold(20.0), Weight(10)), state, Seen(NOW), Decision(state))
    assert summary["step"] == "1 of 2: hold 0s of 20s at 0 %"


def test_a_hold_is_at_the_last_weight_before_it() -> None:
    steps = (Weight(10), Hold(5.0), Weight(50), Hold(5400.0), Weight(75))
    state = State(rollout=RolloutState("b", 1.0, step=3, step_since=30.0))
    summary = summarise(spec(*steps), state, Seen(NOW), Decision(state))
    assert summary["step"] == "4 of 5: hold 1m10s of 1h30m at 50 %"


def test_a_paused_step_shows_the_time_that_counts() -> None:
    state = State(paused=True, rollout=RolloutState("b", 1.0, step_since=40.0, held=3.0))
    assert shown(state)["step"] == "1 of 4: shadow 3s of 10s, 100 % copied"


def test_a_verdict_is_shown_with_its_reason() -> None:
    verdict = Verdict("Better", "GatesPassed", "fine", (("errorRate", "Better", "1 % less"),))
    assert shown(State(), verdict=verdict)["verdict"] == {
        "outcome": "Better",
        "reason": "GatesPassed",
        "message": "fine",
    }


@pytest.mark.parametrize(
    ("retraining", "text"),
    [
        (RetrainingState(), ""),
        (RetrainingState(waiting="waiting for labels: 3 of 50"), "waiting for labels: 3 of 50"),
        (RetrainingState(waiting="w", blocked="ContractViolated"), "blocked while the input contract is violated"),
        (RetrainingState(2, "churn-retrain-2", "new data", finished=9.0), "running churn-retrain-2 (new data)"),
        (RetrainingState(2, "churn-retrain-2", "c", blocked="ContractViolated"), "running churn-retrain-2 (c)"),
    ],
    ids=["nothing", "what it waits for", "blocked", "a Job after another one", "a Job that began before the block"],
)
def test_each_state_of_retraining_has_words(retraining: RetrainingState, text: str) -> None:
    assert shown(State(retraining=retraining))["retraining"] == text


def test_alarms_name_their_feature_where_there_is_one() -> None:
    state = State(
        alarms=(("feature", "mean radius"), ("label", ""), ("prediction", "prediction")),
        violations=(("", "shape"), ("mean radius", "range")),
    )
    assert shown(state)["alarms"] == [
        "feature mean radius", "label", "prediction", "contract shape", "contract mean radius range"
    ]  # fmt: skip


# --- its revisions


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "champion"), ("b", "challenger"), ("c", "previous"), ("d", "retired"), ("unknown", "retired")],
)
def test_each_revision_has_a_role(name: str, expected: str) -> None:
    state = State(
        (revision("a"), revision("b", "Canary"), revision("c"), revision("d")),
        "a",
        previous="c",
        rollout=RolloutState("b", 0.0),
    )
    assert role(state, name) == expected


@pytest.mark.parametrize(
    ("phase", "expected"), [("Shadow", "shadow"), ("Pending", "challenger"), ("Canary", "challenger")]
)
def test_a_challenger_that_users_do_not_see_is_a_shadow(phase: Phase, expected: str) -> None:
    assert role(rolling(phase), "b") == expected


def test_a_challenger_that_the_memory_has_lost_is_still_the_challenger() -> None:
    assert role(State(champion="a", rollout=RolloutState("b", 0.0)), "b") == "challenger"


ROLES = ("champion", "challenger", "shadow", "previous", "retired")
letters = st.sampled_from("abcdefgh")
states = st.builds(
    lambda revisions, champion, challenger, previous: State(
        tuple(revisions),
        champion,
        previous=previous,
        rollout=RolloutState(challenger, 0.0) if challenger else None,
    ),
    st.lists(
        st.builds(revision, letters, st.sampled_from(["Shadow", "Canary", "Retired"]), st.floats(0, 1e9)),
        max_size=8,
        unique_by=lambda one: one.name,
    ),
    st.none() | letters,
    st.none() | letters,
    st.none() | letters,
)


@given(states)
def test_the_champion_comes_first_then_the_challenger_then_the_newest_and_no_more_than_five(state: State) -> None:
    rows = shown(state)["revisions"]
    assert [row["role"] for row in rows] == [role(state, row["name"]) for row in rows]
    ranks = [ROLES.index(row["role"]) for row in rows]
    created = [found.created for row in rows if (found := state.revision(row["name"]))]
    assert list(zip(ranks, (-time for time in created), strict=True)) == sorted(
        zip(ranks, (-time for time in created), strict=True)
    )
    assert len(rows) == min(5, len(state.revisions))
    left_out = {one.name for one in state.revisions} - {row["name"] for row in rows}
    assert not left_out & {state.champion, state.rollout.challenger if state.rollout else None}


def test_a_revision_is_shown_with_its_traffic_its_replicas_and_its_evidence() -> None:
    champion = Arm("a", 0, 1, 200, 1, recent=Share(9, 10), requests_per_second=5.0, p99=0.01)
    challenger = Arm("b", 0, 1, 0, 0)
    drift = (Drift("feature", "x", 3.0, 2.0, 9), Drift("feature", "y", 2.0, 1.0, 9), Drift("feature", "z", 9.0, 0.0, 9))
    seen = Seen(
        NOW,
        revisions={"a": RevisionSeen(2, 1), "b": RevisionSeen(1, 1)},
        route=RouteSeen({"a": 90, "b": 10}, ("b", 30)),
        evidence=Evidence(99.0, champion, challenger, drift=drift),
    )
    first, second = shown(rolling("Canary"), seen)["revisions"]
    assert first == {
        "name": "a",
        "version": "version a",
        "role": "champion",
        "phase": "Champion",
        "weight": 90,
        "mirror": 0,
        "ready": "1/2",
        "requests_per_second": 5.0,
        "error_rate": 0.005,
        "p99": 0.01,
        "drift": {"score": 2.0, "threshold": 1.0, "feature": "y"},
        "quality": 0.9,
        "quality_rows": 10,
    }
    assert second == {
        "name": "b",
        "version": "version b",
        "role": "challenger",
        "phase": "Canary",
        "weight": 10,
        "mirror": 30,
        "ready": "1/1",
        "requests_per_second": 0.0,
        "error_rate": None,
        "p99": None,
        "drift": None,
        "quality": None,
        "quality_rows": 0,
    }


NOTHING_MEASURED = [
    ("no evidence", None),
    ("evidence of no arm", Evidence(99.0)),
    ("evidence of another revision", Evidence(99.0, Arm("x", 0, 1, 9, 9), Arm("y", 0, 1, 9, 9))),
    ("drift without a threshold", Evidence(99.0, drift=(Drift("feature", "x", 3.0, 0.0, 9),))),
]


@pytest.mark.parametrize(("case", "evidence"), NOTHING_MEASURED, ids=[case for case, _ in NOTHING_MEASURED])
def test_what_is_not_measured_is_shown_as_unknown_and_never_as_zero(case: str, evidence: Evidence | None) -> None:
    (row,) = shown(State((revision("a", "Champion"),), "a"), Seen(NOW, evidence=evidence))["revisions"]
    unknown = ("requests_per_second", "error_rate", "p99", "drift", "quality")
    assert {row[field] for field in unknown} == {None}, case
    assert (row["weight"], row["mirror"], row["ready"], row["quality_rows"]) == (0, 0, "0/0", 0)
