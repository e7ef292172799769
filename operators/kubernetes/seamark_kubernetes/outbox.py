"""The outbox: what a committed decision still has to tell. Numbered, so that telling twice is telling once.

An entry leaves in a later commit than the one it came with, after it was told: an event once the API server has it, a
record once it is seen in its revision's history, a stop once the Job was told to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from seamark.actions import Action, Notify, Record, StopRetraining
from seamark.errors import Conflict, InvalidSpec
from seamark.facts import finite
from seamark_kubernetes import fault
from seamark_kubernetes.api import EVENT, MODEL_DEPLOYMENT, Api, Document, Owner
from seamark_kubernetes.memory import Entry, Memory
from seamark_kubernetes.names import FIELD_MANAGER
from seamark_kubernetes.words import shortened

__all__ = ["HISTORY", "WARNINGS", "add", "event", "history", "is_recorded", "lines", "refuse", "tell", "timestamp"]

log = logging.getLogger("seamark.operator")

#: Entries kept in a ModelRevision.
HISTORY = 20
#: Events that somebody should look at.
WARNINGS = frozenset({"Alarm", "RolledBack", "RetrainingBlocked", "ContractViolated", "CommandRefused"})

#: Bytes of JSON of one record's evidence, so that a full history stays far below what an object may hold.
_LARGEST_EVIDENCE = 4096
#: Entries that wait at most. A decision makes a few; only an API server that takes no events makes them pile up.
_LONGEST = 200


def timestamp(time: float) -> str:
    """Unix seconds as Kubernetes writes them: `2026-01-31T10:00:00Z`."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- putting in


def add(memory: Memory, actions: Iterable[Action], now: float) -> Memory:
    """The memory with those actions in the outbox that must be told; the others are applied."""
    for action in actions:
        if isinstance(action, Notify | Record | StopRetraining):
            memory = _put(memory, _entry(action, memory.sequence + 1, now))
    return memory


def refuse(memory: Memory, message: str, now: float) -> Memory:
    """The memory with an event that says why a command was refused."""
    return _put(memory, Entry(memory.sequence + 1, now, "event", "", "CommandRefused", message=message))


def _entry(action: Notify | Record | StopRetraining, sequence: int, now: float) -> Entry:
    match action:
        case Notify():
            message = shortened(action.message)
            return Entry(sequence, now, "event", action.revision, action.kind, action.reason, message)
        case Record():
            evidence = _bounded(action.evidence)
            return Entry(sequence, now, "record", action.revision, action.what, action.reason, evidence=evidence)
        case StopRetraining():
            return Entry(sequence, now, "stop", action.job, "StopRetraining")


def _bounded(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence as JSON values; of a large one only what is small."""
    plain: dict[str, Any] = {key: finite(value) for key, value in evidence.items()}
    if len(msgspec.json.encode(plain)) <= _LARGEST_EVIDENCE:
        return plain
    small = {key: value for key, value in plain.items() if len(msgspec.json.encode(value)) <= 200}
    return {**dict(list(small.items())[:15]), "truncated": True}


def _put(memory: Memory, entry: Entry) -> Memory:
    waiting = (*memory.outbox, entry)
    for dropped in waiting[:-_LONGEST]:
        log.error("event=untold kind=%s sequence=%d what=%s", dropped.kind, dropped.sequence, dropped.what)
    return replace(memory, outbox=waiting[-_LONGEST:], sequence=entry.sequence)


# --- telling


async def tell(api: Api, owner: Owner, entry: Entry) -> None:
    """Make the Event, unless it was made before. Raises `Unavailable`."""
    fault.point("tell:before")
    try:
        await api.create(EVENT, owner.namespace, event(owner, entry))
    except Conflict:
        pass  # told before, by this process or by one that died
    except InvalidSpec as error:
        # It will be refused for ever; the line in the log is all that can be had.
        where = f"{owner.namespace}/{owner.name}"
        log.error(
            "event=untold deployment=%s what=%s cause=%r message=%r", where, entry.what, str(error), entry.message
        )
    fault.point("tell:after")


def event(owner: Owner, entry: Entry) -> Document:
    """The Event on the ModelDeployment."""
    time = timestamp(entry.time)
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{owner.name}.{owner.uid[:8]}.{entry.sequence}", "namespace": owner.namespace},
        "involvedObject": {
            "apiVersion": MODEL_DEPLOYMENT.api_version,
            "kind": MODEL_DEPLOYMENT.kind,
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
        },
        "type": "Warning" if entry.what in WARNINGS else "Normal",
        "reason": entry.what,
        "message": entry.message,
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


# --- records


def history(revision: str, known: Document | None, entries: Iterable[Entry]) -> list[Document]:
    """The history of the ModelRevision `known` with the revision's records in it, by number, oldest first."""
    found = {line["sequence"]: line for line in lines(known)}
    for entry in entries:
        if entry.kind == "record" and entry.subject == revision:
            found.setdefault(entry.sequence, _line(entry))
    return [found[sequence] for sequence in sorted(found)][-HISTORY:]


def _line(entry: Entry) -> Document:
    line: Document = {"sequence": entry.sequence, "time": timestamp(entry.time), "what": entry.what}
    if entry.reason:
        line["reason"] = entry.reason
    if entry.evidence:
        line["evidence"] = dict(entry.evidence)
    return line


def is_recorded(revision: Document, entry: Entry) -> bool:
    """Is the record in this ModelRevision's history, or was it pushed out by newer ones?"""
    sequences = [line["sequence"] for line in lines(revision)]
    return entry.sequence in sequences or (len(sequences) >= HISTORY and entry.sequence < min(sequences))


def lines(revision: Document | None) -> list[Document]:
    """The history that a ModelRevision has."""
    return list(((revision or {}).get("status") or {}).get("history") or [])
