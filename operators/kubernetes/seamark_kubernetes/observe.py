"""What Kubernetes' documents say, as the decision sees it. Pure: documents in, values of `seamark.seen` out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from seamark.errors import InvalidSpec
from seamark.seen import JobSeen, ModelSeen, RevisionSeen
from seamark_kubernetes import names, pvc, troubles
from seamark_kubernetes.api import Document
from seamark_kubernetes.jobs import CLAIM_FOLDER, CLAIM_VOLUME, output_path
from seamark_kubernetes.serving import MONITOR, OWN_RUNTIME

__all__ = ["job_seen", "model_seen", "monitor_addresses", "revision_seen"]

#: KServe's name of the container that answers requests.
_PREDICTOR = "kserve-container"
_DIGEST = re.compile(r"[0-9a-f]{64}")


# --- revisions


def revision_seen(service: Document, pods: Sequence[Document], now: float) -> RevisionSeen | None:
    """A revision from its InferenceService and pods; None while it is being deleted. now: Unix seconds.

    A replica is ready when its pod is. `failing` says why one will not be ready without help.
    """
    if "deletionTimestamp" in service["metadata"]:
        return None
    predictor = service["spec"]["predictor"]
    is_own = predictor.get("model", {}).get("runtime") == OWN_RUNTIME
    own = (MONITOR, _PREDICTOR) if is_own else (MONITOR,)
    causes = [_refused(service), *(troubles.stuck(pod, now, own) for pod in troubles.newest_first(pods))]
    return RevisionSeen(
        replicas=predictor.get("minReplicas", 1),
        ready=sum(troubles.is_ready(pod) for pod in pods),
        failing=next((cause for cause in causes if cause), ""),
    )


def _refused(service: Document) -> str:
    """What KServe says against the InferenceService itself; what it says about pods, the pods say better."""
    status = service.get("status", {}).get("modelStatus", {})
    if status.get("transitionStatus") == "InvalidSpec":
        info = status.get("lastFailureInfo", {})
        runtime = service["spec"]["predictor"].get("model", {}).get("runtime", "")
        return f"KServe refuses runtime {runtime}: {info.get('message', '')} ({info.get('reason', '')})"
    ready = troubles.condition(service, "PredictorReady")
    if ready.get("status") == "False" and ready.get("reason") == "ReconcileFailed":
        return f"KServe cannot serve it: {troubles.words(ready.get('message', ''))}"
    return ""


def monitor_addresses(pods: Iterable[Document], revision: str) -> tuple[str, ...]:
    """Where the metrics of a revision's pods are, for as long as they have an address.

    A pod that is not ready, or leaving, still has counts that matter: a challenger's errors, say. The fragment is never
    sent; it tells a pod from an earlier one at the same address.
    """
    found = [
        (pod["status"]["podIP"], pod["metadata"]["name"])
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(names.REVISION) == revision
        and (pod.get("status") or {}).get("podIP")
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]
    return tuple(f"http://{_host(ip)}:{names.MONITOR_PORT}/metrics#{name}" for ip, name in sorted(found))


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


# --- Jobs


def job_seen(job: Document, pods: Sequence[Document]) -> JobSeen:
    """A retraining from its Job and pods. It succeeded only with a package where its packages belong."""
    started = troubles.unix(job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"])
    if ended := _condition(job, "Failed"):
        return JobSeen("failed", started, _moment(job, ended), message=_cause(ended, pods))
    if ended := _condition(job, "Complete"):
        return _finished(job, pods, started, _moment(job, ended))
    return JobSeen("running", started)


def _condition(job: Document, kind: str) -> Document | None:
    found = troubles.condition(job, kind)
    return found if found.get("status") == "True" else None


def _moment(job: Document, ended: Document) -> float:
    return troubles.unix(job["status"].get("completionTime") or ended["lastTransitionTime"])


def _cause(ended: Document, pods: Sequence[Document]) -> str:
    last = next((cause for pod in troubles.newest_first(pods) if (cause := troubles.end(pod))), "")
    if ended.get("reason") == "DeadlineExceeded":
        return "it did not end in time" + (last and f"; the last failure: {last}")
    return last or troubles.words(ended.get("message", ""))


def _finished(job: Document, pods: Sequence[Document], started: float, finished: float) -> JobSeen:
    result = _result(pods, "package")
    if result is None:
        return JobSeen("failed", started, finished, message="it ended without a result that can be read")
    try:
        package = _package(job, result["package"])
    except InvalidSpec as error:
        return JobSeen("failed", started, finished, message=f"Cannot take its package: {error.problem}")
    version = result.get("version")
    return JobSeen(
        "succeeded",
        started,
        finished,
        package=package,
        digest=result["digest"],
        version=version if isinstance(version, str) else "",
        result=result,
    )


def _result(pods: Sequence[Document], needed: str) -> Mapping[str, Any] | None:
    """The JSON that a container left when it ended well; None without `needed`, a text, and a digest."""
    for pod in troubles.newest_first(pods):
        for status in pod.get("status", {}).get("containerStatuses") or ():
            ended = status.get("state", {}).get("terminated") or {}
            found = troubles.mapping(ended.get("message", "")) if ended.get("exitCode") == 0 else {}
            digest = found.get("digest")
            if isinstance(found.get(needed), str) and isinstance(digest, str) and _DIGEST.fullmatch(digest):
                return found
    return None


def _package(job: Document, address: str) -> str:
    """The pvc: address of a folder that the Job wrote under its own path of the claim; else `InvalidSpec`."""
    folder = f"{CLAIM_FOLDER}/{output_path(job['metadata']['labels'][names.DEPLOYMENT])}/"
    path = _path(address).rstrip("/")
    if not path.startswith(folder):
        raise InvalidSpec("package", f"{address[:200]!r} is not under {folder}")
    return pvc.parse(f"pvc://{_claim(job)}{path.removeprefix(CLAIM_FOLDER)}", "package").uri


def _path(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return unquote(parts.path) if (parts.scheme, parts.netloc) == ("file", "") else ""


def _claim(job: Document) -> str:
    volumes = job["spec"]["template"]["spec"].get("volumes") or ()
    claims = (volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume["name"] == CLAIM_VOLUME)
    return str(next(claims, ""))


# --- the manifest's model


def model_seen(job: Document, pods: Sequence[Document], uri: str, now: float) -> ModelSeen | None:
    """What a resolving Job found at `uri`; None while it is at work. now: Unix seconds."""
    if ended := _condition(job, "Failed"):
        return _unreadable(uri, _cause(ended, pods))
    if _condition(job, "Complete"):
        result = _result(pods, "format")
        if result is None:
            return _unreadable(uri, "the Job that looked at it left no result that can be read")
        return ModelSeen(uri, result["digest"], str(result.get("version", "")), format=result["format"])
    causes = (troubles.stuck(pod, now, own=()) for pod in troubles.newest_first(pods))
    cause = next((cause for cause in causes if cause), "")
    return _unreadable(uri, cause) if cause else None


def _unreadable(uri: str, cause: str) -> ModelSeen:
    return ModelSeen(uri, error=f"Cannot read model package {uri}: {cause}")
