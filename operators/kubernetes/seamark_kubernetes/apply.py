"""Writes: makes what a decision says true. Every action may be applied again, after a kill at any point, unharmed.

What the API server refuses is remembered as the revision's or the Job's failure, which the next decision sees. No
failure stops the actions after it; the first one is raised when all were tried.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import assert_never

from seamark import tokens
from seamark.actions import (
    Action,
    Notify,
    Promote,
    Record,
    Retire,
    RollBack,
    Route,
    Serve,
    StartRetraining,
    StopRetraining,
)
from seamark.errors import Conflict, InvalidSpec, NotFound, SeamarkError, Unavailable
from seamark.spec import ModelDeployment
from seamark.state import State
from seamark_kubernetes import jobs, names, pvc, routes, serving, sticky
from seamark_kubernetes.api import BACKEND_TRAFFIC_POLICY, HTTP_ROUTE, INFERENCE_SERVICE, JOB, Api, Document, Owner
from seamark_kubernetes.confirm import accepted
from seamark_kubernetes.refusals import Refusals
from seamark_kubernetes.settings import Settings
from seamark_kubernetes.troubles import unix
from seamark_kubernetes.words import shortened

__all__ = ["Applier"]

log = logging.getLogger("seamark.operator")

#: Bytes of the key file.
_LONGEST_KEY = 64 * 1024
#: Seconds in which a gateway looks at a new policy; after that people are told.
_SLOW_POLICY = 10.0


class Applier:
    """Applies actions through `api`. clock: Unix seconds."""

    def __init__(
        self, api: Api, settings: Settings, refusals: Refusals, clock: Callable[[], float] = time.time
    ) -> None:
        self._api = api
        self._settings = settings
        self._refusals = refusals
        self._clock = clock

    async def apply(self, owner: Owner, spec: ModelDeployment, state: State, actions: Iterable[Action]) -> None:
        """Apply in order. Raises the first failure, when all were tried."""
        self._refusals.keep((owner.namespace, owner.name), [revision.name for revision in state.revisions])
        failures = [error for action in actions if (error := await self._try(owner, spec, state, action))]
        if failures:
            raise failures[0]

    async def resolve(self, owner: Owner, spec: ModelDeployment, nonce: str) -> None:
        """Start the Job that reads spec.model.uri, unless it was started before."""
        await self._create(owner, jobs.resolve(self._settings, owner, spec.model.uri, nonce))

    async def _try(self, owner: Owner, spec: ModelDeployment, state: State, action: Action) -> SeamarkError | None:
        try:
            await self._apply(owner, spec, state, action)
        except SeamarkError as error:
            return error
        return None

    async def _apply(self, owner: Owner, spec: ModelDeployment, state: State, action: Action) -> None:
        match action:
            case Serve():
                await self._serve(owner, spec, action)
            case Route():
                await self._route(owner, action)
            case StartRetraining():
                await self._start(owner, spec, state, action)
            case StopRetraining():
                await self._api.delete(JOB, owner.namespace, action.job)
            case Retire():
                await self._retire(owner, action.revision)
            case Promote() | RollBack() | Record() | Notify():
                # Told elsewhere; traffic was asked for by a Route.
                pass
            case _:
                assert_never(action)

    # --- serving

    async def _serve(self, owner: Owner, spec: ModelDeployment, action: Serve) -> None:
        key = (owner.namespace, owner.name)
        try:
            document = serving.inference_service(self._settings, owner, spec, action, self._key())
            await self._api.apply(INFERENCE_SERVICE, owner.namespace, document)
        except InvalidSpec as error:
            self._refusals.refuse_revision(key, action.revision, _cause(error))
            raise
        self._refusals.accept(key, action.revision)

    async def _retire(self, owner: Owner, revision: str) -> None:
        """Ends it unless the route still sends requests there, whatever the memory says."""
        if await self._is_routed(owner, revision):
            log.warning(
                "event=not_retired deployment=%s/%s revision=%s cause='the route names it'",
                owner.namespace,
                owner.name,
                revision,
            )
            return
        await self._api.delete(INFERENCE_SERVICE, owner.namespace, revision)
        self._refusals.accept((owner.namespace, owner.name), revision)

    async def _is_routed(self, owner: Owner, revision: str) -> bool:
        route = await self._found_route(owner)
        return route is not None and names.service(revision) in _backends(route)

    # --- traffic

    async def _route(self, owner: Owner, action: Route) -> None:
        """What belongs to the route first, so that no request meets it alone."""
        companions = routes.companions(self._settings, owner)
        for kind, document in companions:
            await self._api.apply(kind, owner.namespace, document)
        await self._api.apply(HTTP_ROUTE, owner.namespace, await self._http_route(owner, action))
        wanted = [kind for kind, _ in companions]
        for kind in routes.companion_kinds(self._settings):
            if kind not in wanted:
                await self._api.delete(kind, owner.namespace, names.route(owner.name))

    async def _http_route(self, owner: Owner, action: Route) -> Document:
        """A step towards `action`: until the sticky rule can be used, users stay with the champion, and the decision
        asks again.
        """
        found = await self._found_route(owner) if self._settings.envoy else None
        has_rule = found is not None and sticky.has_rule(found)
        if self._settings.envoy and sticky.is_asked(action):
            is_known = found is not None and await self._has_sticky_policy(owner, found, str(action.sticky))
            is_usable = found is not None and has_rule and not accepted(found, self._settings.gateway)
            has_rule = has_rule or is_known
            action = action if is_usable else sticky.waiting(action)
        return routes.http_route(self._settings, owner, action, has_sticky_rule=has_rule)

    async def _found_route(self, owner: Owner) -> Document | None:
        try:
            return await self._api.get(HTTP_ROUTE, owner.namespace, names.route(owner.name))
        except NotFound:
            return None

    async def _has_sticky_policy(self, owner: Owner, route: Document, header: str) -> bool:
        """Does the gateway know the sticky rule's policy, which this makes? Raises `Unavailable` if it takes long."""
        name = names.sticky_policy(owner.name)
        policy = routes.sticky_policy(owner, route, header)
        made = await self._api.apply(BACKEND_TRAFFIC_POLICY, owner.namespace, policy)
        if sticky.is_known(made):
            return True
        is_late = self._clock() - unix(made["metadata"]["creationTimestamp"]) > _SLOW_POLICY
        if is_late and not sticky.has_rule(route):
            raise Unavailable(f"Cannot keep users on one side: the gateway does not look at the policy {name}")
        return False

    # --- Jobs

    async def _start(self, owner: Owner, spec: ModelDeployment, state: State, action: StartRetraining) -> None:
        key = (owner.namespace, owner.name)
        try:
            await self._create(owner, self._training(owner, spec, state, action))
        except InvalidSpec as error:
            self._refusals.refuse_job(key, action.job, _cause(error), self._clock())
            raise
        self._refusals.accept(key, action.job)

    def _training(self, owner: Owner, spec: ModelDeployment, state: State, action: StartRetraining) -> Document:
        champion = state.revision(action.champion)
        if champion is None:
            raise InvalidSpec(action.job, f"its champion {action.champion} is not known")
        claim = pvc.parse(champion.uri, action.job)
        return jobs.training(self._settings, owner, spec, action, claim, self._key(), self._clock())

    async def _create(self, owner: Owner, job: Document) -> None:
        """One that is there already is as good, if it is ours."""
        name = job["metadata"]["name"]
        try:
            await self._api.create(JOB, owner.namespace, job)
        except Conflict as error:
            if not await self._is_ours(owner, name):
                raise Unavailable(f"Cannot start Job {name}: there is another one of this name") from error

    async def _is_ours(self, owner: Owner, job: str) -> bool:
        try:
            found = await self._api.get(JOB, owner.namespace, job)
        except NotFound as error:
            raise Unavailable(f"Cannot start Job {job}: an earlier one of this name is just going") from error
        references = found["metadata"].get("ownerReferences") or ()
        return any(reference.get("uid") == owner.uid for reference in references)

    # --- secrets

    def _key(self) -> bytes | None:
        """What log tokens are signed with, as the file holds it now; None where the log is open."""
        return _read_key(self._settings.key) if self._settings.key else None


def _cause(error: InvalidSpec) -> str:
    """In short; the API server's own words name the object and the field."""
    return shortened(error.problem if error.problem.startswith("Cannot ") else str(error))


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            key = file.read(_LONGEST_KEY + 1).strip()
    except OSError as error:
        raise Unavailable(f"Cannot read {path}: {error.strerror or error}") from error
    if not tokens.MIN_KEY <= len(key) <= _LONGEST_KEY:
        raise Unavailable(f"Cannot use {path}: it has {len(key)} bytes; {tokens.MIN_KEY} to {_LONGEST_KEY} are allowed")
    return key


def _backends(route: Document) -> set[str]:
    """The Services to which an HTTPRoute sends requests or copies."""
    found: set[str] = set()
    for rule in (route.get("spec") or {}).get("rules") or ():
        backends = rule.get("backendRefs") or ()
        found |= {backend["name"] for backend in backends if backend.get("weight", 1)}
        mirrors = (entry.get("requestMirror") for entry in rule.get("filters") or ())
        found |= {mirror["backendRef"]["name"] for mirror in mirrors if mirror}
    return found
