"""A deployment's turn: gather, decide, commit, apply, tell, report.

Killed at any point and started again, it sees the same and goes on: what was committed and is not seen is asked for
again, what was not committed was not applied. A second operator gets a conflict at the commit and applies nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace

import msgspec

from seamark import spec as manifests
from seamark.actions import Action, Decision, Notify
from seamark.decide import decide as core_decide
from seamark.errors import Conflict, InvalidSpec, NotFound, SeamarkError, Unavailable
from seamark.seen import Seen
from seamark.spec import ModelDeployment
from seamark.state import State
from seamark_kubernetes import commands, fault, memory, names, outbox, report, routes
from seamark_kubernetes.api import MODEL_DEPLOYMENT, MODEL_REVISION, STATE, Api, Document, Owner
from seamark_kubernetes.conditions import SLOW_ROUTE, Trouble
from seamark_kubernetes.effects import Applier, Effects
from seamark_kubernetes.gather import Cache, Gathered, Gatherer, Key
from seamark_kubernetes.memory import Memory, Written
from seamark_kubernetes.publish import Publisher
from seamark_kubernetes.settings import Settings
from seamark_kubernetes.telemetry import Telemetry, TurnResult

__all__ = ["IDLE", "MOVING", "SOON", "Decide", "Turns"]

log = logging.getLogger("seamark.operator")

Decide = Callable[[ModelDeployment, State, Seen], Decision]

#: Seconds until the next look: after a conflict or on an old cache, while something moves, and at most.
SOON, MOVING, IDLE = 0.5, 1.0, 60.0
#: Seconds that the cache may lag behind this process's own writes before the API server is asked.
LAG = 10.0


@dataclass(slots=True)
class _Known:
    """What this process knows of a deployment beside what is committed; nothing here is needed after a restart.

    uid: the ModelDeployment's. told: numbers of outbox entries that were told. is_command_gone: the handled command's
    annotation was removed. unconfirmed, behind: since when (Unix seconds) the route is not confirmed, the cache lags.
    """

    uid: str
    effects: Effects
    publisher: Publisher
    told: set[int] = field(default_factory=set)
    is_command_gone: bool = False
    unconfirmed: float | None = None
    behind: float | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """One turn's facts, up to the decision. before: the memory as it was read."""

    key: Key
    owner: Owner
    document: Document
    spec: ModelDeployment
    before: Memory
    gathered: Gathered
    decision: Decision
    known: _Known

    @property
    def now(self) -> float:
        return self.gathered.seen.now


