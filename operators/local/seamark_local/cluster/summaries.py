"""From a cluster's objects to summaries as `seamark.summary` makes them on one machine. Pure.

The operator reports no requests per second, error rate and p99 of a revision: they are None here, which is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seamark_local.cluster.objects import COMMAND, RECONCILE

__all__ = ["Document", "created", "owned", "summaries", "summary"]

Document = dict[str, Any]

#: Revisions shown of a deployment.
_SHOWN = 5
_ROLES = ("champion", "challenger", "shadow", "pending", "previous", "retired")
#: As the operator writes it: `0.41 > 0.10 age`, or `0.02 < 0.10`.
_DRIFT = re.compile(r"(?P<score>\S+) (?P<sign>[<>]) (?P<threshold>\S+)(?: (?P<feature>.+))?")


def summaries(deployments: Iterable[Document], revisions: Iterable[Document]) -> list[Document]:
    """Of all ModelDeployments, each with its ModelRevisions, by namespace and name."""
    known = list(revisions)
    found = (summary(deployment, owned(deployment, known)) for deployment in deployments)
    return sorted(found, key=lambda one: (one["namespace"], one["name"]))


def owned(deployment: Document, revisions: Iterable[Document]) -> list[Document]:
    """Those ModelRevisions that are the deployment's own, and not an earlier one's of the same name."""
    metadata = deployment["metadata"]
    return [
        revision
        for revision in revisions
        if revision["metadata"].get("namespace") == metadata.get("namespace")
        and revision.get("spec", {}).get("deployment") == metadata["name"]
        and _is_owner(metadata.get("uid"), revision["metadata"].get("ownerReferences") or [])
    ]


def _is_owner(uid: str | None, references: Sequence[Mapping[str, Any]]) -> bool:
    """What nobody owns was restored from a backup, and the operator adopts it."""
    owners = [reference for reference in references if reference.get("kind") == "ModelDeployment"]
    return not owners or any(owner.get("uid") == uid for owner in owners)


def summary(deployment: Document, revisions: Sequence[Document]) -> Document:
    """Of one ModelDeployment and its own ModelRevisions: champion first, then the challenger, then the newest."""
    metadata, status = deployment["metadata"], deployment.get("status") or {}
    known = {one["metadata"]["name"]: one for one in sorted(revisions, key=created, reverse=True)}
    named = dict.fromkeys(name for name in (status.get("champion"), status.get("challenger"), *known) if name)
    rows = [_revision(name, known.get(name, {}), status) for name in named]
    rows.sort(key=lambda row: _ROLES.index(row["role"]))
    return {
        "name": metadata["name"],
        "namespace": metadata.get("namespace", "default"),
        "ready": _condition(status, "Ready").get("status") == "True",
        "phase": status.get("phase", "Pending"),
        "message": "; ".join(_messages(deployment, status, rows)),
        "step": status.get("step", ""),
        "verdict": _verdict(status.get("verdict")),
        "retraining": status.get("retraining", ""),
        "alarms": status.get("alarms") or [],
        "url": status.get("url", ""),
        "revisions": [{key: row[key] for key in row if key != "failing"} for row in rows[:_SHOWN]],
    }


def created(revision: Document) -> str:
    """When the version came, as `2026-01-31T10:00:00Z`."""
    return str(revision.get("spec", {}).get("created") or revision["metadata"].get("creationTimestamp", ""))


def _condition(status: Document, kind: str) -> Document:
    return next((one for one in status.get("conditions") or [] if one.get("type") == kind), {})


def _verdict(found: Mapping[str, str] | None) -> Document | None:
    return {key: found.get(key, "") for key in ("outcome", "reason", "message")} if found else None


# --- what people should know


def _messages(deployment: Document, status: Document, rows: Sequence[Document]) -> list[str]:
    """Each once: what one says, another may hold already."""
    said: list[str] = []
    for message in _remarks(deployment, status, rows):
        if message and not any(message in other for other in said):
            said.append(message)
    return said


def _remarks(deployment: Document, status: Document, rows: Sequence[Document]) -> Iterable[str]:
    metadata = deployment["metadata"]
    annotations = metadata.get("annotations") or {}
    if metadata.get("deletionTimestamp"):
        yield "it is being deleted"
    if not status:
        yield "not looked at yet"
    elif status.get("observedGeneration", 0) < metadata.get("generation", 0):
        yield "the operator has not taken up the newest manifest yet"
    if command := annotations.get(COMMAND):
        yield f"waiting for the operator to obey: {command}"
    if annotations.get(RECONCILE) == "disabled":
        yield f"annotation {RECONCILE} tells the operator to leave it alone"
    yield status.get("message", "")
    yield _condition(status, "Stalled").get("message", "")
    ready = _condition(status, "Ready")
    # A deployment without a champion says what it waits for.
    if status.get("champion") and ready.get("status") != "True":
        yield ready.get("message", "")
    for row in rows:
        if row["failing"]:
            yield f"{row['name']} is failing: {row['failing']}"


# --- revisions


def _revision(name: str, document: Document, deployment: Document) -> Document:
    """deployment: its status, written at once, so that its weights sum to 100 and it has one champion."""
    spec, status = document.get("spec") or {}, document.get("status") or {}
    drift = status.get("drift") if name == deployment.get("champion") else None
    return {
        "name": name,
        "version": spec.get("version", ""),
        "role": _role(name, status, deployment),
        "phase": status.get("phase", "Pending"),
        "weight": (deployment.get("weights") or {}).get(name, 0),
        "mirror": status.get("mirror", 0),
        "ready": status.get("ready", "0/0"),
        "requests_per_second": None,
        "error_rate": None,
        "p99": None,
        "drift": _drift(drift),
        "quality": _float(status.get("quality")),
        "quality_rows": 0,
        "failing": status.get("failing", ""),
    }


def _role(name: str, status: Document, deployment: Document) -> str:
    said = status.get("role", "pending")
    if name == deployment.get("champion"):
        return "champion"
    if name == deployment.get("challenger"):
        return "shadow" if status.get("phase") == "Shadow" else "challenger"
    if said in ("champion", "challenger", "shadow"):  # its own status is a moment older
        return "previous" if said == "champion" else "retired"
    return said if said in _ROLES else "retired"


def _drift(text: str | None) -> Document | None:
    """With `exceeds`, because rounded numbers may look equal."""
    found = _DRIFT.fullmatch(text or "")
    score, threshold = (_float(found[part]) for part in ("score", "threshold")) if found else (None, None)
    if found is None or score is None or threshold is None:
        return None
    exceeds = found["sign"] == ">"
    return {"score": score, "threshold": threshold, "feature": found["feature"] or "", "exceeds": exceeds}


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
