"""A cluster's objects are shown as the laptop shows the same facts; what the cluster does not report is unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from seamark.actions import Decision, Verdict
from seamark.evidence import Arm, Drift, Evidence, Share
from seamark.seen import ModelSeen, RevisionSeen, RouteSeen, Seen
from seamark.spec import ModelDeployment, parse
from seamark.state import RetrainingState, Revision, RolloutState, Route, State
from seamark.summary import summarise
from seamark_kubernetes import report
from seamark_kubernetes.api import Document, Owner
from seamark_local.cluster.summaries import owned, summaries, summary

Make = Callable[..., dict[str, Any]]

# --- the same facts, by way of the cluster's objects and directly

NOW = 1_780_000_000.0
A, B, OLD = "churn-aaaaaaaa", "churn-bbbbbbbb", "churn-00000000"
MANIFEST: Document = {
    "apiVersion": "seamark.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "churn", "namespace": "shop", "generation": 3, "uid": "u"},
    "spec": {
        "model": {"uri": "pvc://m/v1"},
        "rollout": {"steps": [{"shadow": {"for": "5m"}}, {"weight": 5}, {"hold": {"for": "10m"}}]},
    },
}
SPEC: ModelDeployment = parse(MANIFEST)


def known(name: str, phase: Any, age: float = 99.0) -> Revision:
    return Revision(name, "pvc://m/v1", name[-1] * 64, "spec", NOW - age, "1.2", phase)


DRIFTED = Evidence(
    NOW,
    drift=(Drift("feature", "age", 0.4, 0.1, 100),),
    champion=Arm(A, NOW - 60.0, NOW, 100, 1, recent=Share(90, 100)),
)
SERVING = State((known(A, "Champion"),), champion=A, route=Route({A: 100}))
SEEN = Seen(
    NOW,
    3,
    model=ModelSeen("pvc://m/v1", "a" * 64, "1.2"),
    revisions={A: RevisionSeen(2, 1)},
    route=RouteSeen({A: 100}),
    evidence=DRIFTED,
)
TRIAL = replace(SEEN, revisions={A: RevisionSeen(1, 1), B: RevisionSeen(1, 1)}, route=RouteSeen({A: 95, B: 5}))
ROLLOUT = RolloutState(B, NOW - 90.0, step=2, step_since=NOW - 61.0, ready_since=NOW - 80.0, weight=5)
CANARY = replace(
    SERVING,
    revisions=(known(OLD, "RolledBack", 500.0), known(A, "Champion"), known(B, "Canary", 50.0)),
    rollout=ROLLOUT,
    route=Route({A: 95, B: 5}),
    alarms=(("feature", "age"),),
)
SHADOW = replace(
    SERVING,
    revisions=(known(A, "Champion"), known(B, "Shadow")),
    rollout=replace(ROLLOUT, step=0, weight=0),
    route=Route({A: 100}, mirror=(B, 40)),
)
VERDICT = Verdict("Inconclusive", "NotEnoughData", "too few")

SITUATIONS = {
    "nothing yet": (State(), Seen(NOW, 3), None),
    "serving, with drift": (SERVING, SEEN, None),
    "canary": (CANARY, TRIAL, VERDICT),
    "shadow": (SHADOW, replace(TRIAL, route=RouteSeen({A: 100}, (B, 40))), VERDICT),
    "paused": (replace(CANARY, paused=True, message="paused"), TRIAL, VERDICT),
    "retraining": (replace(SERVING, retraining=RetrainingState(1, "churn-retrain-1", "feature drift")), SEEN, None),
    "promoted": (
        replace(SERVING, revisions=(known(OLD, "Retired"), known(A, "Champion")), previous=OLD),
        replace(SEEN, revisions={A: RevisionSeen(1, 1), OLD: RevisionSeen(1, 1)}),
        None,
    ),
}

UNKNOWN = {"requests_per_second": None, "error_rate": None, "p99": None, "quality_rows": 0}


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_it_is_the_laptops_summary_but_for_the_numbers_that_a_cluster_does_not_report(situation: str) -> None:
    state, seen, verdict = SITUATIONS[situation]
    decision = Decision(state, verdict=verdict)
    status = report.status(MANIFEST, SPEC, seen, decision, url="http://churn")
    wanted = report.revisions(Owner("shop", "churn", "u"), SPEC, seen, decision, (), {})
    documents = [{**one.document, "status": one.status} for one in wanted if one.document is not None]
    found = summary(MANIFEST | {"status": status}, documents)

    expected = summarise(SPEC, state, seen, decision)
    for revision in expected["revisions"]:
        revision.update(UNKNOWN)
        revision["drift"] = revision["drift"] and {**revision["drift"], "exceeds": True}
    assert found.pop("url") == "http://churn"
    assert found == expected


# --- what else the objects tell


def test_a_deployment_that_no_operator_has_seen_is_pending(deployment: Make) -> None:
    new = deployment()
    del new["status"]
    found = summary(new, [])
    assert (found["ready"], found["phase"], found["message"]) == (False, "Pending", "not looked at yet")
    assert found["revisions"] == []


@pytest.mark.parametrize(
    ("metadata", "status", "message"),
    [
        ({}, {}, ""),
        ({}, {"message": "paused"}, "paused"),
        ({"generation": 2}, {}, "the operator has not taken up the newest manifest yet"),
        ({"deletionTimestamp": "x"}, {}, "it is being deleted"),
        (
            {"annotations": {"seamark.dev/command": "abort by ana"}},
            {"message": "paused"},
            "waiting for the operator to obey: abort by ana; paused",
        ),
        (
            {"annotations": {"seamark.dev/reconcile": "disabled"}},
            {"message": "annotation seamark.dev/reconcile tells the operator to leave it alone"},
            "annotation seamark.dev/reconcile tells the operator to leave it alone",
        ),
        ({"annotations": {"seamark.dev/reconcile": "enabled"}}, {}, ""),
        (
            {},
            {"conditions": [{"type": "Ready", "status": "False", "message": "x does not answer users"}]},
            "x does not answer users",
        ),
        (
            {},
            {
                "message": "Cannot read it; more",
                "conditions": [{"type": "Stalled", "message": "Cannot read it"}, {"type": "Ready", "status": "True"}],
            },
            "Cannot read it; more",
        ),
    ],
)
def test_what_people_should_know_is_said_once(
    deployment: Make, metadata: dict[str, Any], status: dict[str, Any], message: str
) -> None:
    found = deployment(**status)
    found["metadata"].update(metadata)
    assert summary(found, [])["message"] == message


def test_a_deployment_is_ready_only_if_its_condition_says_so(deployment: Make) -> None:
    for status, ready in (("True", True), ("False", False), ("Unknown", False)):
        one = {"type": "Ready", "status": status, "message": "m"}
        assert summary(deployment(conditions=[one]), [])["ready"] is ready
    assert summary(deployment(conditions=[]), [])["ready"] is False


def test_a_revision_that_fails_says_why(deployment: Make, revision: Make) -> None:
    found = summary(deployment(), [revision(failing="OOMKilled")])
    assert found["message"] == "churn-aaaaaaaa is failing: OOMKilled"
    assert "failing" not in found["revisions"][0]


def test_revisions_come_by_role_and_the_newest_five_are_shown(deployment: Make, revision: Make) -> None:
    others = [
        revision(f"churn-{i}", role="retired", phase="Retired", created=f"2026-01-0{i}T00:00:00Z") for i in range(1, 6)
    ]
    champion = revision(created="2026-01-01T00:00:00Z")
    found = summary(deployment(), [*others, champion])
    assert [one["name"] for one in found["revisions"]] == [
        "churn-aaaaaaaa",
        "churn-5",
        "churn-4",
        "churn-3",
        "churn-2",
    ]


@pytest.mark.parametrize(
    ("status", "role"),
    [
        ({"role": "champion", "phase": "Champion"}, "previous"),
        ({"role": "challenger", "phase": "Canary"}, "retired"),
        ({"role": "pending", "phase": "Pending"}, "pending"),
        ({"role": "something new"}, "retired"),
    ],
)
def test_there_is_one_champion_whatever_older_statuses_say(
    deployment: Make, revision: Make, status: dict[str, Any], role: str
) -> None:
    found = summary(deployment(), [revision("churn-bbbbbbbb", **status)])
    assert [(one["name"], one["role"]) for one in found["revisions"]] == [
        ("churn-aaaaaaaa", "champion"),
        ("churn-bbbbbbbb", role),
    ]


@pytest.mark.parametrize(
    ("text", "drift"),
    [
        ("0.41 > 0.10 mean area", {"score": 0.41, "threshold": 0.1, "feature": "mean area", "exceeds": True}),
        ("0.10 > 0.10 age", {"score": 0.1, "threshold": 0.1, "feature": "age", "exceeds": True}),
        ("1.2e-05 < 0.10", {"score": 1.2e-05, "threshold": 0.1, "feature": "", "exceeds": False}),
        ("much", None),
        ("much > 0.1", None),
        ("", None),
    ],
)
def test_drift_is_read_back(deployment: Make, revision: Make, text: str, drift: object) -> None:
    found = summary(deployment(), [revision(drift=text)])
    assert found["revisions"][0]["drift"] == drift


@pytest.mark.parametrize(("text", "quality"), [("0.953", 0.953), ("", None), ("good", None)])
def test_quality_is_read_back(deployment: Make, revision: Make, text: str, quality: float | None) -> None:
    assert summary(deployment(), [revision(quality=text)])["revisions"][0]["quality"] == quality


def test_each_deployment_has_its_own_revisions_only(deployment: Make, revision: Make) -> None:
    mine, elsewhere = revision(), revision(namespace="shop")
    other, earlier, orphan = revision("chur-aaaaaaaa"), revision("churn-b"), revision("churn-c")
    earlier["metadata"]["ownerReferences"][0]["uid"] = "an earlier one's"
    del orphan["metadata"]["ownerReferences"]
    assert owned(deployment(), [mine, elsewhere, other, earlier, orphan]) == [mine, orphan]


def test_summaries_are_ordered_by_namespace_and_name(deployment: Make) -> None:
    found = summaries([deployment("b"), deployment("a", "shop"), deployment("a")], [])
    assert [(one["namespace"], one["name"]) for one in found] == [("models", "a"), ("models", "b"), ("shop", "a")]
