"""A Kubernetes API in memory, for tests: the rules that the operator relies on, and faults on demand.

What it leaves out: schemas and defaults, lists merged by key in server-side apply (a list is replaced whole), and
conflicts between field managers (the operator forces them).
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from seamark.errors import Conflict, InvalidSpec, NotFound, Unavailable
from seamark_kubernetes.api import CONFIG_MAP, EVENT, Document, Kind
from seamark_kubernetes.calls import Verb

__all__ = ["FakeApi"]

T = TypeVar("T")

#: Kinds without a status subresource.
PLAIN = (CONFIG_MAP, EVENT)
#: What the API server alone sets.
SERVER_SET = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")

_Id = tuple[Kind, str, str]


@dataclass(frozen=True, slots=True)
class _Event:
    """before, after: the object; None while it does not exist."""

    version: int
    kind: Kind
    before: Document | None
    after: Document | None


@dataclass(frozen=True, slots=True)
class _Fault:
    verb: Verb
    kind: Kind | None
    error: Exception
    late: bool


class FakeApi:
    """`seamark_kubernetes.api.Api`. calls: made so far, by verb, failed ones too.

    Documents go in and come out as copies. Use it in one event loop.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._version = 100
        self._uids = count(1)
        self._objects: dict[_Id, Document] = {}
        #: What was last applied to an object, and to its status.
        self._applied: dict[tuple[_Id, bool], Document] = {}
        self._faults: list[_Fault] = []
        self._events: list[_Event] = []
        self._forgotten = 0
        self._epoch = 0
        self._news = asyncio.Event()

    # --- what tests do to it

    def fail_next(
        self, verb: Verb, error: Exception, *, times: int = 1, kind: Kind | None = None, late: bool = False
    ) -> None:
        """Let the next calls fail. late: they are carried out and only the answer is lost."""
        self._faults += [_Fault(verb, kind, error, late)] * times

    def fail_never(self) -> None:
        """Forget the faults that are still to come."""
        self._faults.clear()

    def edit(self, kind: Kind, namespace: str, name: str, change: Callable[[Document], object]) -> Document:
        """Change an object in place, status too, as a person or another controller would."""
        known = self._known((kind, namespace, name))
        document = copy.deepcopy(known)
        change(document)
        return self._store((kind, namespace, name), document)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete, as a person would: what it owns goes, too."""
        self._delete((kind, namespace, name))

    def all(self, kind: Kind) -> list[Document]:
        """Every object of a kind, by namespace and name."""
        found = [(where[1:], document) for where, document in self._objects.items() if where[0] == kind]
        return [copy.deepcopy(document) for _, document in sorted(found, key=lambda pair: pair[0])]

    def end_watches(self) -> None:
        """End all open watches, as the server does now and then."""
        self._epoch += 1
        self._wake()

    def forget_events(self) -> None:
        """From now on all versions so far are too old to watch from."""
        self._events.clear()
        self._version += 1
        self._forgotten = self._version

    # --- Api

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        return await self._call("get", kind, lambda: copy.deepcopy(self._known((kind, namespace, name))))

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> tuple[list[Document], str]:
        def found() -> tuple[list[Document], str]:
            matching = [document for document in self.all(kind) if _matches(document, kind, namespace, labels)]
            return matching, str(self._version)

        return await self._call("list", kind, found)

    async def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str], resource_version: str
    ) -> AsyncIterator[tuple[str, Document]]:
        epoch, since = self._epoch, int(resource_version)
        await self._call("watch", kind, lambda: self._check_age(kind, since))
        while epoch == self._epoch:
            news = self._news
            for event in [event for event in self._events if event.version > since]:
                since = event.version
                told = _told(event, kind, namespace, labels)
                if told is not None:
                    yield told
            if news is self._news:
                await news.wait()

    async def create(self, kind: Kind, namespace: str, document: Document) -> Document:
        def create() -> Document:
            where = (kind, namespace, document["metadata"]["name"])
            if where in self._objects:
                raise Conflict(f"Cannot create {_words(where)}: it exists already")
            return self._store(where, _without_status(kind, document))

        return await self._call("create", kind, create)

    async def replace(self, kind: Kind, namespace: str, document: Document) -> Document:
        def replace() -> Document:
            where = (kind, namespace, document["metadata"]["name"])
            known = self._known(where)
            if not document["metadata"].get("resourceVersion"):
                raise InvalidSpec("metadata.resourceVersion", f"Cannot replace {_words(where)}: must be specified")
            self._check_version(where, known, document)
            status = {} if kind in PLAIN or "status" not in known else {"status": known["status"]}
            return self._store(where, _without_status(kind, document) | copy.deepcopy(status))

        return await self._call("replace", kind, replace)

    async def apply(self, kind: Kind, namespace: str, document: Document, *, status: bool = False) -> Document:
        where = (kind, namespace, document["metadata"]["name"])
        return await self._call("apply", kind, lambda: self._apply(where, document, status))

    async def patch(self, kind: Kind, namespace: str, name: str, document: Document) -> Document:
        def patch() -> Document:
            where = (kind, namespace, name)
            known = self._known(where)
            self._check_version(where, known, document)
            return self._store(where, _patched(known, _without_status(kind, document)))

        return await self._call("patch", kind, patch)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        await self._call("delete", kind, lambda: self._delete((kind, namespace, name)))

    # --- how

    async def _call(self, verb: Verb, kind: Kind, action: Callable[[], T]) -> T:
        self.calls[verb] += 1
        # A real answer takes a while; others go on meanwhile.
        await asyncio.sleep(0)
        fault = next((fault for fault in self._faults if fault.verb == verb and fault.kind in (None, kind)), None)
        if fault is not None:
            self._faults.remove(fault)
            if not fault.late:
                raise fault.error
        result = action()
        if fault is not None:
            raise fault.error
        return result

    def _known(self, where: _Id) -> Document:
        try:
            return self._objects[where]
        except KeyError:
            raise NotFound(f"Cannot find {_words(where)}: it does not exist") from None

    def _check_version(self, where: _Id, known: Document, document: Document) -> None:
        wanted = (document.get("metadata") or {}).get("resourceVersion")
        if wanted and wanted != known["metadata"]["resourceVersion"]:
            raise Conflict(f"Cannot change {_words(where)}: version {wanted} is not the newest")

    def _check_age(self, kind: Kind, since: int) -> None:
        if since < self._forgotten:
            raise Unavailable(f"Cannot watch {kind.plural}: too old resource version: {since} (HTTP 410)")

    def _apply(self, where: _Id, document: Document, status: bool) -> Document:
        known = self._objects.get(where)
        if known is None and status:
            raise NotFound(f"Cannot apply status of {_words(where)}: it does not exist")
        if known is None and document["metadata"].get("resourceVersion"):
            raise Conflict(f"Cannot apply {_words(where)}: it does not exist")
        if known is not None:
            self._check_version(where, known, document)
        wanted = {"status": document.get("status", {})} if status else _without_status(where[0], document)
        wanted = copy.deepcopy(_authored(wanted))
        before = self._applied.get((where, status), {})
        result = _merged(_pruned(copy.deepcopy(known or {}), before, wanted), wanted)
        stored = self._store(where, result)
        self._applied[where, status] = wanted
        return stored

    def _store(self, where: _Id, document: Document) -> Document:
        """Keep what is new of it, number it and tell watches."""
        kind, namespace, name = where
        known = self._objects.get(where)
        own = {key: value for key, value in document.get("metadata", {}).items() if key not in SERVER_SET}
        metadata = own | {"namespace": namespace, "name": name}
        after = {**copy.deepcopy(document), "apiVersion": kind.api_version, "kind": kind.kind}
        after["metadata"] = copy.deepcopy(metadata) | self._server_set(known, after)
        if after == known:
            return copy.deepcopy(after)
        self._version += 1
        after["metadata"]["resourceVersion"] = str(self._version)
        self._objects[where] = after
        self._tell(_Event(self._version, kind, known, after))
        return copy.deepcopy(after)

    def _server_set(self, known: Document | None, after: Document) -> Document:
        if known is None:
            return {"uid": f"uid-{next(self._uids)}", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        kept = {key: known["metadata"][key] for key in SERVER_SET if key in known["metadata"]}
        return kept | {"generation": kept["generation"] + (_content(known) != _content(after))}

    def _delete(self, where: _Id) -> None:
        known = self._objects.pop(where, None)
        if known is None:
            return
        for status in (False, True):
            self._applied.pop((where, status), None)
        self._version += 1
        gone = copy.deepcopy(known)
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._tell(_Event(self._version, where[0], gone, None))
        for other, document in list(self._objects.items()):
            owners = {owner["uid"] for owner in document["metadata"].get("ownerReferences") or ()}
            if known["metadata"]["uid"] in owners and other[1] == where[1]:
                self._delete(other)

    def _tell(self, event: _Event) -> None:
        self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _words(where: _Id) -> str:
    kind, namespace, name = where
    return f"{kind.kind} {namespace}/{name}"


def _matches(document: Document | None, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> bool:
    if document is None or document["kind"] != kind.kind:
        return False
    metadata = document["metadata"]
    here = namespace is None or metadata["namespace"] == namespace
    return here and labels.items() <= (metadata.get("labels") or {}).items()


def _told(event: _Event, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> tuple[str, Document] | None:
    """What a watch with this selection sees: an object that stops matching is deleted to it."""
    if event.kind != kind:
        return None
    before = _matches(event.before, kind, namespace, labels)
    after = _matches(event.after, kind, namespace, labels)
    if after:
        return "MODIFIED" if before else "ADDED", copy.deepcopy(event.after or {})
    if before:
        return "DELETED", copy.deepcopy(event.after or event.before or {})
    return None


def _without_status(kind: Kind, document: Document) -> Document:
    return document if kind in PLAIN else {key: value for key, value in document.items() if key != "status"}


def _content(document: Document) -> Document:
    """What counts for the generation."""
    return {key: value for key, value in document.items() if key not in ("metadata", "status")}


def _authored(document: Document) -> Document:
    """Without what the API server alone sets."""
    metadata = {key: value for key, value in (document.get("metadata") or {}).items() if key not in SERVER_SET}
    return document | ({"metadata": metadata} if "metadata" in document else {})


def _merged(document: Any, wanted: Any) -> Any:
    if not (isinstance(document, dict) and isinstance(wanted, dict)):
        return copy.deepcopy(wanted)
    return document | {key: _merged(document.get(key), value) for key, value in wanted.items()}


def _pruned(document: Any, before: Any, wanted: Any) -> Any:
    """Without the fields that were applied before and are not wanted any more."""
    if not (isinstance(document, dict) and isinstance(before, dict) and isinstance(wanted, dict)):
        return document
    kept = {key: value for key, value in document.items() if key in wanted or key not in before}
    return {key: _pruned(value, before.get(key), wanted.get(key)) for key, value in kept.items()}


def _patched(document: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _patched(result.get(key), value)
    return result
