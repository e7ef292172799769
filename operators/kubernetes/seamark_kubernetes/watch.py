"""The newest known objects of every deployment, kept by list and watch.

A watch can miss things: its connection dies silently, its version grows too old, the server restarts. So every break
ends in a list that replaces the whole kind, and every difference that it shows is told like an event.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from seamark.errors import SeamarkError
from seamark_kubernetes.api import (
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    JOB,
    MODEL_DEPLOYMENT,
    MODEL_REVISION,
    POD,
    STATE,
    Api,
    Document,
    Kind,
)
from seamark_kubernetes.names import MANAGED_BY
from seamark_kubernetes.shelf import Key, Shelf, is_in, slot, version

__all__ = ["KINDS", "Cluster", "Key"]

log = logging.getLogger("seamark.operator")

#: What is watched, of what the operator makes.
KINDS = (INFERENCE_SERVICE, HTTP_ROUTE, JOB, POD, MODEL_REVISION, STATE)
LABELS = {MANAGED_BY: "seamark"}
#: Seconds between two looks at all ModelDeployments; kopf tells changes at once, this heals what it missed.
HEAL = 300.0
#: Seconds between two such looks at the least.
REST = 2.0
#: Seconds before a broken list or watch is tried again, doubling up to the longest.
PAUSE, LONGEST = 1.0, 20.0
#: Seconds after which a watch has proven itself and the pauses begin anew.
PROVEN = 60.0


class Cluster:
    """The documents are shared: do not change them. managedFields are left out: they are half of an object's size.

    watch: namespaces; empty means all. on_change: told the deployment of everything that was added, changed or deleted,
    in this event loop.
    """

    def __init__(self, api: Api, watch: tuple[str, ...], on_change: Callable[[Key], None]) -> None:
        self._api = api
        self._scopes: tuple[str | None, ...] = watch or (None,)
        self._on_change = on_change
        self._shelves = {kind: Shelf() for kind in KINDS}
        self._missing = {(kind, scope) for kind in (*KINDS, MODEL_DEPLOYMENT) for scope in self._scopes}
        self._synced = asyncio.Event()
        #: By namespace: ModelDeployments that were told of since the newest list was asked for.
        self._told: dict[str | None, set[Key]] = {}
        self._doubted = {scope: asyncio.Event() for scope in self._scopes}
        self.deployments: dict[Key, Document] = {}

    @property
    def synced(self) -> bool:
        """Everything has been listed once: what is not here does not exist."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    @property
    def missing(self) -> tuple[str, ...]:
        """Kinds that could not be listed yet."""
        return tuple(sorted({kind.plural for kind, _ in self._missing}))

    def objects(self, kind: Kind, key: Key) -> list[Document]:
        """Its objects of a kind, by name."""
        return self._shelves[kind].objects(key)

    def find(self, kind: Kind, key: Key, name: str) -> Document | None:
        return self._shelves[kind].find(key, name)

    def put_deployment(self, document: Document) -> None:
        """A ModelDeployment as it is now."""
        key = slot(document)
        self._note(key)
        known = self.deployments.get(key)
        if known is None or version(known) != version(document):
            self.deployments[key] = _slim(document)
            self._on_change(key)

    def drop_deployment(self, key: Key) -> None:
        """A ModelDeployment that is gone."""
        self._note(key)
        if self.deployments.pop(key, None) is not None:
            self._on_change(key)

    def doubt(self, key: Key) -> None:
        """Find out soon whether this ModelDeployment is still there: something says that it is not."""
        for scope, doubted in self._doubted.items():
            if is_in(key, scope):
                doubted.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._heal(scope), name=f"heal {scope}")
                for kind in KINDS:
                    group.create_task(self._follow(kind, scope), name=f"watch {kind.plural} {scope}")

    # --- ModelDeployments

    async def _heal(self, scope: str | None) -> None:
        pause = _Pause()
        while True:
            if await self._tried(MODEL_DEPLOYMENT, scope, self._relist_deployments(scope)):
                pause = _Pause()
                await asyncio.sleep(REST)
                await self._wait_for_doubt(scope)
            else:
                await asyncio.sleep(pause.after(0.0))

    async def _wait_for_doubt(self, scope: str | None) -> None:
        """At most until the next regular look."""
        try:
            async with asyncio.timeout(HEAL * random.uniform(0.9, 1.0)):  # noqa: S311 - spreads load, hides nothing
                await self._doubted[scope].wait()
        except TimeoutError:
            return

    async def _relist_deployments(self, scope: str | None) -> None:
        told = self._told[scope] = set()
        self._doubted[scope].clear()
        found, _ = await self._api.list(MODEL_DEPLOYMENT, scope, {})
        present = {slot(document): document for document in found}
        # What kopf told meanwhile is newer than the list, or will be told again.
        for key, document in present.items():
            if key not in told:
                self.put_deployment(document)
        for key in [key for key in self.deployments if is_in(key, scope) and key not in present and key not in told]:
            log.info("event=missed_deletion namespace=%s deployment=%s", *key)
            self.drop_deployment(key)
        self._listed(MODEL_DEPLOYMENT, scope)

    def _note(self, key: Key) -> None:
        for scope, told in self._told.items():
            if is_in(key, scope):
                told.add(key)

    # --- what belongs to them

    async def _follow(self, kind: Kind, scope: str | None) -> None:
        pause, loop = _Pause(), asyncio.get_running_loop()
        while True:
            started = loop.time()
            await self._tried(kind, scope, self._list_and_watch(kind, scope))
            await asyncio.sleep(pause.after(loop.time() - started))

    async def _list_and_watch(self, kind: Kind, scope: str | None) -> None:
        """Ends by an error only: then all must be listed again."""
        is_again = (kind, scope) not in self._missing
        found, newest = await self._api.list(kind, scope, LABELS)
        changed = self._shelves[kind].replace((_slim(document) for document in found), scope)
        # Turns that failed with the watch wait for long; now they may work again.
        self._tell(changed | {key for key in self.deployments if is_again and is_in(key, scope)})
        self._listed(kind, scope)
        pause, loop = _Pause(), asyncio.get_running_loop()
        while True:
            started = loop.time()
            async for event, document in self._api.watch(kind, scope, LABELS, newest):
                newest = version(document) or newest
                self._take(kind, event, document)
            lived = loop.time() - started
            log.debug("event=watch_ended kind=%s namespace=%s seconds=%.0f", kind.plural, scope or "*", lived)
            await asyncio.sleep(pause.after(lived))

    def _take(self, kind: Kind, event: str, document: Document) -> None:
        shelf = self._shelves[kind]
        if event in ("ADDED", "MODIFIED"):
            self._tell(shelf.put(_slim(document)))
        elif event == "DELETED":
            keys = shelf.remove(slot(document))
            self._tell(keys)
            # The memory goes with its ModelDeployment, and rarely without.
            for key in keys if kind == STATE else ():
                if key in self.deployments:
                    self.doubt(key)

    def _tell(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._on_change(key)

    def _listed(self, kind: Kind, scope: str | None) -> None:
        self._missing.discard((kind, scope))
        if not self._missing:
            self._synced.set()

    async def _tried(self, kind: Kind, scope: str | None, work: Awaitable[None]) -> bool:
        """Whether it worked; whatever went wrong, watching goes on."""
        try:
            await work
        except SeamarkError as error:
            log.warning("event=watch_failed kind=%s namespace=%s error=%r", kind.plural, scope or "*", str(error))
            return False
        except Exception:
            log.exception("event=watch_failed kind=%s namespace=%s", kind.plural, scope or "*")
            return False
        return True


class _Pause:
    """How long to wait after a break: longer with every quick one in a row."""

    def __init__(self) -> None:
        self._breaks = 0

    def after(self, lived: float) -> float:
        """Seconds, now that something broke that had worked for `lived` seconds."""
        self._breaks = 1 if lived >= PROVEN else self._breaks + 1
        # Bounded before raising to a power: the count may grow for weeks.
        longest = min(LONGEST, PAUSE * 2.0 ** min(self._breaks - 1, 20))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


def _slim(document: Document) -> Document:
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return document | {"metadata": metadata}
