"""What people see of a deployment: the status of its ModelDeployment and its ModelRevisions. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seamark.actions import Decision
from seamark.seen import RouteSeen, Seen
from seamark.spec import ModelDeployment
from seamark.state import Revision, State
from seamark.summary import role, summarise
from seamark_kubernetes import conditions, names
from seamark_kubernetes.api import MODEL_REVISION, Document, Owner
from seamark_kubernetes.conditions import Finding, Trouble
from seamark_kubernetes.memory import Entry
from seamark_kubernetes.outbox import history, timestamp
from seamark_kubernetes.words import listed, shortened

__all__ = [
    "REVISIONS_KEPT",
    "WantedRevision",
    "differs_in_numbers_only",
    "disabled",
    "invalid",
    "revisions",
    "status",
    "surplus",
    "waiting",
]

#: ModelRevisions kept, those in use included.
REVISIONS_KEPT = 20


# --- ModelDeployment


def status(
    document: Document,
    spec: ModelDeployment,
    seen: Seen,
    decision: Decision,
    *,
    url: str,
    troubles: Sequence[Trouble] = (),
    unconfirmed: float = 0.0,
) -> Document:
    """The status after this decision. unconfirmed: seconds since the gateway last confirmed the route."""
    state = decision.state
    summary = summarise(spec, state, _as_asked(state, seen), decision)
    weights = dict(_weights(state, seen))
    challenger = state.rollout.challenger if state.rollout else None
    champion = _champion(summary)
    found: Document = {
        "observedGeneration": _generation(document),
        "phase": summary["phase"],
        "url": url,
        "champion": state.champion,
        "challenger": challenger,
        "weight": weights.get(challenger, 0) if challenger else None,
        "weights": {name: weight for name, weight in weights.items() if weight},
        "step": summary["step"],
        "verdict": summary["verdict"],
        "retraining": summary["retraining"],
        "drift": _drift(champion.get("drift")),
        "quality": _quality(champion.get("quality")),
        "alarms": listed(summary["alarms"]),
        "message": _message(summary["message"], troubles),
        "model": _model(seen),
    }
    findings = conditions.findings(
        spec, state, seen, ready=summary["ready"], troubles=troubles, unconfirmed=unconfirmed
    )
    return _without_empty(found) | {"conditions": conditions.documents(document, findings, seen.now)}


def invalid(document: Document, reason: str, message: str, now: float) -> Document:
    """The status of a deployment about which nothing can be decided until a person mends something."""
    message = shortened(message)
    findings = [Finding("Ready", "False", reason, message), Finding("Stalled", "True", reason, message)]
    return _interrupted(document, findings, message, now) | {"observedGeneration": _generation(document)}


def disabled(document: Document, now: float) -> Document:
    """The status of a deployment that the operator was told to leave alone. What it serves goes on serving."""
    message = f"annotation {names.RECONCILE} tells the operator to leave it alone"
    return _interrupted(document, [Finding("Progressing", "False", "Disabled", message)], message, now)


def waiting(document: Document, foreign: Sequence[str], now: float) -> Document:
    """The status while objects of an earlier deployment of this name are being removed."""
    message = f"waiting until {foreign[0]} of an earlier deployment of this name is removed"
    findings = [Finding(kind, "True", "WaitingForRemoval", message) for kind in ("Progressing", "Reconciling")]
    return _interrupted(document, [Finding("Ready", "False", "Deploying", message), *findings], message, now)


def _interrupted(document: Document, findings: Sequence[Finding], message: str, now: float) -> Document:
    """The last status with some conditions changed; what was moving or stuck before is so no more."""
    before: Document = document.get("status") or {}
    changed = {finding.type for finding in findings} | {"Reconciling", "Stalled"}
    found = [*conditions.kept(document, changed), *findings]
    return before | {
        "message": message,
        "conditions": conditions.documents(document, found, now),
    }


def differs_in_numbers_only(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Are they the same but for numbers that change at every look? Weights, steps and words are no such numbers."""
    return _without_numbers(old) == _without_numbers(new)


def _without_numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    masked = dict(found)
    for field in ("drift", "quality", "retraining"):
        if field in masked:
            masked[field] = _masked(masked[field])
    if "step" in masked:
        place, colon, words = masked["step"].partition(":")
        masked["step"] = place + colon + _masked(words)
    if "verdict" in masked:
        masked["verdict"] = masked["verdict"] | {"message": _masked(masked["verdict"].get("message", ""))}
    return masked


def _masked(text: str) -> str:
    """Without figures, and without units of time: `59s` becomes `1m2s` by itself."""
    return re.sub(r"([0-9][0-9.,]*(ms|[dhms](?![a-z]))?)+", "#", text)


# --- numbers and words