class Turns:
    """Takes the turns of all deployments, each deployment's one after the other.

    `decide` and `clock` (Unix seconds) are what tests replace.
    """

    def __init__(
        self,
        settings: Settings,
        api: Api,
        cluster: Cache,
        applier: Applier,
        gatherer: Gatherer,
        decide: Decide = core_decide,
        clock: Callable[[], float] = time.time,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._settings = settings
        self._api = api
        self._cluster = cluster
        self._applier = applier
        self._gatherer = gatherer
        self._decide = decide
        self._clock = clock
        self._telemetry = telemetry or Telemetry()
        self._written = Written()
        self._known: dict[Key, _Known] = {}

    async def turn(self, key: Key) -> float | None:
        """Seconds until the next look; None where there is nothing to look at.

        Raises `Unavailable`, and `NotFound` when the deployment is no longer there.
        """
        cached = self._cluster.deployments.get(key)
        if cached is None or cached["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        started = time.monotonic()
        result: TurnResult = "failed"
        try:
            wait, result = await self._attend(key, cached)
        except Conflict as error:
            # Another operator was first, a person changed something, or the cache is old.
            log.debug("event=turn_conflict deployment=%s/%s cause=%r", *key, str(error))
            wait, result = SOON, "conflict"
        except NotFound:
            result = "conflict"
            raise
        except Unavailable:
            result = "unavailable"
            raise
        finally:
            self._telemetry.turn(result, time.monotonic() - started)
        return wait

    def _forget(self, key: Key) -> None:
        if self._known.pop(key, None) is not None:
            self._telemetry.forget(*key)
            self._gatherer.forget(Owner(*key, uid=""))
        self._written.forget(*key)

    async def _attend(self, key: Key, cached: Document) -> tuple[float, TurnResult]:
        """Find out whether the deployment can be decided about."""
        if not self._cluster.synced:
            return SOON, "done"
        document = self._written.newest((*key, MODEL_DEPLOYMENT.kind), cached) or cached
        owner = Owner(*key, document["metadata"]["uid"])
        known, now = self._knowledge(owner), self._clock()
        if (document["metadata"].get("annotations") or {}).get(names.RECONCILE) == "disabled":
            await known.publisher.status(document, report.disabled(document, now), now)
            return IDLE, "done"
        try:
            spec = manifests.parse(document)
        except InvalidSpec as error:
            await known.publisher.status(document, report.invalid(document, "InvalidSpec", str(error), now), now)
            return IDLE, "blocked"
        if foreign := self._gatherer.foreign(owner):
            await known.publisher.status(document, report.waiting(document, foreign, now), now)
            return MOVING, "blocked"
        return await self._decide_about(key, owner, document, spec, known, now)

    def _knowledge(self, owner: Owner) -> _Known:
        key = (owner.namespace, owner.name)
        if key in self._known and self._known[key].uid != owner.uid:
            self._forget(key)
        if key not in self._known:
            self._known[key] = _Known(owner.uid, Effects(self._applier), Publisher(self._api, self._written))
        return self._known[key]

    async def _decide_about(
        self, key: Key, owner: Owner, document: Document, spec: ModelDeployment, known: _Known, now: float
    ) -> tuple[float, TurnResult]:
        found = self._cluster.find(STATE, key, owner.name)
        if self._written.is_behind((*key, STATE.kind), found):
            await self._catch_up(key, known, now)
            return SOON, "conflict"
        known.behind = None
        try:
            before = memory.load(found, owner)
        except InvalidSpec as error:
            await known.publisher.status(document, report.invalid(document, "MemoryUnreadable", str(error), now), now)
            return IDLE, "blocked"
        # Its annotation was seen gone: whatever is there now is another command.
        current = replace(before, handled="") if known.is_command_gone else before
        gathered = await self._gatherer.gather(owner, document, spec, current, now)
        decision = self._decide(spec, before.state, gathered.seen)
        look = _Look(key, owner, document, spec, before, gathered, decision, known)
        after = await self._commit(look)
        await self._apply(look)
        return await self._tell_and_report(look, after), "done"

    async def _catch_up(self, key: Key, known: _Known, now: float) -> None:
        """What the cache shows is older than what was committed: nothing may be decided from it.

        After a while, find out whether it will ever catch up: somebody may have deleted the memory.
        """
        if known.behind is None or now < known.behind:
            known.behind = now
        if now - known.behind < LAG:
            return
        known.behind = now
        log.warning("event=cache_behind deployment=%s/%s", *key)
        try:
            await self._api.get(STATE, key[0], key[1])
        except NotFound:
            self._written.forget(*key, STATE.kind)

    # --- commit

    async def _commit(self, look: _Look) -> Memory:
        """Write the new memory down, if there is anything new. Raises `Conflict`: then nothing must be applied."""
        after = self._remembered(look)
        # Actions without news in the memory are written, too: the write proves that this memory is the newest.
        if after == look.before and not look.decision.actions:
            return after
        fault.point("commit:before")
        try:
            found = await memory.commit(self._api, look.owner, after)
        except NotFound as error:
            raise Conflict(str(error)) from error  # somebody deleted the memory, not the deployment
        self._written.put((*look.key, STATE.kind), found)
        fault.point("commit:after")
        look.known.told &= {entry.sequence for entry in after.outbox}
        look.known.is_command_gone = False
        self._log(look)
        return after

    def _remembered(self, look: _Look) -> Memory:
        gathered, decision = look.gathered, look.decision
        waiting = tuple(entry for entry in look.before.outbox if not self._is_told(look, entry))
        after = replace(
            look.before,
            state=decision.state,
            outbox=waiting,
            handled=gathered.asked.handled,
            resolved=gathered.resolved,
        )
        after = outbox.add(after, decision.actions, look.now)
        return outbox.refuse(after, gathered.asked.refusal, look.now) if gathered.asked.refusal else after

    def _is_told(self, look: _Look, entry: memory.Entry) -> bool:
        if entry.kind != "record":
            return entry.sequence in look.known.told
        if look.decision.state.revision(entry.subject) is None:
            return True  # forgotten with its revision
        found = self._cluster.find(MODEL_REVISION, look.key, entry.subject)
        return found is not None and outbox.is_recorded(found, entry)

    def _log(self, look: _Look) -> None:
        """One line for each decision that asks for something, to be read by programs."""
        decision = look.decision
        if not decision.actions:
            return
        line = {
            "actions": [_described(action) for action in decision.actions],
            "verdict": decision.verdict.outcome if decision.verdict else None,
            "state": hashlib.sha256(msgspec.json.encode(decision.state)).hexdigest()[:12],
        }
        log.info("event=decision deployment=%s/%s decision=%s", *look.key, json.dumps(line))
        for action in decision.actions:
            if isinstance(action, Notify):
                self._telemetry.told(*look.key, action)

    # --- apply

    async def _apply(self, look: _Look) -> None:
        effects, state = look.known.effects, look.decision.state
        await effects.apply(look.owner, look.spec, state, look.decision.actions, look.now)
        if look.gathered.start is not None:
            await effects.resolve(look.owner, look.spec, look.gathered.start, look.now)

    # --- tell and report

    async def _tell_and_report(self, look: _Look, after: Memory) -> float:
        """Each of them is tried whatever becomes of the others; the first error is raised at the end."""
        errors: list[SeamarkError] = []

        async def attempt(work: Awaitable[float]) -> float:
            try:
                return await work
            except SeamarkError as error:
                errors.append(error)
                return math.inf

        await attempt(self._tell(look, after))
        await attempt(self._stop(look, after))
        document = look.document
        if look.gathered.asked.is_set:
            await attempt(self._remove_command(look))
            document = self._written.newest((*look.key, MODEL_DEPLOYMENT.kind), document) or document
        held = [await attempt(self._report_status(look, document)), await attempt(self._report_revisions(look, after))]
        if errors:
            raise errors[0]
        return min(self._wait(look, after), *held)

    async def _tell(self, look: _Look, after: Memory) -> float:
        known = look.known
        for entry in after.outbox:
            if entry.kind == "event" and entry.sequence not in known.told:
                await outbox.tell(self._api, look.owner, entry)
                known.told.add(entry.sequence)
        return math.inf

    async def _stop(self, look: _Look, after: Memory) -> float:
        known, state = look.known, look.decision.state
        for entry in after.outbox:
            is_due = entry.kind == "stop" and entry.sequence not in known.told
            if is_due and await known.effects.stop(look.owner, look.spec, state, entry.subject, look.now):
                known.told.add(entry.sequence)
        return math.inf

    async def _remove_command(self, look: _Look) -> float:
        fault.point("command:before")
        found = await commands.remove(self._api, look.document)
        fault.point("command:after")
        look.known.is_command_gone = True
        self._written.put((*look.key, MODEL_DEPLOYMENT.kind), found)
        return math.inf

    async def _report_status(self, look: _Look, document: Document) -> float:
        unconfirmed = _unconfirmed(look)
        status = report.status(
            document,
            look.spec,
            look.gathered.seen,
            look.decision,
            url=f"http://{routes.host(self._settings, look.owner)}",
            troubles=_troubles(look, unconfirmed),
            unconfirmed=unconfirmed,
        )
        return await look.known.publisher.status(document, status, look.now)

    async def _report_revisions(self, look: _Look, after: Memory) -> float:
        seen, known = look.gathered.seen, dict(self._revisions(look.key))
        wanted = report.revisions(look.owner, look.spec, seen, look.decision, after.outbox, known)
        held = await look.known.publisher.revisions(look.owner, wanted, known, look.now)
        for name in report.surplus(look.decision.state, known.values()):
            await self._api.delete(MODEL_REVISION, look.owner.namespace, name)
        return held

    def _revisions(self, key: Key) -> Iterator[tuple[str, Document]]:
        for cached in self._cluster.objects(MODEL_REVISION, key):
            name = cached["metadata"]["name"]
            yield name, self._written.newest((*key, MODEL_REVISION.kind, name), cached) or cached

    def _wait(self, look: _Look, after: Memory) -> float:
        if _is_moving(look, after):
            return min(look.decision.wake_after, MOVING)
        return min(look.decision.wake_after, max(1.0, min(look.spec.monitoring.interval / 2, IDLE)))


def _described(action: Action) -> str:
    """As `Serve churn-1a2b3c4d`."""
    subject = getattr(action, "revision", None) or getattr(action, "job", None) or ""
    return f"{type(action).__name__} {subject}".rstrip()


def _troubles(look: _Look, unconfirmed: float) -> list[Trouble]:
    """What stands in the way; a route that takes its usual time does not."""
    found = look.known.effects.troubles(look.now)
    if unconfirmed > SLOW_ROUTE and look.gathered.problem:
        found.append(Trouble("RouteUnconfirmed", look.gathered.problem, stalls=False))
    return found


def _unconfirmed(look: _Look) -> float:
    """Seconds since the gateway last confirmed the route that it was asked for."""
    known, now = look.known, look.now
    if look.decision.state.route is None or look.gathered.seen.route is not None:
        known.unconfirmed = None
        return 0.0
    if known.unconfirmed is None or now < known.unconfirmed:
        known.unconfirmed = now
    return now - known.unconfirmed


def _is_moving(look: _Look, after: Memory) -> bool:
    """Is anything on its way that should be noticed soon?"""
    state, seen = look.decision.state, look.gathered.seen
    return (
        state.rollout is not None
        or state.retraining.job is not None
        or seen.model is None
        or (state.route is not None and seen.route is None)
        or any(revision.ready < revision.replicas for revision in seen.revisions.values())
        or bool(after.outbox)
        or look.gathered.asked.is_set
    )
