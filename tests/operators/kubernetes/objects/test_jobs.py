"""The Jobs: what a trainer is told, whatever image it is, and how a package is read."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from seamark import tokens
from seamark.actions import StartRetraining
from seamark.errors import InvalidSpec
from seamark.facts import Facts
from seamark.retraining import job_deadline
from seamark.seen import Seen
from seamark.state import RetrainingState
from seamark_kubernetes import jobs, pvc
from seamark_kubernetes.api import Document

START = StartRetraining("churn-retrain-3", "churn-1", 12.5, "feature drift", {"seed": 1})
THEIRS: Document = {"spec": {"template": {"spec": {"containers": [{"name": "fit", "image": "fit:1"}]}}}}


def render(make: Any, key: bytes | None = None, settings: Any = None, job: Any = None, **retraining: Any) -> Document:
    spec = make.spec(retraining={**retraining, **({"trainer": {"job": job}} if job is not None else {})})
    champion = pvc.parse("pvc://models/churn/v1")
    return jobs.training(settings or make.settings, make.owner, spec, START, champion, key, make.now)


def pod(document: Document) -> Document:
    found: Document = document["spec"]["template"]["spec"]
    return found


def env(document: Document, container: int = 0) -> dict[str, Any]:
    entries = pod(document)["containers"][container]["env"]
    found = {entry["name"]: entry.get("value") for entry in entries}
    assert len(found) == len(entries)
    return found


def theirs(**container: Any) -> Document:
    job = copy.deepcopy(THEIRS)
    job["spec"]["template"]["spec"]["containers"][0] |= container
    return job


# --- a retraining


@pytest.mark.parametrize("job", [None, THEIRS])
def test_every_trainer_is_told_the_same(make: Any, job: Any) -> None:
    told = env(render(make, job=job))
    config = json.loads(told.pop("SEAMARK_CONFIG"))
    assert config == {"seed": 1}
    assert told == {
        "SEAMARK_JOB": "churn-retrain-3",
        "SEAMARK_NAMESPACE": "shop",
        "SEAMARK_DEPLOYMENT": "churn",
        "SEAMARK_DATA": "http://collector:8081",
        "SEAMARK_DATA_SINCE": "12.5",
        "SEAMARK_CHAMPION_PACKAGE": "/mnt/claim/churn/v1",
        "SEAMARK_OUTPUT": "/mnt/claim/.seamark/churn",
        "SEAMARK_TERMINATION_LOG": "/dev/termination-log",
    }


@pytest.mark.parametrize("job", [None, THEIRS])
def test_every_trainer_finds_the_champions_claim_and_may_write_there(make: Any, job: Any) -> None:
    document = pod(render(make, job=job))
    claim = {"claimName": "models", "readOnly": False}
    assert {"name": "seamark-claim", "persistentVolumeClaim": claim} in document["volumes"]
    mount = {"name": "seamark-claim", "mountPath": "/mnt/claim", "readOnly": False}
    assert mount in document["containers"][0]["volumeMounts"]


@pytest.mark.parametrize("job", [None, THEIRS])
def test_every_job_has_our_names_owner_and_restrictions(make: Any, job: Any) -> None:
    document = render(make, job=job)
    labels = {
        "app.kubernetes.io/managed-by": "seamark",
        "seamark.dev/deployment": "churn",
        "seamark.dev/role": "training",
    }
    assert document["metadata"] == {
        "name": "churn-retrain-3",
        "namespace": "shop",
        "labels": labels,
        "ownerReferences": [make.owner.reference()],
    }
    assert document["spec"]["template"]["metadata"]["labels"] == labels
    assert pod(document)["restartPolicy"] == "Never"
    assert pod(document)["automountServiceAccountToken"] is False
    assert pod(document)["securityContext"]["runAsNonRoot"] is True
    assert pod(document)["securityContext"]["fsGroup"] == 65532
    context = pod(document)["containers"][0]["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["allowPrivilegeEscalation"] is False
    assert context.get("readOnlyRootFilesystem", False) is (job is None)


@pytest.mark.parametrize(
    ("deadline", "retries", "each", "all_tries"),
    [("1h", 2, 3600, 11040), ("10s", 0, 10, 250), ("500ms", 1, 1, 241), ("3650d", 10, 315360000, 2**31 - 1)],
)
def test_each_try_has_its_deadline_and_all_tries_together_theirs(
    make: Any, deadline: str, retries: int, each: int, all_tries: int
) -> None:
    document = render(make, deadline=deadline, retries=retries)
    assert document["spec"]["backoffLimit"] == retries
    assert document["spec"]["activeDeadlineSeconds"] == all_tries
    assert pod(document)["activeDeadlineSeconds"] == each


def test_a_job_says_itself_that_its_time_is_over_before_the_decision_takes_it_for_lost(make: Any) -> None:
    spec = make.spec(retraining={"deadline": "10m", "retries": 1})
    lost = job_deadline(Facts(spec, Seen(make.now)), RetrainingState(starts=(make.now,)))
    allowed = render(make, deadline="10m", retries=1)["spec"]["activeDeadlineSeconds"]
    assert 2 * 600 < allowed <= lost - make.now - 30


def test_what_cannot_be_mended_by_trying_again_fails_at_once_and_eviction_costs_no_try(make: Any) -> None:
    fail, ignore = render(make)["spec"]["podFailurePolicy"]["rules"]
    assert fail == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}
    assert ignore["action"] == "Ignore"
    assert ignore["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_ended_jobs_stay_a_day(make: Any) -> None:
    assert render(make)["spec"]["ttlSecondsAfterFinished"] == 86400


def test_with_a_key_the_trainer_may_read_this_deployments_log_a_little_longer_than_it_may_run(make: Any) -> None:
    token = env(render(make, key=make.key, deadline="1h", retries=1))["SEAMARK_TOKEN"]
    assert tokens.holds(make.key, token, "read/shop/churn", make.now + 7440 + 299)
    assert not tokens.holds(make.key, token, "read/shop/churn", make.now + 7440 + 301)


def test_a_template_keeps_what_it_says_beyond_what_a_trainer_needs(make: Any) -> None:
    job = theirs(
        env=[{"name": "MINE", "value": "1"}, {"name": "SEAMARK_JOB", "value": "another"}],
        securityContext={"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": True},
        terminationMessagePath="/tmp/result",
        volumeMounts=[{"name": "cache", "mountPath": "/cache"}, {"name": "x", "mountPath": "/mnt/claim"}],
    )
    job["metadata"] = {"name": "ignored", "labels": {"team": "growth", "seamark.dev/role": "serving"}}
    job["spec"]["ttlSecondsAfterFinished"] = 5
    job["spec"]["template"]["metadata"] = {"annotations": {"note": "1"}}
    inner = job["spec"]["template"]["spec"]
    inner |= {"restartPolicy": "OnFailure", "serviceAccountName": "trainer", "volumes": [{"name": "cache"}]}
    inner["securityContext"] = {"runAsUser": 7}
    inner["initContainers"] = [{"name": "fetch", "image": "fetch:1"}]
    document = render(make, job=job)
    assert document["metadata"]["name"] == "churn-retrain-3"
    assert document["metadata"]["labels"]["team"] == "growth"
    assert document["metadata"]["labels"]["seamark.dev/role"] == "training"
    assert document["spec"]["ttlSecondsAfterFinished"] == 5
    assert document["spec"]["template"]["metadata"]["annotations"] == {"note": "1"}
    assert pod(document)["restartPolicy"] == "Never"
    assert pod(document)["serviceAccountName"] == "trainer"
    assert pod(document)["securityContext"] | {"runAsUser": 7} == pod(document)["securityContext"]
    assert env(document)["MINE"] == "1"
    assert env(document)["SEAMARK_JOB"] == "churn-retrain-3"
    assert env(document)["SEAMARK_TERMINATION_LOG"] == "/tmp/result"
    container = pod(document)["containers"][0]
    assert container["securityContext"]["allowPrivilegeEscalation"] is True
    assert [mount["name"] for mount in container["volumeMounts"]] == ["cache", "seamark-claim"]
    assert pod(document)["initContainers"][0]["volumeMounts"] == container["volumeMounts"][1:]


def test_a_template_is_not_changed_by_being_used(make: Any) -> None:
    job = theirs(env=[])
    before = copy.deepcopy(job)
    assert render(make, job=job) == render(make, job=job)
    assert job == before


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"template": {}},
        {"spec": []},
        {"spec": {"template": {"spec": {}}}},
        {"spec": {"template": {"spec": {"containers": []}}}},
        {"spec": {"template": {"spec": {"containers": ["x"]}}}},
        {"spec": {"template": {"spec": {"containers": [{}], "initContainers": {}}}}},
        {"spec": {"template": {"spec": {"containers": [{}], "volumes": None}}}},
        {"spec": {"template": {"metadata": {"labels": {"a": 1}}, "spec": {"containers": [{}]}}}},
        {**THEIRS, "metadata": "x"},
        theirs(env={}),
        theirs(env=["SEAMARK_JOB"]),
        theirs(volumeMounts=[1]),
        theirs(securityContext="none"),
        theirs(terminationMessagePath=1),
    ],
)
def test_a_template_that_is_no_job_is_refused(make: Any, job: Any) -> None:
    with pytest.raises(InvalidSpec, match="is not a Job with") as refused:
        render(make, job=job)
    assert refused.value.path == "spec.retraining.trainer.job"


def test_odd_values_where_the_api_server_looks_are_left_to_it(make: Any) -> None:
    document = render(make, job=theirs(env=[{"name": ["odd"]}], volumeMounts=[{"name": {}}], image=7))
    assert pod(document)["containers"][0]["image"] == 7


def test_placement_is_a_default(make: Any) -> None:
    settings = replace(make.settings, node_selector={"disk": "fast"})
    assert pod(render(make, settings=settings))["nodeSelector"] == {"disk": "fast"}
    job = theirs()
    job["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "yes"}
    assert pod(render(make, settings=settings, job=job))["nodeSelector"] == {"gpu": "yes"}


# --- reading a package


def test_a_package_is_read_by_the_predictors_image_which_may_not_write(make: Any) -> None:
    document = jobs.resolve(make.settings, make.owner, "pvc://models/churn/v1", "")
    container = pod(document)["containers"][0]
    assert container["image"] == "predictor:1"
    assert container["command"] == ["python", "-m", "seamark_predictor.inspect", "/mnt/claim/churn/v1"]
    assert {"name": "seamark-claim", "mountPath": "/mnt/claim", "readOnly": True} in container["volumeMounts"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert document["metadata"]["labels"]["seamark.dev/role"] == "resolve"
    assert document["spec"]["template"]["metadata"]["labels"]["seamark.dev/deployment"] == "churn"
    assert pod(document)["restartPolicy"] == "Never"
    assert document["spec"]["activeDeadlineSeconds"] > 0


def test_another_address_or_nonce_makes_another_job(make: Any) -> None:
    asked = [("pvc://a/b", ""), ("pvc://a/c", ""), ("pvc://a/b", "1"), ("pvc://a/b", "")]
    made = [jobs.resolve(make.settings, make.owner, *one)["metadata"]["name"] for one in asked]
    assert len(set(made)) == 3
    assert made[0] == made[3]
    assert all(name.startswith("churn-resolve-") and len(name) <= 63 for name in made)


def test_an_address_that_is_no_claim_makes_no_job(make: Any) -> None:
    with pytest.raises(InvalidSpec):
        jobs.resolve(make.settings, make.owner, "pvc://models/../etc", "")
