"""Takes Alertmanager's notifications: checks, reads, stores the hints, and makes the operator look.

Trouble that passes is answered 503, which Alertmanager repeats within the second. A 4xx it would repeat at every group
interval for ever, so what can never be used is answered 200 and set aside, counted and logged.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from seamark.errors import Unavailable
from seamark_kubernetes.answers import problem, say
from seamark_kubernetes.inbox import Inbox, Key
from seamark_kubernetes.notification import Hints, read_hints
from seamark_kubernetes.secret import read_token
from seamark_kubernetes.telemetry import Telemetry

__all__ = ["MAX_BODY", "Webhook"]

log = logging.getLogger("seamark.operator")

#: Bytes of a notification, and seconds to read it.
MAX_BODY = 2**20
READ_SECONDS = 10.0
#: Notifications read at the same time; with MAX_BODY it bounds the memory that senders can take.
MAX_READING = 32
#: Characters of an unusable notification in the log.
EXCERPT = 200


class Webhook:
    """`receive` is the page. The arguments are those of `seamark_kubernetes.server.make_app`."""

    def __init__(
        self,
        inbox: Inbox,
        is_known: Callable[[Key], bool],
        wake: Callable[[Key], None],
        unready: Callable[[], str],
        telemetry: Telemetry,
        token_file: Path | None,
    ) -> None:
        self._inbox = inbox
        self._is_known = is_known
        self._wake = wake
        self._unready = unready
        self._telemetry = telemetry
        self._token_file = token_file
        self._reading = asyncio.Semaphore(MAX_READING)

    async def receive(self, request: web.Request) -> web.Response:
        try:
            refused = self._refused(request)
            if refused is not None:
                self._telemetry.alert("refused")
                return refused
            if reason := self._unready():
                raise Unavailable(reason)
            body = await self._body(request)
        except Unavailable as error:
            return self._unstored(error, 1)
        if body is None:
            self._telemetry.alert("refused")
            return _too_large()
        return await self._store(body)

    def _refused(self, request: web.Request) -> web.Response | None:
        """Before anything is read. Raises `Unavailable` while the token file cannot be read."""
        if self._token_file is None:
            return problem(403, "Cannot take alerts: the operator was started without a token for them")
        given = _bearer(request.headers.get("Authorization", ""))
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), read_token(self._token_file).encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            return problem(401, "Cannot take alerts: the bearer token is missing or wrong", headers)
        if (request.content_length or 0) > MAX_BODY:
            return _too_large()
        return None

    async def _body(self, request: web.Request) -> bytes | None:
        """None if it is too large."""
        try:
            async with asyncio.timeout(READ_SECONDS), self._reading:
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            return None
        except TimeoutError as error:
            raise Unavailable(f"Cannot read alerts: took longer than {READ_SECONDS:g} s") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise Unavailable("Cannot read alerts: the connection broke") from error

    async def _store(self, body: bytes) -> web.Response:
        found = read_hints(body, self._is_known)
        try:
            stored, known = await self._inbox.put(found.hints)
        except Unavailable as error:
            return self._unstored(error, len(found.hints))
        for key in {key for key, _ in found.hints}:
            self._wake(key)
        self._telemetry.alert("stored", stored)
        self._telemetry.alert("duplicate", known)
        self._telemetry.alert("truncated", found.truncated)
        self._quarantine(found, body)
        return say({"stored": stored, "duplicate": known, "quarantined": found.quarantined})

    def _quarantine(self, found: Hints, body: bytes) -> None:
        if found.quarantined:
            self._telemetry.alert("quarantined", found.quarantined)
            excerpt = body[:EXCERPT].decode(errors="replace")
            cause = found.problem[:EXCERPT]
            log.warning("event=alerts_quarantined count=%d cause=%r excerpt=%r", found.quarantined, cause, excerpt)

    def _unstored(self, error: Unavailable, count: int) -> web.Response:
        self._telemetry.alert("unstored", count)
        log.warning("event=alerts_unstored count=%d problem=%r", count, str(error))
        return problem(503, str(error), {"Retry-After": "1"})


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _too_large() -> web.Response:
    return problem(413, f"Cannot take alerts: more than {MAX_BODY} bytes")
