"""Has a route arrived? The gateway's controller says what it accepted; only a request through the gateway shows it.

Until both agree a step's clock does not start, and a gateway that cannot be asked holds everything: `problem` says so.
Each side of it must bring an answer, too: a gateway may know the route before it knows the pods, or may have lost its
way to them, and then answers itself. A first route counts only with an answer; a later one after a while without it,
so that a return to a champion that is down for the moment is not held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from seamark.errors import NotFound, SeamarkError
from seamark_kubernetes.api import GATEWAY, Api, Document, Owner
from seamark_kubernetes.routes import CONFIRM_PATH, fingerprint, host, probes
from seamark_kubernetes.settings import Settings

__all__ = ["PATIENCE", "PROBES", "Confirmer", "accepted"]

log = logging.getLogger("seamark.operator")

#: Requests that must all show the route, each on a connection of its own: a gateway may have several replicas.
PROBES = 3
TIMEOUT = aiohttp.ClientTimeout(total=3.0)
_GATEWAYS_OWN = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
#: Seconds the gateway's address is remembered.
ADDRESS_AGE = 60.0
#: Seconds for which a later route waits for answers of somebody else than the gateway.
PATIENCE = 20.0


def accepted(document: Document, gateway: tuple[str, str]) -> str:
    """Why the gateway's controller has not accepted this very route; "" when it has."""
    generation = (document.get("metadata") or {}).get("generation")
    for parent in (document.get("status") or {}).get("parents") or []:
        reference = parent.get("parentRef") or {}
        if (reference.get("namespace"), reference.get("name")) == gateway:
            return _missing(parent.get("conditions") or [], generation)
    return f"the gateway {gateway[0]}/{gateway[1]} says nothing about the route"


def _missing(conditions: list[Document], generation: object) -> str:
    found = {condition.get("type"): condition for condition in conditions}
    for wanted in ("Accepted", "ResolvedRefs"):
        condition = found.get(wanted)
        if condition is None or condition.get("observedGeneration") != generation:
            return "the gateway has not looked at the route yet"
        if condition.get("status") != "True":
            return f"the gateway refuses the route: {condition.get('message', '')}"
    return ""


class Confirmer:
    """Confirms the routes of all deployments; what was confirmed once is not asked for again."""

    def __init__(self, settings: Settings, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._api = api
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._address: tuple[float, str] = (float("-inf"), "")
        self._confirmed: dict[tuple[str, str], str] = {}
        # The uid of each deployment that has answered: one made again under its name has not.
        self._answered: dict[tuple[str, str], str] = {}
        # The fingerprint that the gateway showed last, and since when, while a route waits for answers.
        self._shown: dict[tuple[str, str], tuple[str, float]] = {}
        self._problems: dict[tuple[str, str], str] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def problem(self, owner: Owner) -> str:
        """Why the deployment's route is not confirmed; "" when it is."""
        return self._problems.get((owner.namespace, owner.name), "")

    def forget(self, owner: Owner) -> None:
        for known in (self._confirmed, self._answered, self._shown, self._problems):
            known.pop((owner.namespace, owner.name), None)

    async def confirmed(self, owner: Owner, document: Document) -> bool:
        """Does the gateway do what the HTTPRoute `document` says?"""
        key, mark = (owner.namespace, owner.name), fingerprint(document)
        problem = accepted(document, self._settings.gateway)
        if not problem and self._confirmed.get(key) != mark:
            problem = await self._ask(owner, document)
        self._problems[key] = problem
        if problem:
            self._confirmed.pop(key, None)
            return False
        self._confirmed[key] = mark
        return True

    async def _ask(self, owner: Owner, document: Document) -> str:
        base, name, mark = "", host(self._settings, owner), fingerprint(document)
        try:
            base = await self._base()
            for _ in range(PROBES):
                if (shown := await self._mark(base, name)) != mark:
                    return f"the gateway at {base} has not got the route yet; it shows {shown or 'none'}"
            is_first = self._answered.get((owner.namespace, owner.name)) != owner.uid
            asked = [self._unanswered(base, {"host": name, **headers}, is_first) for headers in probes(document)]
            if status := max(await asyncio.gather(*asked)):
                return self._without_answer(owner, mark, base, status)
        except SeamarkError as error:
            return str(error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._address = (float("-inf"), "")
            return f"Cannot ask the gateway at {base}: {str(error) or type(error).__name__}"
        self._answered[owner.namespace, owner.name] = owner.uid
        self._shown.pop((owner.namespace, owner.name), None)
        return ""

    def _without_answer(self, owner: Owner, mark: str, base: str, status: int) -> str:
        """What is wrong with a route that the gateway has and answers itself; "" when it was waited for long enough."""
        key, now = (owner.namespace, owner.name), self._clock()
        problem = f"the gateway at {base} has the route, but answers {status} itself"
        if self._answered.get(key) != owner.uid:
            return problem
        before, since = self._shown.get(key, ("", now))
        if before != mark:
            self._shown[key] = mark, (since := now)
        if now - since < PATIENCE:
            return problem
        log.warning("event=route_unanswered deployment=%s/%s cause=%r", *key, problem)
        return ""

    async def _mark(self, base: str, name: str) -> str:
        """The fingerprint that the gateway shows for the host `name`; "" if none."""
        async with self._get(f"{base}{CONFIRM_PATH}", {"host": name}) as response:
            path = urlsplit(response.headers.get("location", "")).path
        prefix = f"{CONFIRM_PATH}/"
        return path.removeprefix(prefix) if path.startswith(prefix) else ""

    async def _unanswered(self, base: str, headers: dict[str, str], is_first: bool) -> int:
        """The status with which the gateway itself answers a user with these headers; 0 when somebody else answers.

        Model servers know nothing at / and do nothing there, but say so. A gateway without a way to them says nothing.
        After a first route a server that keeps us waiting is there, and others judge it.
        """
        try:
            async with self._get(f"{base}/", headers) as response:
                is_own = response.status in _GATEWAYS_OWN and not await response.content.read(1)
                is_nobody = is_first and response.status == HTTPStatus.SERVICE_UNAVAILABLE
                return response.status if is_own or is_nobody else 0
        except TimeoutError:
            if is_first:
                raise
            return 0

    def _get(self, url: str, headers: dict[str, str]) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            # A connection each: on a kept one the same replica of the gateway would answer again.
            connector = aiohttp.TCPConnector(force_close=True)
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, connector=connector, trust_env=False)
        return self._session.get(url, headers=headers, allow_redirects=False, ssl=False)

    async def _base(self) -> str:
        """The gateway's address: as configured, or from its status and its first plain HTTP listener."""
        if self._settings.confirm:
            return self._settings.confirm.rstrip("/")
        asked, base = self._address
        if self._clock() - asked < ADDRESS_AGE:
            return base
        namespace, name = self._settings.gateway
        base = _address(await self._api.get(GATEWAY, namespace, name), f"{namespace}/{name}")
        self._address = (self._clock(), base)
        return base


def _address(gateway: Document, name: str) -> str:
    addresses = (gateway.get("status") or {}).get("addresses") or []
    listeners = (gateway.get("spec") or {}).get("listeners") or []
    ports = [listener["port"] for listener in listeners if listener.get("protocol") == "HTTP"]
    if not addresses or not ports:
        lack = "no address in its status" if not addresses else "no HTTP listener; give the operator --confirm-url"
        raise NotFound(f"Cannot confirm routes: the gateway {name} has {lack}")
    value = addresses[0]["value"]
    shown = f"[{value}]" if ":" in value else value
    return f"http://{shown}:{ports[0]}"
