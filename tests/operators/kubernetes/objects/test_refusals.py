"""What the API server refused is seen by the next decision, until it is taken or not wanted any more."""

from __future__ import annotations

from seamark.seen import JobSeen, RevisionSeen
from seamark_kubernetes.refusals import Refusals

KEY, OTHER = ("shop", "churn"), ("shop", "fraud")


def test_a_refused_revision_is_failing_and_has_no_replicas_so_that_it_is_asked_for_again() -> None:
    refusals = Refusals()
    refusals.refuse_revision(KEY, "churn-1", "no")
    assert refusals.revisions(KEY, {}) == {"churn-1": RevisionSeen(0, 0, "no")}
    assert refusals.revisions(OTHER, {}) == {}


def test_a_served_revision_that_is_refused_a_change_keeps_what_is_seen_of_it() -> None:
    refusals = Refusals()
    refusals.refuse_revision(KEY, "churn-1", "no")
    assert refusals.revisions(KEY, {"churn-1": RevisionSeen(2, 2)}) == {"churn-1": RevisionSeen(2, 2, "no")}
    seen = {"churn-1": RevisionSeen(2, 0, "crashes")}
    assert refusals.revisions(KEY, seen) == seen


def test_what_is_taken_or_unknown_or_gone_is_forgotten() -> None:
    refusals = Refusals()
    for name in ("churn-1", "churn-2", "churn-3"):
        refusals.refuse_revision(KEY, name, "no")
    refusals.accept(KEY, "churn-1")
    refusals.keep(KEY, ["churn-1", "churn-2"])
    assert list(refusals.revisions(KEY, {})) == ["churn-2"]
    refusals.forget(KEY)
    assert refusals.revisions(KEY, {}) == {}


def test_forgetting_what_is_not_known_is_nothing() -> None:
    refusals = Refusals()
    refusals.accept(KEY, "churn-1")
    refusals.keep(KEY, [])
    refusals.forget(KEY)
    assert refusals.jobs(KEY, {}) == {}


def test_a_refused_job_failed_and_only_the_last_is_kept() -> None:
    refusals = Refusals()
    refusals.refuse_job(KEY, "churn-retrain-1", "no", 5.0)
    refusals.refuse_job(KEY, "churn-retrain-2", "never", 7.0)
    assert refusals.jobs(KEY, {}) == {"churn-retrain-2": JobSeen("failed", 7.0, 7.0, message="never")}


def test_a_job_that_is_there_after_all_counts_more_than_its_refusal() -> None:
    refusals = Refusals()
    refusals.refuse_job(KEY, "churn-retrain-1", "no", 5.0)
    seen = {"churn-retrain-1": JobSeen("running", 6.0)}
    assert refusals.jobs(KEY, seen) == seen
    refusals.accept(KEY, "churn-retrain-1")
    assert refusals.jobs(KEY, {}) == {}
