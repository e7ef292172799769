"""What documents of KServe, pods and Jobs mean to the decision."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.seen import ModelSeen, RevisionSeen
from seamark_kubernetes import observe, troubles

URI = "pvc://models/churn/v1"


def failing(make: Any, *pods: Any, service: Any = None) -> str:
    seen = observe.revision_seen(service or make.service(), pods, make.now)
    assert seen is not None
    return seen.failing


# --- revisions


def test_replicas_are_those_asked_for_and_ready_ones_are_ready_pods(make: Any) -> None:
    gone = make.pod(ready=True)
    gone["metadata"]["deletionTimestamp"] = make.time()
    pods = [make.pod(ready=True), make.pod(ready=False), gone, make.pod(ready=True, phase="Failed"), make.pod()]
    assert observe.revision_seen(make.service(3), pods, make.now) == RevisionSeen(3, 1)


def test_a_revision_without_pods_is_served_and_not_ready(make: Any) -> None:
    assert observe.revision_seen(make.service(2), [], make.now) == RevisionSeen(2, 0)


def test_a_revision_that_is_being_deleted_is_not_served(make: Any) -> None:
    service = make.service()
    service["metadata"]["deletionTimestamp"] = make.time()
    assert observe.revision_seen(service, [make.pod(ready=True)], make.now) is None


@pytest.mark.parametrize(
    "starting",
    [
        {"waiting": {"reason": "ContainerCreating"}},
        {"waiting": {"reason": "PodInitializing"}},
        {"waiting": {}},
        {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        {},
    ],
)
def test_a_pod_that_is_starting_fails_not(make: Any, starting: Any) -> None:
    assert failing(make, make.pod({"name": "monitor", "ready": False, "restartCount": 0, "state": starting})) == ""
    assert failing(make, make.pod(make.crashed(1, restarts=2, state=starting))) == ""


def test_a_pod_without_any_status_fails_not(make: Any) -> None:
    assert failing(make, {"metadata": {"name": "p"}}) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ErrImagePull", "container monitor: its image cannot be pulled: no such host"),
        ("ImagePullBackOff", "container monitor: its image cannot be pulled: no such host"),
        ("InvalidImageName", "container monitor: its image has an invalid name: no such host"),
        ("CreateContainerConfigError", "container monitor: it cannot be configured: no such host"),
    ],
)
def test_what_keeps_a_container_from_starting_is_told(make: Any, reason: str, words: str) -> None:
    assert failing(make, make.pod(make.waiting(reason, "no such host"))) == words


def test_pulling_and_pausing_say_the_same_words(make: Any) -> None:
    pulling = make.waiting("ErrImagePull", "read udp 10.0.0.1:4711->10.0.0.2:53: i/o timeout")
    pausing = make.waiting(
        "ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: read udp 10.0.0.1:815->10.0.0.2:53: i/o timeout'
    )
    assert failing(make, make.pod(pulling)) == failing(make, make.pod(pausing))
    assert "10.0.0.1->10.0.0.2:53" in failing(make, make.pod(pulling))


def test_a_container_without_a_message_is_told_too(make: Any) -> None:
    assert failing(make, make.pod(make.waiting("ErrImageNeverPull"))).endswith("its image is not on the node")


def test_init_containers_count(make: Any) -> None:
    status = make.waiting("ErrImagePull", "gone", name="fetch")
    assert failing(make, make.pod(initContainerStatuses=[status])).startswith("container fetch:")


@pytest.mark.parametrize(
    ("crash", "fails"),
    [
        ({"restarts": 2}, False),
        ({"restarts": 3}, True),
        ({"restarts": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}, True),
        ({"restarts": 3, "ago": 599.0}, True),
        ({"restarts": 3, "ago": 601.0}, False),
        ({"restarts": 3, "ready": True}, False),
        ({"restarts": 1, "reason": "OOMKilled"}, False),
        ({"restarts": 2, "reason": "OOMKilled"}, True),
    ],
)
def test_a_crash_counts_when_it_comes_again_and_again(make: Any, crash: dict[str, Any], fails: bool) -> None:
    assert bool(failing(make, make.pod(make.crashed(1, "boom", **crash)))) == fails


def test_a_crash_is_told_with_its_status_and_its_last_words(make: Any) -> None:
    log = "Traceback\n  File x\nValueError: no\n\n"
    crash = make.crashed(1, log, restarts=3)
    assert failing(make, make.pod(crash)) == "container kserve-container ended with status 1: ValueError: no"
    assert failing(make, make.pod(make.crashed(137, "", restarts=3))).endswith("ended with status 137")
    killed = make.crashed(137, "half a line", restarts=3, reason="OOMKilled")
    assert failing(make, make.pod(killed)) == "container kserve-container was killed for lack of memory"


@pytest.mark.parametrize(
    ("runtime", "container", "fails"),
    [
        ("seamark-predictor", "kserve-container", True),
        ("seamark-predictor", "monitor", True),
        ("theirs", "monitor", True),
        ("theirs", "kserve-container", False),
    ],
)
def test_status_2_of_our_own_programs_says_at_once_that_trying_again_is_no_use(
    make: Any, runtime: str, container: str, fails: bool
) -> None:
    """Of a foreign one it may mean anything: a program in Go that panics ends so."""
    crash = make.crashed(2, "Cannot read x: y", name=container, restarts=0)
    words = failing(make, make.pod(crash), service=make.service(runtime=runtime))
    assert words == (f"container {container} ended with status 2: Cannot read x: y" if fails else "")
    ended = {**crash, "state": crash["lastState"], "lastState": {}}
    assert failing(make, make.pod(ended), service=make.service(runtime=runtime)) == words


@pytest.mark.parametrize(("ago", "fails"), [(59.0, False), (60.0, True), (-5.0, False)])
def test_a_pod_that_finds_no_node_gets_a_minute(make: Any, ago: float, fails: bool) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no cpu"}
    condition["lastTransitionTime"] = make.time(ago)
    assert failing(make, make.pod(conditions=[condition])) == (
        "no node takes the pod: 0/1 nodes: no cpu" if fails else ""
    )


def test_a_pod_that_waits_for_the_scheduler_fails_not(make: Any) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    assert failing(make, make.pod(conditions=[condition], ago=1000)) == ""


def test_pods_that_are_leaving_or_ready_say_nothing(make: Any) -> None:
    crash = make.crashed(1, restarts=9)
    leaving = make.pod(crash)
    leaving["metadata"]["deletionTimestamp"] = make.time()
    assert failing(make, leaving, make.pod(crash, phase="Failed", reason="Evicted"), make.pod(crash, ready=True)) == ""


def test_the_newest_pod_is_heard_first(make: Any) -> None:
    old = make.pod(make.crashed(1, "old", restarts=9), name="z", ago=500)
    new = make.pod(make.crashed(1, "new", restarts=9), name="a", ago=5)
    assert failing(make, old, new) == failing(make, new, old)
    assert failing(make, old, new).endswith(": new")


def test_what_kserve_refuses_is_told(make: Any) -> None:
    info = {"message": "Waiting for runtime to become available", "reason": "RuntimeNotRecognized"}
    model = {"transitionStatus": "InvalidSpec", "lastFailureInfo": info}
    assert failing(make, service=make.service(runtime="x", modelStatus=model)) == (
        "KServe refuses runtime x: Waiting for runtime to become available (RuntimeNotRecognized)"
    )
    ready = {"type": "PredictorReady", "status": "False", "reason": "ReconcileFailed", "message": "no CRD"}
    assert failing(make, service=make.service(conditions=[ready])) == "KServe cannot serve it: no CRD"


def test_what_kserve_says_of_a_deployment_that_is_coming_up_is_no_failure(make: Any) -> None:
    ready = {
        "type": "PredictorReady",
        "status": "False",
        "reason": "MinimumReplicasUnavailable",
        "message": "Deployment does not have minimum availability.",
    }
    model = {"transitionStatus": "InProgress", "states": {"targetModelState": "Pending"}}
    assert failing(make, service=make.service(conditions=[ready], modelStatus=model)) == ""


@given(st.text(max_size=2000))
def test_causes_are_one_bounded_line_whatever_a_container_said(message: str) -> None:
    words = troubles.words(message)
    assert len(words) <= 300
    assert len(words.splitlines()) <= 1


def test_monitors_are_found_at_their_pods_ready_or_not_until_these_end(make: Any) -> None:
    pods = [
        make.pod(ready=True, podIP="10.0.0.2", name="b"),
        make.pod(ready=False, podIP="10.0.0.1", name="a"),
        make.pod(ready=True, podIP="fd00::1", name="c"),
        make.pod(ready=False, podIP="10.0.0.3", phase="Failed"),
        make.pod(ready=True),
    ]
    assert observe.monitor_addresses(pods, "churn-1") == (
        "http://10.0.0.1:9010/metrics#a",
        "http://10.0.0.2:9010/metrics#b",
        "http://[fd00::1]:9010/metrics#c",
    )
    assert observe.monitor_addresses(pods, "churn-2") == ()


# --- retrainings


def result(make: Any, **changes: Any) -> dict[str, Any]:
    package = "file:///mnt/claim/.seamark/churn/churn-retrain-1"
    found = {"package": package, "digest": make.digest, "version": "v7", "rows": 10, **changes}
    return {key: value for key, value in found.items() if value is not None}


def test_a_job_runs_until_it_says_otherwise(make: Any) -> None:
    seen = observe.job_seen(make.job(), [])
    assert (seen.phase, seen.started, seen.finished) == ("running", make.now - 100, None)
    assert observe.job_seen(make.job("FailureTarget"), []).phase == "running"
    assert observe.job_seen(make.job("SuccessCriteriaMet"), []).phase == "running"
    assert observe.job_seen(make.job(startTime=make.time(50)), []).started == make.now - 50


def test_a_job_succeeded_with_a_package_under_its_own_path(make: Any) -> None:
    job = make.job("Complete", completionTime=make.time(20))
    seen = observe.job_seen(job, [make.ended(0, result(make))])
    assert seen.phase == "succeeded"
    assert seen.finished == make.now - 20
    assert seen.package == "pvc://models/.seamark/churn/churn-retrain-1"
    assert (seen.digest, seen.version, seen.result["rows"]) == (make.digest, "v7", 10)


def test_a_result_of_an_earlier_try_that_failed_is_not_taken(make: Any) -> None:
    pods = [make.ended(1, result(make, version="bad"), ago=50), make.ended(0, result(make), ago=5)]
    assert observe.job_seen(make.job("Complete"), pods).version == "v7"


@pytest.mark.parametrize("version", [None, 7])
def test_a_result_needs_no_version(make: Any, version: Any) -> None:
    seen = observe.job_seen(make.job("Complete"), [make.ended(0, result(make, version=version))])
    assert (seen.phase, seen.version) == ("succeeded", "")


@pytest.mark.parametrize(
    "message",
    ["", "trained", "[]", "{", "[" * 5000, '{"package": 1}', {"package": "file:///x"}, {"digest": "d" * 64}],
)
def test_a_job_without_a_readable_result_failed(make: Any, message: Any) -> None:
    seen = observe.job_seen(make.job("Complete"), [make.ended(0, message)])
    assert (seen.phase, seen.message) == ("failed", "it ended without a result that can be read")


@pytest.mark.parametrize("digest", [None, 1, "", "d" * 63, "D" * 64, "g" * 64])
def test_a_result_needs_a_whole_digest(make: Any, digest: Any) -> None:
    seen = observe.job_seen(make.job("Complete"), [make.ended(0, result(make, digest=digest))])
    assert seen.phase == "failed"


def test_a_job_whose_pods_are_gone_failed(make: Any) -> None:
    assert observe.job_seen(make.job("Complete"), []).phase == "failed"


@pytest.mark.parametrize(
    "package",
    [
        "file:///mnt/claim/churn/v1",
        "file:///mnt/claim/.seamark/other/x",
        "file:///mnt/claim/.seamark/churn",
        "file:///mnt/claim/.seamark/churn/",
        "file:///mnt/claim/.seamark/churn/../../etc",
        "file:///mnt/claim/.seamark/churn/%2e%2e/x",
        "file:///mnt/claim/.seamark/churn/a%0ab",
        "file://host/mnt/claim/.seamark/churn/x",
        "file:///tmp/package",
        "pvc://models/.seamark/churn/x",
        "http://[",
        "s3://bucket/x",
    ],
)
def test_a_package_elsewhere_is_not_taken(make: Any, package: str) -> None:
    seen = observe.job_seen(make.job("Complete"), [make.ended(0, result(make, package=package))])
    assert (seen.phase, seen.package) == ("failed", "")
    assert seen.message.startswith("Cannot take its package: ")


def test_a_job_without_our_claim_has_no_package(make: Any) -> None:
    job = make.job("Complete")
    job["spec"]["template"]["spec"]["volumes"] = []
    assert observe.job_seen(job, [make.ended(0, result(make))]).phase == "failed"


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"status": 1, "message": {"error": "Cannot retrain churn: 3 rows"}}, "Cannot retrain churn: 3 rows"),
        ({"status": 1, "message": "a\nboom\n"}, "container trainer ended with status 1: boom"),
        ({"status": 3}, "container trainer ended with status 3"),
        ({"status": 137, "reason": "OOMKilled"}, "container trainer was killed for lack of memory"),
    ],
)
def test_a_failed_job_tells_what_its_last_try_said(make: Any, pod: dict[str, Any], words: str) -> None:
    job = make.job("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    pods = [make.ended(1, "older", ago=90), make.ended(**pod, ago=5)]
    seen = observe.job_seen(job, pods)
    assert (seen.phase, seen.finished, seen.message) == ("failed", make.now - 10, words)


def test_an_evicted_try_and_one_out_of_time_are_named(make: Any) -> None:
    job = make.job("Failed", "BackoffLimitExceeded", "limit")
    evicted = make.pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert observe.job_seen(job, [evicted]).message == ("its pod was evicted: The node was low on resource: memory.")
    late = make.pod(phase="Failed", reason="DeadlineExceeded")
    assert observe.job_seen(job, [late]).message == "a try did not end in time"


def test_a_job_out_of_time_says_so_and_what_failed_before(make: Any) -> None:
    job = make.job("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    assert observe.job_seen(job, []).message == "it did not end in time"
    assert observe.job_seen(job, [make.ended(1, {"error": "no rows"})]).message == (
        "it did not end in time; the last failure: no rows"
    )


def test_a_failed_job_without_pods_says_what_kubernetes_says(make: Any) -> None:
    job = make.job("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert observe.job_seen(job, []).message == "Job has reached the specified backoff limit"


# --- the manifest's model


def test_a_model_is_what_the_job_found(make: Any) -> None:
    found = {"digest": make.digest, "version": "v1", "format": "onnx", "name": "churn"}
    seen = observe.model_seen(make.job("Complete"), [make.ended(0, found)], URI, make.now)
    assert seen == ModelSeen(URI, make.digest, "v1", format="onnx")


def test_a_model_is_unknown_while_the_job_is_at_work(make: Any) -> None:
    assert observe.model_seen(make.job(), [], URI, make.now) is None
    assert observe.model_seen(make.job(), [make.pod()], URI, make.now) is None


def test_a_job_that_cannot_even_start_says_why_the_model_is_unknown(make: Any) -> None:
    seen = observe.model_seen(make.job(), [make.pod(make.waiting("ErrImagePull", "gone"))], URI, make.now)
    assert seen == ModelSeen(
        URI,
        error=f"Cannot read model package {URI}: container monitor: its image cannot be pulled: gone",
    )


def test_a_package_that_cannot_be_used_is_told_in_the_jobs_own_words(make: Any) -> None:
    pods = [make.ended(2, {"error": "Cannot read seamark.json: No such file or directory"})]
    seen = observe.model_seen(make.job("Failed", "PodFailurePolicy", "x"), pods, URI, make.now)
    assert seen is not None
    assert seen.error == f"Cannot read model package {URI}: Cannot read seamark.json: No such file or directory"
    assert seen.digest == ""


def test_a_job_without_a_result_leaves_an_error(make: Any) -> None:
    seen = observe.model_seen(make.job("Complete"), [make.ended(0, "")], URI, make.now)
    assert seen is not None
    assert "left no result" in seen.error