def _as_asked(state: State, seen: Seen) -> Seen:
    """While the gateway is on its way to a new route, people see the one it was asked for."""
    if seen.route is not None or state.route is None:
        return seen
    return replace(seen, route=RouteSeen(state.route.weights, state.route.mirror))


def _weights(state: State, seen: Seen) -> Mapping[str, int]:
    route = _as_asked(state, seen).route
    return route.weights if route else {}


def _champion(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((revision for revision in summary["revisions"] if revision["role"] == "champion"), {})


def _drift(found: Mapping[str, Any] | None) -> str | None:
    """As `0.41 > 0.10 age`, or `0.02 < 0.10`: the feature is of interest only above the threshold."""
    if not found:
        return None
    score, threshold = found["score"], found["threshold"]
    if score > threshold:
        return f"{_number(score)} > {_number(threshold)} {found['feature']}".rstrip()
    return f"{_number(score)} < {_number(threshold)}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def _quality(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _message(said: str, troubles: Sequence[Trouble]) -> str:
    """The decision's own words, then the troubles that they do not hold already."""
    new = dict.fromkeys(trouble.message for trouble in troubles if trouble.message not in said)
    return shortened("; ".join(filter(None, [said, *new])))


def _model(seen: Seen) -> Document | None:
    model = seen.model
    if model is None:
        return None
    fields = {"uri": model.uri, "digest": model.digest, "version": model.version, "format": model.format}
    return _without_empty(fields | {"error": shortened(model.error)})


def _without_empty(found: Mapping[str, Any]) -> Document:
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _generation(document: Document) -> int:
    return int(document["metadata"].get("generation", 1))


# --- ModelRevisions


@dataclass(frozen=True, slots=True)
class WantedRevision:
    """document: to be made, None if it is there. status: what it should say, its history included."""

    name: str
    document: Document | None
    status: Document


def revisions(
    owner: Owner,
    spec: ModelDeployment,
    seen: Seen,
    decision: Decision,
    entries: Iterable[Entry],
    known: Mapping[str, Document],
) -> list[WantedRevision]:
    """The ModelRevisions of all remembered revisions. known: those that are there; entries: records to add."""
    state, untold = decision.state, tuple(entries)
    summary = summarise(spec, state, _as_asked(state, seen), decision)
    shown = {found["name"]: found for found in summary["revisions"]}
    return [
        WantedRevision(
            revision.name,
            _revision_document(owner, revision, known.get(revision.name)),
            _revision_status(
                state,
                seen,
                revision,
                shown.get(revision.name, {}),
                history(revision.name, known.get(revision.name), untold),
            ),
        )
        for revision in state.revisions
    ]


def _revision_document(owner: Owner, revision: Revision, known: Document | None) -> Document | None:
    """Its spec never changes: a version that comes again keeps the one it had."""
    references = (known or {}).get("metadata", {}).get("ownerReferences") or []
    if any(reference.get("uid") == owner.uid for reference in references):
        return None
    fields = {
        "deployment": owner.name,
        "uri": revision.uri,
        "digest": revision.digest,
        "version": revision.version,
        "origin": revision.origin,
        "created": timestamp(revision.created),
    }
    return {
        "apiVersion": MODEL_REVISION.api_version,
        "kind": MODEL_REVISION.kind,
        "metadata": {
            "name": revision.name,
            "namespace": owner.namespace,
            "labels": names.labels(owner.name, "serving", revision.name),
            "ownerReferences": [owner.reference()],
        },
        "spec": known["spec"] if known else _without_empty(fields),
    }


def _revision_status(
    state: State, seen: Seen, revision: Revision, shown: Mapping[str, Any], lines: list[Document]
) -> Document:
    served = seen.revisions.get(revision.name)
    return _without_empty(
        {
            "phase": revision.phase,
            "role": _role(state, revision),
            "weight": _weights(state, seen).get(revision.name, 0),
            "mirror": shown.get("mirror") or None,
            "ready": f"{served.ready}/{served.replicas}" if served else None,
            "failing": shortened(served.failing) if served else None,
            "drift": _drift(shown.get("drift")),
            "quality": _quality(shown.get("quality")),
            "history": lines,
        }
    )


def _role(state: State, revision: Revision) -> str:
    found = role(state, revision.name)
    return "pending" if found == "retired" and revision.phase == "Pending" else found


def surplus(state: State, known: Iterable[Document]) -> list[str]:
    """Names of ModelRevisions to delete: the oldest that are remembered nowhere, beyond what is kept."""
    found = list(known)
    forgotten = [one for one in found if state.revision(one["metadata"]["name"]) is None]
    forgotten.sort(key=lambda one: str(one["spec"].get("created", "")))
    return [one["metadata"]["name"] for one in forgotten[: max(0, len(found) - REVISIONS_KEPT)]]
