"""Why a pod will not come right by itself, in words that stay the same while the cause does.

A pod that is merely starting has no trouble. Pure: documents in, texts out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import msgspec

from seamark_kubernetes.api import Document
from seamark_kubernetes.jobs import USER_ERROR

__all__ = ["condition", "end", "is_leaving", "is_ready", "mapping", "newest_first", "stuck", "unix", "words"]

#: Seconds that the scheduler may look for a place: a new node takes about that long.
UNSCHEDULED = 60.0
#: Restarts after which a container counts as failing, not as starting; fewer where it lacks memory.
RESTARTS = 3
RESTARTS_MEMORY = 2
#: An end that is longer ago than this (seconds) says nothing about now; the longest pause between restarts is 300 s.
RECENT = 600.0

#: What keeps a container from being started; it is tried again, but somebody has to mend something.
_WAITING = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node",
    "InvalidImageName": "its image has an invalid name",
    "CreateContainerConfigError": "it cannot be configured",
    "CreateContainerError": "it cannot be created",
}
_LONGEST = 300
_OWN_PORT = re.compile(r":\d+->")


def unix(text: str) -> float:
    """Unix seconds of a time in a document."""
    return datetime.fromisoformat(text).timestamp()


def newest_first(pods: Iterable[Document]) -> list[Document]:
    return sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]))[::-1]


def condition(document: Document, kind: str) -> Document:
    """A condition of an object's status; empty where it has none of this kind."""
    found = document.get("status", {}).get("conditions") or ()
    return next((entry for entry in found if entry.get("type") == kind), {})


def is_leaving(pod: Document) -> bool:
    """Is it being deleted, or has it ended? Another one takes its place."""
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def is_ready(pod: Document) -> bool:
    return not is_leaving(pod) and condition(pod, "Ready").get("status") == "True"


def stuck(pod: Document, now: float, own: Collection[str]) -> str:
    """Why the pod will not come right by itself; "" if it is ready, or may still become so.

    now: Unix seconds. own: containers that end with status 2 when trying again does not help, as Seamark's do.
    """
    if is_leaving(pod) or is_ready(pod):
        return ""
    causes = [_unscheduled(pod, now), *(_container(status, now, own) for status in _statuses(pod))]
    return next((cause for cause in causes if cause), "")


def _statuses(pod: Document) -> list[Document]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _unscheduled(pod: Document, now: float) -> str:
    found = condition(pod, "PodScheduled")
    if found.get("status") != "False" or found.get("reason") != "Unschedulable":
        return ""
    since = unix(found.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"])
    return "" if now - since < UNSCHEDULED else f"no node takes the pod: {_cut(found.get('message', ''))}"


def _container(status: Document, now: float, own: Collection[str]) -> str:
    name = status["name"]
    waiting = status.get("state", {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in _WAITING:
        # Pulling and pausing take turns; what follows this word is the same in both.
        detail = waiting.get("message", "").rpartition("ErrImagePull: ")[2]
        return f"container {name}: {_WAITING[reason]}" + (detail and f": {_cut(detail)}")
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {}
    if status.get("ready") or not ended:
        return ""
    return _end_of(name, ended) if reason == "CrashLoopBackOff" or _is_failing(status, ended, now, own) else ""


def _is_failing(status: Document, ended: Document, now: float, own: Collection[str]) -> bool:
    if "finishedAt" in ended and now - unix(ended["finishedAt"]) > RECENT:
        return False
    if ended.get("exitCode") == USER_ERROR and status["name"] in own:
        return True
    allowed = RESTARTS_MEMORY if ended.get("reason") == "OOMKilled" else RESTARTS
    return bool(status.get("restartCount", 0) >= allowed)


def end(pod: Document) -> str:
    """Why a pod of a Job ended without success; "" if it did not."""
    status = pod.get("status", {})
    if status.get("reason") == "Evicted":
        return f"its pod was evicted: {_cut(status.get('message', ''))}"
    if status.get("reason") == "DeadlineExceeded":
        return "a try did not end in time"
    ends = ((found["name"], found.get("state", {}).get("terminated") or {}) for found in _statuses(pod))
    return next((_end_of(name, ended) for name, ended in ends if ended.get("exitCode")), "")


def _end_of(name: str, ended: Document) -> str:
    said = words(ended.get("message", ""))
    if isinstance(mapping(ended.get("message", "")).get("error"), str):
        return said
    if ended.get("reason") == "OOMKilled":
        return f"container {name} was killed for lack of memory"
    return f"container {name} ended with status {ended.get('exitCode')}" + (said and f": {said}")


def words(message: str) -> str:
    """What a termination message says: its `error`, or the last line of the log."""
    error = mapping(message).get("error")
    if isinstance(error, str):
        return _cut(error)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return _cut(lines[-1]) if lines else ""


def mapping(message: str) -> dict[str, Any]:
    """A termination message as a JSON object; empty where it is something else."""
    try:
        document = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}
    return document if isinstance(document, dict) else {}


def _cut(text: str) -> str:
    """One line of bounded length, without the port that a connection happened to come from."""
    line = _OWN_PORT.sub("->", " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
