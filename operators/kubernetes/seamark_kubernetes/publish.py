"""Writes what people see: statuses by server-side apply, and only when they say something new.

Changes of mere numbers, such as a drift score's third digit, are written seldom.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from seamark.errors import InvalidSpec
from seamark_kubernetes import fault, report
from seamark_kubernetes.api import MODEL_DEPLOYMENT, MODEL_REVISION, Api, Document, Kind, Owner
from seamark_kubernetes.memory import Written
from seamark_kubernetes.report import WantedRevision

__all__ = ["NUMBERS_EVERY", "Publisher"]

log = logging.getLogger("seamark.operator")

#: Seconds between two writes of an object that differ in numbers only.
NUMBERS_EVERY = 30.0


class Publisher:
    """Writes the statuses of one ModelDeployment and of its revisions. `written` learns what was written."""

    def __init__(self, api: Api, written: Written) -> None:
        self._api = api
        self._written = written
        self._applied: dict[str, tuple[Document, Document]] = {}
        self._times: dict[str, float] = {}

    async def status(self, document: Document, status: Document, now: float) -> float:
        """Write the deployment's status if it is new; returns the seconds until what was held back may be written."""
        name, old = document["metadata"]["name"], document.get("status") or {}
        held = self._held_back("", old, status, now)
        if held is not None:
            return held
        # Of the object that was looked at, not of a later one of the same name.
        metadata = {key: document["metadata"][key] for key in ("name", "namespace", "uid")}
        found = await self._apply(MODEL_DEPLOYMENT, metadata, status)
        self._note("", status, found, now)
        self._written.put((metadata["namespace"], name, MODEL_DEPLOYMENT.kind), found)
        return math.inf

    async def revisions(
        self, owner: Owner, wanted: Iterable[WantedRevision], known: Mapping[str, Document], now: float
    ) -> float:
        """As `status`, for ModelRevisions; makes those that are missing."""
        waits = [await self._revision(owner, one, known.get(one.name), now) for one in wanted]
        return min(waits, default=math.inf)

    async def _revision(self, owner: Owner, wanted: WantedRevision, known: Document | None, now: float) -> float:
        if wanted.document is not None:
            known = await self._make(owner, wanted.document)
            if known is None:
                return math.inf
        assert known is not None  # what is not there is made
        held = self._held_back(wanted.name, known.get("status") or {}, wanted.status, now)
        if held is not None:
            return held
        # The history is made from what was read: it must not be written over a newer one.
        metadata = {
            "name": wanted.name,
            "namespace": owner.namespace,
            "resourceVersion": known["metadata"]["resourceVersion"],
        }
        found = await self._apply(MODEL_REVISION, metadata, wanted.status)
        self._note(wanted.name, wanted.status, found, now)
        self._written.put((owner.namespace, owner.name, MODEL_REVISION.kind, wanted.name), found)
        return math.inf

    async def _make(self, owner: Owner, document: Document) -> Document | None:
        try:
            return await self._api.apply(MODEL_REVISION, owner.namespace, document)
        except InvalidSpec as error:
            # One of this name that says something else is there already, and the cache does not have it yet.
            log.warning("event=not_reported revision=%s cause=%r", document["metadata"]["name"], str(error))
            return None

    async def _apply(self, kind: Kind, metadata: Document, status: Document) -> Document:
        document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status}
        fault.point("report:before")
        found = await self._api.apply(kind, metadata["namespace"], document, status=True)
        fault.point("report:after")
        return found

    def _note(self, name: str, status: Document, found: Document, now: float) -> None:
        self._applied[name] = (status, found.get("status") or {})
        self._times[name] = now

    def _held_back(self, name: str, old: Document, new: Document, now: float) -> float | None:
        """Seconds for which the new status need not be written; None if it must be written now."""
        # What others have put into the status stays there; it is no reason to write again and again.
        if _plain(old) == _plain(new) or self._applied.get(name) == (new, old):
            return math.inf
        since = now - self._times.get(name, -math.inf)
        if 0 <= since < NUMBERS_EVERY and report.differs_in_numbers_only(_plain(old), _plain(new)):
            return NUMBERS_EVERY - since
        return None


def _plain(status: Mapping[str, Any]) -> dict[str, Any]:
    """With the conditions in order: the API server keeps its own."""
    conditions = sorted(status.get("conditions") or [], key=lambda condition: str(condition["type"]))
    return dict(status) | ({"conditions": conditions} if conditions else {})
