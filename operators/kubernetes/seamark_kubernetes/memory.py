"""The operator's memory of one deployment, as a ModelDeploymentState object, and the only way to change it.

A decision is committed here before anything of it is applied, with the resourceVersion that the memory was read at. So
of two operators one gets `Conflict` and applies nothing, and so does a decision made on old memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from seamark.errors import InvalidSpec
from seamark.seen import ModelSeen
from seamark.state import State
from seamark_kubernetes import names
from seamark_kubernetes.api import MODEL_DEPLOYMENT, STATE, Api, Document, Owner

__all__ = ["Entry", "Memory", "Resolved", "Written", "commit", "document", "is_foreign", "load", "version"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something decided that must happen outside once, and waits until it has.

    event: becomes an Event called `what`; record: an entry in the history of the ModelRevision `subject`; stop: the Job
    `subject` is stopped. time in Unix seconds; sequence grows by one with every entry of a deployment.
    """

    sequence: int
    time: float
    kind: Literal["event", "record", "stop"]
    subject: str
    what: str
    reason: str = ""
    message: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a model address was found to be, at `time` (Unix seconds), when the manifest had this generation.

    nonce: the RESOLVE annotation then. count: how many times addresses were resolved so far; it makes the next Job's
    name a new one.
    """

    model: ModelSeen
    nonce: str
    generation: int
    time: float
    count: int


@dataclass(frozen=True, slots=True)
class Memory:
    """State, and what the driver adds to it.

    outbox: what waits to be told, oldest first. sequence: of the newest entry there ever was. handled: the command
    annotation that was obeyed or refused and is not seen removed. resource_version: None while there is no object.
    """

    state: State = field(default_factory=State)
    outbox: tuple[Entry, ...] = ()
    sequence: int = 0
    handled: str = ""
    resolved: Resolved | None = None
    resource_version: str | None = None


def is_foreign(found: Document, owner: Owner) -> bool:
    """Does it belong to another ModelDeployment, such as an earlier one of the same name?

    What no ModelDeployment owns (restored from a backup, left by `--cascade=orphan`) is adopted.
    """
    references = found.get("metadata", {}).get("ownerReferences") or []
    owners = [reference for reference in references if reference.get("kind") == MODEL_DEPLOYMENT.kind]
    return bool(owners) and all(reference.get("uid") != owner.uid for reference in owners)


def load(found: Document | None, owner: Owner) -> Memory:
    """The memory in a ModelDeploymentState; an empty one where there is none, or another deployment's.

    Raises `InvalidSpec` if it cannot be read: then nothing can be decided.
    """
    if found is None or is_foreign(found, owner):
        return Memory()
    try:
        return Memory(
            state=msgspec.convert(found["memory"], State),
            outbox=msgspec.convert(found.get("outbox") or [], tuple[Entry, ...]),
            sequence=msgspec.convert(found.get("sequence", 0), int),
            handled=msgspec.convert(found.get("handled", ""), str),
            resolved=msgspec.convert(found.get("resolved"), Resolved | None),
            resource_version=found["metadata"]["resourceVersion"],
        )
    except (msgspec.ValidationError, KeyError) as error:
        where = f"{STATE.kind} {owner.namespace}/{owner.name}"
        cause = f"is missing {error}" if isinstance(error, KeyError) else f"cannot be read: {error}"
        raise InvalidSpec(where, f"{cause}; mend it, or delete it to begin anew") from error


def document(memory: Memory, owner: Owner) -> Document:
    """The object that says so."""
    metadata: Document = {
        "name": owner.name,
        "namespace": owner.namespace,
        "labels": names.labels(owner.name, "serving"),
        "ownerReferences": [owner.reference()],
    }
    if memory.resource_version is not None:
        metadata["resourceVersion"] = memory.resource_version
    return {
        "apiVersion": STATE.api_version,
        "kind": STATE.kind,
        "metadata": metadata,
        "memory": _plain(memory.state),
        "outbox": _plain(memory.outbox),
        "sequence": memory.sequence,
        "handled": memory.handled,
        "resolved": _plain(memory.resolved),
    }


def _plain(value: object) -> Any:
    """As JSON has it: with lists, and no tuples."""
    return msgspec.json.decode(msgspec.json.encode(value))


async def commit(api: Api, owner: Owner, memory: Memory) -> Document:
    """Write the memory if the object is still as it was read; `Conflict` or `NotFound` if it is not."""
    if memory.resource_version is None:
        return await api.create(STATE, owner.namespace, document(memory, owner))
    return await api.replace(STATE, owner.namespace, document(memory, owner))


def version(found: Document | None) -> int:
    """The resourceVersion as a number, which grows within one resource; 0 for what is not there."""
    text = str((found or {}).get("metadata", {}).get("resourceVersion", ""))
    return int(text) if re.fullmatch(r"[0-9]{1,30}", text) else 0


class Written:
    """The newest documents that this process has written, for as long as the cache may show older ones.

    name: any that tells one document from another.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Document] = {}

    def put(self, name: tuple[str, ...], found: Document) -> None:
        self._known[name] = found

    def newest(self, name: tuple[str, ...], cached: Document | None) -> Document | None:
        """The cache's document or the one written here, whichever is newer."""
        return self._known[name] if self.is_behind(name, cached) else cached

    def is_behind(self, name: tuple[str, ...], cached: Document | None) -> bool:
        """Does the cache not yet have what was written? Once it has, that is forgotten."""
        known = self._known.get(name)
        if known is None:
            return False
        if version(cached) >= version(known):
            del self._known[name]
            return False
        return True

    def forget(self, *prefix: str) -> None:
        """Forget the documents whose names begin like this."""
        for name in [name for name in self._known if name[: len(prefix)] == prefix]:
            del self._known[name]
