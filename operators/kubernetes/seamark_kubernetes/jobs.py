"""The Jobs that the operator starts: a retraining, and reading what package is at an address."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Required, TypedDict

import msgspec

from seamark import tokens
from seamark.actions import StartRetraining
from seamark.errors import InvalidSpec
from seamark.spec import ModelDeployment
from seamark_kubernetes import names, pods, pvc
from seamark_kubernetes.api import JOB, Document, Owner
from seamark_kubernetes.pvc import Claim
from seamark_kubernetes.settings import Settings

__all__ = ["CLAIM_FOLDER", "CLAIM_VOLUME", "USER_ERROR", "output_path", "resolve", "training"]

#: The volume that a Job's claim is, and where its containers find it.
CLAIM_VOLUME = "seamark-claim"
CLAIM_FOLDER = "/mnt/claim"
#: Exit status of a program that says that its user must mend something: trying again does not help.
USER_ERROR = 2

_TEMPLATE = "spec.retraining.trainer.job"
_TERMINATION_LOG = "/dev/termination-log"
#: The most seconds that a pod takes as a deadline.
_LONGEST = 2**31 - 1
#: Seconds that all tries together may wait: for a node, and between tries. The decision takes a Job for lost 300 s
#: after the time that its tries may take; before that the Job itself is to say why it failed.
_PAUSES = 240
#: How long (seconds) a log token outlives its Job's deadline: clocks differ, and requests take their time.
_TOKEN_GRACE = 300
#: How long (seconds) ended Jobs stay for people to look at.
_KEEP_TRAINING = 86_400
_KEEP_RESOLVE = 600
#: Seconds that reading a package may take, the pull of the image included.
_RESOLVE_DEADLINE = 600
_RESOLVE_RETRIES = 3


def output_path(deployment: str) -> str:
    """Where on its champion's claim a deployment's retrainings put their packages, each in a folder of its own."""
    return f".seamark/{deployment}"


# --- a retraining


class _Container(TypedDict, total=False):
    env: list[dict[str, Any]]
    volumeMounts: list[dict[str, Any]]
    securityContext: dict[str, Any]
    terminationMessagePath: str


class _PodSpec(TypedDict, total=False):
    containers: Required[Annotated[list[_Container], msgspec.Meta(min_length=1)]]
    initContainers: list[_Container]
    volumes: list[dict[str, Any]]
    securityContext: dict[str, Any]


class _Metadata(TypedDict, total=False):
    labels: dict[str, str]
    annotations: dict[str, str]


class _Pod(TypedDict, total=False):
    metadata: _Metadata
    spec: Required[_PodSpec]


class _JobSpec(TypedDict):
    template: _Pod


class _Job(TypedDict, total=False):
    """The parts of a user's Job that are read or written to here; the API server checks the rest."""

    metadata: _Metadata
    spec: Required[_JobSpec]


def training(
    settings: Settings,
    owner: Owner,
    spec: ModelDeployment,
    action: StartRetraining,
    champion: Claim,
    key: bytes | None,
    now: float,
) -> Document:
    """The Job of a retraining: Seamark's trainer, or `spec.retraining.trainer.job` with what a trainer needs added.

    champion: its package; the claim is mounted writable. key: signs the log token; None where the log is open. now:
    Unix seconds. Raises `InvalidSpec` for a template that is no Job.
    """
    limits = spec.retraining
    deadline = min(math.ceil(limits.deadline * (limits.retries + 1)) + _PAUSES, _LONGEST)
    token = tokens.sign(key, f"read/{owner.namespace}/{owner.name}", int(now) + deadline + _TOKEN_GRACE) if key else ""
    job = _user_template(limits.trainer.job) if limits.trainer.job is not None else _own_template(settings)
    body = job["spec"]
    body |= {"completions": 1, "parallelism": 1, "backoffLimit": limits.retries, "activeDeadlineSeconds": deadline}
    body.setdefault("ttlSecondsAfterFinished", _KEEP_TRAINING)
    body.setdefault("podFailurePolicy", _failure_policy())
    pod = body["template"]["spec"]
    # Each try has its own time, so that one that hangs leaves time for the next.
    pod["activeDeadlineSeconds"] = min(math.ceil(limits.deadline), _LONGEST)
    env = _training_env(settings, owner, action, champion)
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        _equip(container, env, token)
    _mount(pod, champion.name, read_only=False)
    return _job(settings, owner, job, name=action.job, role="training")


def _training_env(settings: Settings, owner: Owner, action: StartRetraining, champion: Claim) -> dict[str, str]:
    return {
        "SEAMARK_JOB": action.job,
        "SEAMARK_NAMESPACE": owner.namespace,
        "SEAMARK_DEPLOYMENT": owner.name,
        "SEAMARK_DATA": settings.collector,
        "SEAMARK_DATA_SINCE": repr(action.since),
        "SEAMARK_CHAMPION_PACKAGE": f"{CLAIM_FOLDER}/{champion.path}",
        "SEAMARK_OUTPUT": f"{CLAIM_FOLDER}/{output_path(owner.name)}",
        "SEAMARK_CONFIG": json.dumps(dict(action.config)),
    }


