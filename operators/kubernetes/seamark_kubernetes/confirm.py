"""Has a route arrived? The gateway's controller says what it accepted; only a request through the gateway shows it.

Until both agree a step's clock does not start, and a gateway that cannot be asked holds everything: `problem` says so.
A deployment's first route must bring an answer, too: a gateway may know the route before it knows the pods.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from seamark.errors import NotFound, SeamarkError
from seamark_kubernetes.api import GATEWAY, Api, Document, Owner
from seamark_kubernetes.routes import CONFIRM_PATH, fingerprint, host
from seamark_kubernetes.settings import Settings

__all__ = ["Confirmer", "accepted"]

#: Requests that must all show the route, each on a connection of its own: a gateway may have several replicas.
PROBES = 3
TIMEOUT = aiohttp.ClientTimeout(total=3.0)
#: Seconds the gateway's address is remembered.
ADDRESS_AGE = 60.0


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
        self._problems: dict[tuple[str, str], str] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def problem(self, owner: Owner) -> str:
        """Why the deployment's route is not confirmed; "" when it is."""
        return self._problems.get((owner.namespace, owner.name), "")

    def forget(self, owner: Owner) -> None:
        for known in (self._confirmed, self._answered, self._problems):
            known.pop((owner.namespace, owner.name), None)

    async def confirmed(self, owner: Owner, document: Document) -> bool:
        """Does the gateway do what the HTTPRoute `document` says?"""
        key, mark = (owner.namespace, owner.name), fingerprint(document)
        problem = accepted(document, self._settings.gateway)
        if not problem and self._confirmed.get(key) != mark:
            problem = await self._ask(owner, mark)
        self._problems[key] = problem
        if problem:
            self._confirmed.pop(key, None)
            return False
        self._confirmed[key] = mark
        return True

    async def _ask(self, owner: Owner, mark: str) -> str:
        try:
            base = await self._base()
            for _ in range(PROBES):
                if (shown := await self._shown(base, host(self._settings, owner))) != mark:
                    return f"the gateway at {base} has not got the route yet; it shows {shown or 'none'}"
            key = (owner.namespace, owner.name)
            if self._answered.get(key) != owner.uid:
                if await self._status(base, host(self._settings, owner)) == HTTPStatus.SERVICE_UNAVAILABLE:
                    return f"the gateway at {base} has the route, but nobody answers there yet"
                self._answered[key] = owner.uid
        except SeamarkError as error:
            return str(error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._address = (float("-inf"), "")
            return f"Cannot ask the gateway at {base}: {str(error) or type(error).__name__}"
        return ""

    async def _shown(self, base: str, name: str) -> str:
        """The fingerprint that the gateway shows for the host `name`; "" if none."""
        async with self._get(f"{base}{CONFIRM_PATH}", name) as response:
            path = urlsplit(response.headers.get("location", "")).path
        prefix = f"{CONFIRM_PATH}/"
        return path.removeprefix(prefix) if path.startswith(prefix) else ""

    async def _status(self, base: str, name: str) -> int:
        """What users of the host `name` are answered at /: but for 503 it is a model server's answer."""
        async with self._get(f"{base}/", name) as response:
            return response.status

    def _get(self, url: str, name: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            # A connection each: on a kept one the same replica of the gateway would answer again.
            connector = aiohttp.TCPConnector(force_close=True)
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, connector=connector, trust_env=False)
        return self._session.get(url, headers={"host": name}, allow_redirects=False, ssl=False)

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
