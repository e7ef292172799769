"""What people see: small, in words that stay while nothing happens, and written seldom."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest

from seamark.actions import Decision, Verdict
from seamark.evidence import Arm, Drift, Evidence, Share
from seamark.seen import ModelSeen, RevisionSeen, RouteSeen, Seen
from seamark.spec import ModelDeployment, parse
from seamark.state import RetrainingState, Revision, RolloutState, Route, State
from seamark_kubernetes import conditions, report
from seamark_kubernetes.api import MODEL_DEPLOYMENT, MODEL_REVISION, Document, Owner
from seamark_kubernetes.conditions import Trouble
from seamark_kubernetes.memory import Entry, Written
from seamark_kubernetes.publish import NUMBERS_EVERY, Publisher
from seamark_kubernetes.testing import FakeApi

NOW = 1_780_000_000.0
A, B = "churn-aaaaaaaa", "churn-bbbbbbbb"
OWNER = Owner("shop", "churn", "uid-1")
MANIFEST: Document = {
    "apiVersion": "seamark.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "churn", "namespace": "shop", "generation": 3, "uid": "uid-1"},
    "spec": {"model": {"uri": "pvc://models/v1"}, "rollout": {"steps": [{"weight": 5}, {"hold": {"for": "10m"}}]}},
}
SPEC: ModelDeployment = parse(MANIFEST)


def revision(name: str, phase: Any) -> Revision:
    return Revision(name, "pvc://models/v1", name[-1] * 64, "spec", NOW - 99.0, "1.2", phase)


SERVING = State(revisions=(revision(A, "Champion"),), champion=A, route=Route({A: 100}))
CANARY = replace(
    SERVING,
    revisions=(revision(A, "Champion"), revision(B, "Canary")),
    rollout=RolloutState(B, NOW - 90.0, step=1, step_since=NOW - 61.0, ready_since=NOW - 80.0, weight=5),
    route=Route({A: 95, B: 5}),
)
SEEN = Seen(
    NOW,
    3,
    model=ModelSeen("pvc://models/v1", "a" * 64, "1.2", format="onnx"),
    revisions={A: RevisionSeen(1, 1)},
    route=RouteSeen({A: 100}),
)
TRIAL = replace(SEEN, revisions={A: RevisionSeen(1, 1), B: RevisionSeen(1, 1)}, route=RouteSeen({A: 95, B: 5}))


def status(state: State = SERVING, seen: Seen = SEEN, before: Document | None = None, **more: Any) -> Document:
    verdict = more.pop("verdict", None)
    document = MANIFEST | ({"status": before} if before is not None else {})
    return report.status(document, SPEC, seen, Decision(state, verdict=verdict), url="http://x", **more)


def condition(found: Document, kind: str) -> tuple[str, str, str] | None:
    one = next((one for one in found["conditions"] if one["type"] == kind), None)
    return one and (one["status"], one["reason"], one["message"])


def test_a_settled_deployment_takes_few_lines() -> None:
    found = status()
    del found["conditions"]
    assert found == {
        "observedGeneration": 3,
        "phase": "Serving",
        "url": "http://x",
        "champion": A,
        "weights": {A: 100},
        "model": {"uri": "pvc://models/v1", "digest": "a" * 64, "version": "1.2", "format": "onnx"},
    }


def test_a_running_rollout_tells_who_where_and_why() -> None:
    found = status(CANARY, TRIAL, verdict=Verdict("Equivalent", "GatesPassed", "no gate says otherwise"))
    assert (found["phase"], found["champion"], found["challenger"], found["weight"]) == ("Canary", A, B, 5)
    assert found["weights"] == {A: 95, B: 5}
    assert found["step"] == "2 of 2: hold 1m1s of 10m at 5 %"
    assert found["verdict"] == {"outcome": "Equivalent", "reason": "GatesPassed", "message": "no gate says otherwise"}
    assert condition(found, "Progressing") == ("True", "RolloutRunning", f"{B} is on trial")
    assert condition(found, "Reconciling") == ("True", "RolloutRunning", f"{B} is on trial")


def test_a_challenger_without_traffic_has_weight_0() -> None:
    found = status(replace(CANARY, route=Route({A: 100})), replace(TRIAL, route=RouteSeen({A: 100})))
    assert (found["weight"], found["weights"]) == (0, {A: 100})


def test_while_a_route_is_on_its_way_the_one_asked_for_is_shown() -> None:
    found = status(CANARY, replace(TRIAL, route=None))
    assert (found["weight"], condition(found, "Ready")) == (5, ("True", "Serving", f"{A} answers users"))


@pytest.mark.parametrize(
    ("drift", "shown"),
    [
        (Drift("feature", "age", 0.4123, 0.1, 100), "0.41 > 0.10 age"),
        (Drift("feature", "age", 0.0234, 0.1, 100), "0.023 < 0.10"),
        (Drift("prediction", "", 0.5, 0.25, 100), "0.50 > 0.25"),
        (Drift("feature", "age", 0.0, 0.015, 100), "0.00 < 0.015"),
    ],
)
def test_drift_is_shown_beside_its_threshold(drift: Drift, shown: str) -> None:
    evidence = Evidence(NOW, drift=(drift,))
    assert status(seen=replace(SEEN, evidence=evidence))["drift"] == shown


def test_quality_has_three_digits() -> None:
    arm = Arm(A, 0.0, NOW, 10, 0, recent=Share(931, 1000))
    assert status(seen=replace(SEEN, evidence=Evidence(NOW, champion=arm)))["quality"] == "0.931"


def test_many_alarms_are_counted() -> None:
    found = status(replace(SERVING, alarms=tuple(("feature", f"f{i}") for i in range(12))))
    assert found["alarms"][0] == "feature f0"
    assert found["alarms"][9:] == ["feature f9", "and 2 more"]
    kind, reason, message = condition(found, "DriftDetected") or ("", "", "")
    assert (kind, reason) == ("True", "FeatureDrift")
    assert message.startswith("drift in f0, f1")
    assert message.endswith("and 2 more")


# --- conditions


@pytest.mark.parametrize(
    ("state", "seen", "more", "kind", "expected"),
    [
        (SERVING, SEEN, {}, "Ready", ("True", "Serving")),
        (State(), SEEN, {}, "Ready", ("False", "Deploying")),
        (SERVING, replace(SEEN, revisions={A: RevisionSeen(1, 0)}), {}, "Ready", ("False", "ChampionNotReady")),
        (SERVING, SEEN, {"unconfirmed": 60.0}, "Ready", ("True", "Serving")),
        (SERVING, SEEN, {"unconfirmed": 60.1}, "Ready", ("False", "RouteUnconfirmed")),
        (SERVING, replace(SEEN, model=ModelSeen("x", error="no")), {}, "ModelResolved", ("False", "ModelRejected")),
        (SERVING, SEEN, {}, "Progressing", ("False", "Settled")),
        (SERVING, replace(SEEN, model=None), {}, "Progressing", ("True", "Resolving")),
        (State(), SEEN, {}, "Progressing", ("False", "NoModel")),
        (State(revisions=(revision(A, "Pending"),)), SEEN, {}, "Progressing", ("True", "Deploying")),
        (replace(CANARY, paused=True), TRIAL, {}, "Progressing", ("False", "Paused")),
        (SERVING, SEEN, {"unconfirmed": 5.0}, "Progressing", ("False", "Settled")),
        (SERVING, SEEN, {"unconfirmed": 5.1}, "Progressing", ("True", "RouteUnconfirmed")),
        (SERVING, replace(SEEN, revisions={}), {}, "Progressing", ("True", "WaitingForReplicas")),
        (replace(SERVING, alarms=(("concept", ""), ("feature", "a"))), SEEN, {}, "DriftDetected", ("True", "Drift")),
        (replace(SERVING, retraining=RetrainingState(job="j", cause="c")), SEEN, {}, "Retraining", ("True", "Running")),
        (replace(SERVING, retraining=RetrainingState(blocked="x")), SEEN, {}, "Retraining", ("False", "Blocked")),
        (
            replace(SERVING, retraining=RetrainingState(waiting="waiting for labels: 3 of 500")),
            SEEN,
            {},
            "Retraining",
            ("False", "Waiting"),
        ),
        (SERVING, replace(SEEN, model=ModelSeen("x", error="no")), {}, "Stalled", ("True", "ModelRejected")),
        (SERVING, SEEN, {"troubles": [Trouble("Refused", "no", stalls=True)]}, "Stalled", ("True", "Refused")),
    ],
)
def test_each_condition_says_what_holds(
    state: State, seen: Seen, more: dict[str, Any], kind: str, expected: tuple[str, str]
) -> None:
    found = condition(status(state, seen, **more), kind)
    assert found is not None
    assert found[:2] == expected


@pytest.mark.parametrize(
    ("state", "seen", "kinds"),
    [
        (SERVING, SEEN, ["Ready", "Progressing"]),
        (SERVING, replace(SEEN, evidence=Evidence(NOW)), ["Ready", "Progressing"]),
        (SERVING, replace(SEEN, model=None), ["Ready", "Progressing", "Reconciling"]),
        (CANARY, TRIAL, ["Ready", "Progressing", "Reconciling"]),
        (replace(SERVING, alarms=(("concept", ""),)), SEEN, ["Ready", "Progressing", "DriftDetected"]),
    ],
    ids=["settled", "settled, with evidence", "resolving", "rollout", "drift"],
)
def test_conditions_without_news_are_not_there(state: State, seen: Seen, kinds: list[str]) -> None:
    assert [one["type"] for one in status(state, seen)["conditions"]] == kinds


@pytest.mark.parametrize(("state", "seen"), [(SERVING, SEEN), (CANARY, TRIAL)], ids=["settled", "rollout"])
def test_a_description_fits_on_a_screen(state: State, seen: Seen) -> None:
    """Beside its manifest and its events: kubectl writes a line for each value and each map, and 12 above them."""
    assert 12 + _lines(status(state, seen)) <= 50


def _lines(found: Any) -> int:
    if isinstance(found, dict):
        return sum(1 + (_lines(value) if isinstance(value, dict | list) else 0) for value in found.values())
    return sum(_lines(one) if isinstance(one, dict) else 1 for one in found)


def test_what_is_not_true_of_reconciling_and_stalled_is_not_there() -> None:
    found = status(troubles=[Trouble("NotApplied", "no answer", stalls=False)])
    assert (condition(found, "Reconciling"), condition(found, "Stalled")) == (None, None)
    assert found["message"] == "no answer"


def test_a_stalled_deployment_is_not_reconciling() -> None:
    found = status(CANARY, TRIAL, troubles=[Trouble("Refused", "no", stalls=True)])
    assert condition(found, "Stalled") is not None
    assert condition(found, "Reconciling") is None


def test_a_counter_is_no_part_of_a_conditions_message() -> None:
    waiting = RetrainingState(waiting="waiting for labels: 3 of 500")
    found = status(replace(SERVING, retraining=waiting))
    assert found["retraining"] == "waiting for labels: 3 of 500"
    assert (condition(found, "Retraining") or ())[2] == "waiting for labels"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = status()
    later = status(CANARY, replace(TRIAL, now=NOW + 100), before=first)
    times = {one["type"]: one["lastTransitionTime"] for one in later["conditions"]}
    assert times["Ready"] == "2026-05-28T20:26:40Z"
    assert times["Progressing"] == times["Reconciling"] == "2026-05-28T20:28:20Z"


def test_a_trouble_that_the_decision_tells_is_told_once() -> None:
    state = replace(SERVING, message="waiting: it is refused")
    troubles = [Trouble("Refused", "it is refused", stalls=True), Trouble("Refused", "so is that", stalls=True)]
    assert status(state, troubles=troubles)["message"] == "waiting: it is refused; so is that"


def test_what_interrupts_keeps_the_rest_of_the_story() -> None:
    before = status(CANARY, TRIAL)
    found = report.invalid(MANIFEST | {"status": before}, "InvalidSpec", "spec.x: is wrong", NOW + 1)
    assert (found["champion"], found["message"]) == (A, "spec.x: is wrong")
    kinds = [one["type"] for one in found["conditions"]]
    assert sorted(kinds) == ["Progressing", "Ready", "Stalled"]


# --- when it is written


@pytest.mark.parametrize(
    ("old", "new", "numbers_only"),
    [
        ({"drift": "0.41 > 0.10 age"}, {"drift": "0.42 > 0.10 age"}, True),
        ({"drift": "0.41 > 0.10 age"}, {"drift": "0.41 > 0.10 income"}, False),
        ({"drift": "0.02 < 0.10"}, {"drift": "0.41 > 0.10 age"}, False),
        ({"quality": "0.931"}, {"quality": "0.930"}, True),
        ({}, {"quality": "0.930"}, False),
        ({"weight": 5}, {"weight": 50}, False),
        ({"step": "3 of 5: hold 59s of 20m at 10 %"}, {"step": "3 of 5: hold 1m2s of 20m at 10 %"}, True),
        ({"step": "3 of 5: hold 59s of 20m at 10 %"}, {"step": "4 of 5: hold 59s of 20m at 10 %"}, False),
        ({"retraining": "waiting for labels: 3 of 500"}, {"retraining": "waiting for labels: 99 of 500"}, True),
        (
            {"verdict": {"outcome": "Worse", "message": "1.5 %"}},
            {"verdict": {"outcome": "Worse", "message": "2 %"}},
            True,
        ),
        ({"verdict": {"outcome": "Worse"}}, {"verdict": {"outcome": "Better"}}, False),
        ({"message": "1 of 2"}, {"message": "2 of 2"}, False),
    ],
)
def test_numbers_that_flicker_are_told_from_news(old: Document, new: Document, numbers_only: bool) -> None:
    assert report.differs_in_numbers_only(old, new) == numbers_only


class Writes:
    """A deployment whose status is published."""

    def __init__(self) -> None:
        self.api, self.written = FakeApi(), Written()
        self.publisher = Publisher(self.api, self.written)
        asyncio.run(self.api.create(MODEL_DEPLOYMENT, "shop", {"metadata": {"name": "churn"}}))

    @property
    def document(self) -> Document:
        return self.api.all(MODEL_DEPLOYMENT)[0]

    def publish(self, new: Document, now: float) -> float:
        return asyncio.run(self.publisher.status(self.document, new, now))


def test_the_same_is_written_once() -> None:
    writes = Writes()
    assert writes.publish({"phase": "Serving"}, NOW) == math.inf
    assert writes.publish({"phase": "Serving"}, NOW + 1) == math.inf
    assert writes.api.calls["apply"] == 1


def test_mere_numbers_wait_and_news_do_not() -> None:
    writes = Writes()
    writes.publish({"quality": "0.9", "phase": "Serving"}, NOW)
    assert writes.publish({"quality": "0.8", "phase": "Serving"}, NOW + 10) == NUMBERS_EVERY - 10
    assert writes.document["status"]["quality"] == "0.9"
    writes.publish({"quality": "0.8", "phase": "Serving"}, NOW + NUMBERS_EVERY)
    assert writes.document["status"]["quality"] == "0.8"
    writes.publish({"quality": "0.7", "phase": "Paused"}, NOW + NUMBERS_EVERY + 1)
    assert writes.document["status"] == {"quality": "0.7", "phase": "Paused"}


def test_what_others_put_into_the_status_is_no_reason_to_write_again_and_again() -> None:
    writes = Writes()
    writes.api.edit(MODEL_DEPLOYMENT, "shop", "churn", lambda found: found.update(status={"other": 1}))
    for second in range(3):
        writes.publish({"phase": "Serving"}, NOW + second)
    assert writes.api.calls["apply"] == 1
    writes.api.edit(MODEL_DEPLOYMENT, "shop", "churn", lambda found: found["status"].update(phase="Broken"))
    writes.publish({"phase": "Serving"}, NOW + 9)
    assert writes.document["status"] == {"other": 1, "phase": "Serving"}


def test_the_order_in_which_conditions_are_kept_is_no_news() -> None:
    writes = Writes()
    both = [{"type": "Ready", "status": "True"}, {"type": "Progressing", "status": "False"}]
    writes.publish({"conditions": both}, NOW)
    writes.api.edit(MODEL_DEPLOYMENT, "shop", "churn", lambda found: found["status"]["conditions"].reverse())
    writes.publish({"conditions": both}, NOW + 1)
    assert writes.api.calls["apply"] == 1


# --- ModelRevisions


def wanted(state: State, seen: Seen, known: dict[str, Document] | None = None, *entries: Entry) -> list[Any]:
    return report.revisions(OWNER, SPEC, seen, Decision(state), entries, known or {})


def test_a_revision_is_made_with_what_never_changes() -> None:
    document = wanted(SERVING, SEEN)[0].document
    assert document["spec"] == {
        "deployment": "churn",
        "uri": "pvc://models/v1",
        "digest": "a" * 64,
        "version": "1.2",
        "origin": "spec",
        "created": "2026-05-28T20:25:01Z",
    }
    assert document["metadata"]["ownerReferences"] == [OWNER.reference()]


def test_a_revision_that_is_there_is_not_made_again_and_an_orphan_is_adopted_as_it_is() -> None:
    document = wanted(SERVING, SEEN)[0].document
    assert wanted(SERVING, SEEN, {A: document})[0].document is None
    orphan = {"metadata": {"name": A}, "spec": {"deployment": "churn", "uri": "pvc://elsewhere/v1"}}
    assert wanted(SERVING, SEEN, {A: orphan})[0].document["spec"]["uri"] == "pvc://elsewhere/v1"


def test_revisions_tell_their_parts() -> None:
    seen = replace(TRIAL, revisions={A: RevisionSeen(2, 2), B: RevisionSeen(1, 0, "it crashes")})
    found = {one.name: one.status for one in wanted(CANARY, seen)}
    assert found[A] == {"phase": "Champion", "role": "champion", "weight": 95, "ready": "2/2"}
    assert found[B] == {
        "phase": "Canary",
        "role": "challenger",
        "weight": 5,
        "ready": "0/1",
        "failing": "it crashes",
    }


def test_a_shadow_tells_how_much_it_gets_copies_of_and_a_waiting_one_that_it_waits() -> None:
    shadow = replace(CANARY, revisions=(revision(A, "Champion"), revision(B, "Shadow")))
    seen = replace(TRIAL, route=RouteSeen({A: 100}, (B, 50)))
    assert wanted(shadow, seen)[1].status["mirror"] == 50
    assert wanted(shadow, seen)[1].status["role"] == "shadow"
    waiting = replace(SERVING, revisions=(*SERVING.revisions, revision(B, "Pending")))
    assert wanted(waiting, SEEN)[1].status["role"] == "pending"


def test_only_the_oldest_forgotten_revisions_are_surplus() -> None:
    known = [
        {"metadata": {"name": f"churn-{i:08d}"}, "spec": {"created": f"2026-01-{i + 1:02d}T00:00:00Z"}}
        for i in range(report.REVISIONS_KEPT + 1)
    ]
    held = replace(SERVING, revisions=(revision("churn-00000000", "Champion"),))
    assert report.surplus(held, known[:-1]) == []
    assert report.surplus(held, known) == ["churn-00000001"]


def test_a_history_is_never_written_over_a_newer_one(world: Any) -> None:
    world.submit("v1")
    world.turn(world.operator(), 8)
    old = world.api.all(MODEL_REVISION)[0]
    world.api.edit(MODEL_REVISION, "shop", A, lambda found: found["status"]["history"].append({"sequence": 2}))
    publisher = Publisher(world.api, Written())
    stale = report.WantedRevision(A, None, {"history": []})
    with pytest.raises(Exception, match="is not the newest"):
        asyncio.run(publisher.revisions(OWNER, [stale], {A: old}, NOW))


def test_every_condition_has_a_reason_that_programs_can_read() -> None:
    for state, seen in ((SERVING, SEEN), (CANARY, TRIAL), (State(), replace(SEEN, model=None))):
        for one in conditions.findings(SPEC, state, seen, ready=True, troubles=(), unconfirmed=0.0):
            assert one.reason.isalnum()
            assert one.reason[0].isupper()
            assert one.message