def _equip(container: Document, env: Mapping[str, str], token: str) -> None:
    """Ours replaces what the template says about the same variables."""
    log = container.get("terminationMessagePath", _TERMINATION_LOG)
    values = {**env, "SEAMARK_TERMINATION_LOG": log}
    ours = [*({"name": name, "value": value} for name, value in values.items()), *pods.token(token)]
    taken = [entry["name"] for entry in ours]
    theirs = [entry for entry in container.get("env", ()) if entry.get("name") not in taken]
    container["env"] = [*theirs, *ours]


def _failure_policy() -> Document:
    """What cannot be mended by trying again fails at once; a pod that had to make room costs no try."""
    return {
        "rules": [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [USER_ERROR]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]
    }


def _own_template(settings: Settings) -> Document:
    container = _container(settings, "trainer", settings.images.trainer)
    # Training takes what is free, and little is promised to it: serving comes first.
    container["resources"] = {"requests": {"cpu": "50m", "memory": "256Mi"}}
    return {"spec": {"template": {"spec": _pod(container, "1Gi")}}}


def _user_template(template: Mapping[str, Any]) -> Document:
    """A copy of the user's Job; `InvalidSpec` where what is written to is not what a Job has."""
    try:
        msgspec.convert(template, _Job)
    except msgspec.ValidationError as error:
        raise InvalidSpec(_TEMPLATE, f"is not a Job with spec.template.spec.containers: {error}") from error
    return copy.deepcopy(dict(template))


# --- reading a package


def resolve(settings: Settings, owner: Owner, uri: str, nonce: str) -> Document:
    """The Job that reads what package is at `uri`. nonce: a new one makes a new Job. Raises `InvalidSpec`."""
    claim = pvc.parse(uri)
    container = _container(settings, "inspect", settings.images.predictor)
    container["command"] = ["python", "-m", "seamark_predictor.inspect", f"{CLAIM_FOLDER}/{claim.path}"]
    container["resources"] = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    pod = _pod(container, "16Mi")
    _mount(pod, claim.name, read_only=True)
    body: Document = {
        "backoffLimit": _RESOLVE_RETRIES,
        "activeDeadlineSeconds": _RESOLVE_DEADLINE,
        "ttlSecondsAfterFinished": _KEEP_RESOLVE,
        "podFailurePolicy": _failure_policy(),
        "template": {"spec": pod},
    }
    name = names.resolve_job(owner.name, uri, nonce)
    return _job(settings, owner, {"spec": body}, name=name, role="resolve")


# --- what both have


def _container(settings: Settings, name: str, image: str) -> Document:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.images.pull_policy,
        "securityContext": pods.confined(),
        "volumeMounts": [{"name": "seamark-tmp", "mountPath": "/tmp"}],  # noqa: S108  # the container's own, a volume
    }


def _pod(container: Document, space: str) -> Document:
    return {"containers": [container], "volumes": [pods.empty_dir("seamark-tmp", space)]}


def _mount(pod: Document, claim: str, *, read_only: bool) -> None:
    """All containers see the claim. What the template has under the same name or at the same place gives way."""
    source = {"claimName": claim, "readOnly": read_only}
    kept = [volume for volume in pod.get("volumes", ()) if volume.get("name") != CLAIM_VOLUME]
    pod["volumes"] = [*kept, {"name": CLAIM_VOLUME, "persistentVolumeClaim": source}]
    mount = {"name": CLAIM_VOLUME, "mountPath": CLAIM_FOLDER, "readOnly": read_only}
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        others = [other for other in container.get("volumeMounts", ()) if not _is_claim(other)]
        container["volumeMounts"] = [*others, mount]


def _is_claim(mount: Document) -> bool:
    return mount.get("name") == CLAIM_VOLUME or mount.get("mountPath") == CLAIM_FOLDER


def _job(settings: Settings, owner: Owner, job: Document, *, name: str, role: str) -> Document:
    """The Job with its names, its owner, and restrictions where it says nothing else."""
    labels = names.labels(owner.name, role)
    template = job["spec"]["template"]
    template["metadata"] = _labelled(template.get("metadata", {}), labels)
    _restrict(settings, template["spec"])
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": {
            **_labelled(job.get("metadata", {}), labels),
            "name": name,
            "namespace": owner.namespace,
            "ownerReferences": [owner.reference()],
        },
        "spec": job["spec"],
    }


def _labelled(theirs: Document, labels: Mapping[str, str]) -> Document:
    """Only what a template may say about metadata: labels and annotations."""
    found: Document = {"labels": {**theirs.get("labels", {}), **labels}}
    return found | ({"annotations": theirs["annotations"]} if "annotations" in theirs else {})


def _restrict(settings: Settings, pod: Document) -> None:
    pod["restartPolicy"] = "Never"
    pod.setdefault("automountServiceAccountToken", False)
    pod["securityContext"] = pods.restricted() | pod.get("securityContext", {})
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        container["securityContext"] = pods.confined(read_only=False) | container.get("securityContext", {})
        # What a program says last, when it says nothing better, is why it failed.
        container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    for name, value in pods.placement(settings).items():
        pod.setdefault(name, value)
