"""Hints from alerts, kept in a ConfigMap until a turn has looked: a killed operator looks after its start.

A hint only says "look now at this deployment". What counts is what Alertmanager's API says at that look.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from seamark.errors import Conflict, NotFound, SeamarkError, Unavailable
from seamark_kubernetes.api import CONFIG_MAP, Api, Document
from seamark_kubernetes.names import MANAGED_BY

__all__ = ["NAME", "Inbox", "Key"]

log = logging.getLogger("seamark.operator")

#: (namespace, deployment).
Key = tuple[str, str]

NAME = "seamark-inbox"
#: Deployments with a hint; with names and fingerprints as long as they can be they fit into a ConfigMap's one MiB.
MAX_ENTRIES = 1000
MAX_FINGERPRINTS = 10
_FINGERPRINT = re.compile(r"[0-9a-f]{1,32}")
#: Seconds that notifications are gathered before they are written together, so that a storm costs few writes.
GATHER = 0.05
#: Seconds that a notification waits to be stored: its sender is to have an answer within a second.
PATIENCE = 0.8
#: Seconds after which a hint is dropped: each is looked at every minute anyway. A deleted deployment's hints end so.
LIFETIME = 3600.0

_DATA_KEY = re.compile(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.([a-z0-9]([-a-z0-9]*[a-z0-9])?)")


class _Entry(msgspec.Struct, frozen=True):
    """What the ConfigMap holds of a deployment. received: Unix seconds of the first hint."""

    received: float
    fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hint:
    """newest: when the last notification came, on the clock that never goes back; it outlives no process."""

    entry: _Entry
    newest: float = -math.inf


@dataclass(slots=True)
class _Batch:
    """Hints written together. done: None when they are stored, else why not."""

    hints: dict[Key, _Hint] = field(default_factory=dict)
    done: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Inbox:
    """Hints by deployment. Use it in one event loop; call `load` before anything else, `close` at the end.

    namespace: the operator's own. clock: seconds that never go back; now: Unix seconds.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._clock = clock
        self._now = now
        self._stored: dict[Key, _Hint] = {}
        self._removed: set[Key] = set()
        self._open: _Batch | None = None
        self._writing: _Batch | None = None
        self._writer: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """The hints from before the last end. Raises `Unavailable` while the API server does not answer."""
        try:
            document = await self._api.get(CONFIG_MAP, self._namespace, NAME)
        except NotFound:
            document = {}
        for name, text in (document.get("data") or {}).items():
            key, entry = _key(name), _entry(text)
            if key is None or entry is None:
                log.warning("event=inbox_entry_dropped entry=%.100r", name)
                continue
            self._stored[key] = _Hint(entry)
        self._drop_old()

    async def close(self) -> None:
        """Waits for what is being written. What cannot be written now is as after a kill: one more look."""
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)

    def pending(self) -> set[Key]:
        """Deployments with a stored hint that no turn has looked at yet."""
        return set(self._stored)

    async def put(self, hints: Iterable[tuple[Key, str]]) -> tuple[int, int]:
        """Store hints, (deployment, fingerprint) each; returns how many were new and how many known before.

        Returns when they are durable. Raises `Unavailable` when that cannot be now; some may be stored nevertheless.
        """
        hints = list(hints)
        self._drop_old()
        self._check_room({key for key, _ in hints})
        new = sum([self._add(key, fingerprint) for key, fingerprint in hints])
        await self._stored_soon({key for key, _ in hints})
        return new, len(hints) - new

    def done(self, key: Key, looked: float | None = None) -> bool:
        """A turn has looked at Alertmanager's answer asked for at `looked` (on `clock`; None: after all hints).

        Forgets the hints that came before; false if one came since, so that another look is due.
        """
        hint = self._stored.get(key)
        if hint is None:
            return True
        if looked is not None and hint.newest >= looked:
            return False
        self._remove(key)
        self._write_soon()
        return True

    # --- adding

    def _check_room(self, keys: set[Key]) -> None:
        known: set[Key] = set().union(self._stored, *(batch.hints for batch in self._batches()))
        if len(known | keys) > max(MAX_ENTRIES, len(known)):
            raise Unavailable(f"Cannot store alerts: {len(known)} deployments wait; at most {MAX_ENTRIES} may")

    def _add(self, key: Key, fingerprint: str) -> bool:
        """Is it new? A deployment with as many fingerprints as are kept is to be looked at anyway."""
        for hints in (self._stored, *(batch.hints for batch in self._batches())):
            if key in hints and _is_known(hints[key].entry, fingerprint):
                hints[key] = replace(hints[key], newest=self._clock())
                return False
        batch = self._accepting()
        old = batch.hints.get(key) or self._in_writing(key) or self._stored.get(key)
        entry = old.entry if old else _Entry(self._now())
        batch.hints[key] = _Hint(_with(entry, fingerprint), self._clock())
        return True

    def _in_writing(self, key: Key) -> _Hint | None:
        return self._writing.hints.get(key) if self._writing else None

    def _batches(self) -> list[_Batch]:
        return [batch for batch in (self._writing, self._open) if batch is not None]

    def _accepting(self) -> _Batch:
        if self._open is None:
            self._open = _Batch()
        self._write_soon()
        return self._open

    async def _stored_soon(self, keys: set[Key]) -> None:
        waited = {batch.done for batch in self._batches() if keys & batch.hints.keys()}
        if not waited:
            return
        finished, late = await asyncio.wait(waited, timeout=PATIENCE)
        problems = [future.result() for future in finished if future.result()]
        if late:
            problems.append(f"the API server did not answer within {PATIENCE:g} s")
        if problems:
            raise Unavailable(f"Cannot store alerts: {problems[0]}")

    # --- writing

    def _remove(self, key: Key) -> None:
        del self._stored[key]
        self._removed.add(key)

    def _drop_old(self) -> None:
        limit = self._now() - LIFETIME
        for key in [key for key, hint in self._stored.items() if hint.entry.received < limit]:
            self._remove(key)

    def _write_soon(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        """Until nothing waits. What is removed and cannot be written is tried again with the next hint."""
        problem = ""
        while self._open is not None or (self._removed and not problem):
            await asyncio.sleep(GATHER)
            batch, self._open = self._open or _Batch(), None
            self._writing = batch
            problem = await self._write(batch)
            self._writing = None
            batch.done.set_result(problem)

    async def _write(self, batch: _Batch) -> str:
        """Why it could not be written, or ""."""
        removed = self._removed - batch.hints.keys()
        data: dict[str, str | None] = {_name(key): None for key in removed}
        data |= {_name(key): msgspec.json.encode(hint.entry).decode() for key, hint in batch.hints.items()}
        try:
            await self._save(data)
        except Exception as error:  # whatever it is, those who wait must be told, and the next batch written
            known = isinstance(error, SeamarkError)
            log.warning("event=inbox_not_written problem=%r", str(error), exc_info=not known)
            return str(error) if known else "internal error"
        self._removed -= removed | batch.hints.keys()
        self._stored |= batch.hints
        return ""

    async def _save(self, data: Mapping[str, str | None]) -> None:
        try:
            await self._api.patch(CONFIG_MAP, self._namespace, NAME, {"data": data})
        except NotFound:
            await self._create(data)

    async def _create(self, data: Mapping[str, str | None]) -> None:
        """All that is known, not only what is new: somebody may have deleted the ConfigMap."""
        known = {_name(key): msgspec.json.encode(hint.entry).decode() for key, hint in self._stored.items()}
        whole = {name: text for name, text in {**known, **data}.items() if text is not None}
        document: Document = {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.kind,
            "metadata": {"name": NAME, "namespace": self._namespace, "labels": {MANAGED_BY: "seamark"}},
            "data": whole,
        }
        try:
            await self._api.create(CONFIG_MAP, self._namespace, document)
        except Conflict:
            await self._api.patch(CONFIG_MAP, self._namespace, NAME, {"data": data})


def _is_known(entry: _Entry, fingerprint: str) -> bool:
    return _with(entry, fingerprint) == entry


def _with(entry: _Entry, fingerprint: str) -> _Entry:
    """The same entry where there is nothing to add: known, no room, or nothing that Alertmanager would send."""
    known = entry.fingerprints
    if fingerprint in known or len(known) >= MAX_FINGERPRINTS or not _FINGERPRINT.fullmatch(fingerprint):
        return entry
    return msgspec.structs.replace(entry, fingerprints=(*known, fingerprint))


def _name(key: Key) -> str:
    """The entry's name in the ConfigMap; neither part has a dot."""
    return ".".join(key)


def _key(name: str) -> Key | None:
    match = _DATA_KEY.fullmatch(name)
    return (match[1], match[3]) if match else None


def _entry(text: object) -> _Entry | None:
    try:
        return msgspec.json.decode(text if isinstance(text, str) else b"", type=_Entry)
    except (msgspec.MsgspecError, RecursionError):
        return None
