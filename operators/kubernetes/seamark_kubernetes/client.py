"""The Kubernetes API over HTTP.

lightkube knows where the API server is and how to log in; its own verbs make typed objects of everything and retry
nothing, so its underlying HTTP client is used.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

import httpx2
import msgspec
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError

from seamark.errors import NotFound, Unavailable
from seamark_kubernetes.api import Document, Kind
from seamark_kubernetes.calls import Answer, Call, Failure, Verb, decode, failure, list_call, object_call, watch_call

__all__ = ["Client"]

T = TypeVar("T")

#: Seconds for one call, with all its tries.
LIMIT = 30.0
#: Seconds to connect: short, so that there is time for another try.
CONNECT = 5.0
#: Seconds of silence after which a watch is taken for dead: the server sends a bookmark about every minute.
SILENCE = 70.0
#: Seconds after which the server is asked to end a watch, shortest and longest, so that they do not all end together.
WATCH = (540, 600)
#: Tries of one call, and seconds before the second, doubling.
TRIES = 5
PAUSE = 0.25
#: Objects in one page of a list.
PAGE = 500
#: Bytes of one watch event; the API server takes objects of 3 MiB at most.
EVENT_LIMIT = 16 * 2**20


class _Failed(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


class Client:
    """`seamark_kubernetes.api.Api` on a real API server.

    on_call: told the verb of every HTTP request, repeated ones too. transport: for tests; None is the network.
    """

    def __init__(
        self,
        config: SingleConfig,
        on_call: Callable[[Verb], None] = lambda _: None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        parameters = ConnectionParams(transport=transport).httpx_params(config)  # type: ignore[arg-type]  # typed for sync only
        parameters["timeout"] = httpx2.Timeout(LIMIT, connect=CONNECT)
        # Each watch holds a connection, one per kind and namespace; the usual limit of 100 would starve all else.
        self._http = httpx2.AsyncClient(**parameters, limits=httpx2.Limits(max_keepalive_connections=20))
        self._on_call = on_call

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        return await self._send(object_call("get", kind, namespace, name))

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> tuple[list[Document], str]:
        found: list[Document] = []
        page, size = "", PAGE
        while True:
            try:
                answer = await self._patiently(list_call(kind, namespace, labels, size, page), self._answer)
            except _Failed as failed:
                if not (failed.failure.expired and page):
                    raise failed.failure.error from failed
                # Reading took longer than the server keeps a list's snapshot: begin again, all at once.
                found, page, size = [], "", 0
                continue
            metadata = answer.get("metadata") or {}
            found += [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in answer.get("items") or ()]
            page = metadata.get("continue") or ""
            if not page:
                return found, str(metadata.get("resourceVersion", ""))

    async def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str], resource_version: str
    ) -> AsyncIterator[tuple[str, Document]]:
        seconds = random.randint(*WATCH)  # noqa: S311 - spreads load, hides nothing
        call = watch_call(kind, namespace, labels, resource_version, seconds)
        try:
            response = await self._patiently(call, self._open)
        except _Failed as failed:
            raise failed.failure.error from failed
        try:
            async for line in _lines(call, response):
                yield _event(call, line)
        except httpx2.TransportError:
            # Silent or broken off: the caller goes on from the newest version it has seen.
            return
        finally:
            await response.aclose()

    async def create(self, kind: Kind, namespace: str, document: Document) -> Document:
        return await self._send(object_call("create", kind, namespace, _name(document), document))

    async def replace(self, kind: Kind, namespace: str, document: Document) -> Document:
        return await self._send(object_call("replace", kind, namespace, _name(document), document))

    async def apply(self, kind: Kind, namespace: str, document: Document, *, status: bool = False) -> Document:
        return await self._send(object_call("apply", kind, namespace, _name(document), document, status=status))

    async def patch(self, kind: Kind, namespace: str, name: str, document: Document) -> Document:
        return await self._send(object_call("patch", kind, namespace, name, document))

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        try:
            await self._send(object_call("delete", kind, namespace, name))
        except NotFound:
            return

    async def _send(self, call: Call) -> Document:
        try:
            return await self._patiently(call, self._answer)
        except _Failed as failed:
            raise failed.failure.error from failed

    async def _patiently(self, call: Call, attempt: Callable[[Call], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(LIMIT):
                return await self._tries(call, attempt)
        except TimeoutError as error:
            raise Unavailable(f"{call}: no answer within {LIMIT:g} s") from error

    async def _tries(self, call: Call, attempt: Callable[[Call], Awaitable[T]]) -> T:
        for done in range(1, TRIES + 1):
            try:
                return await attempt(call)
            except _Failed as failed:
                if not failed.failure.again or done == TRIES or failed.failure.after >= LIMIT:
                    raise
                pause = PAUSE * 2.0 ** (done - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load
                await asyncio.sleep(max(pause, failed.failure.after))
        raise AssertionError("the last try returns or raises")

    async def _answer(self, call: Call) -> Document:
        """One try, with a whole answer."""
        try:
            response = await self._http.send(self._request(call))
        except (httpx2.TransportError, ConfigError, OSError) as error:
            raise _lost(call, error) from error
        _check(call, response)
        return decode(call, response.content)

    async def _open(self, call: Call) -> httpx2.Response:
        """One try, with the body still to come; the caller closes it."""
        request = self._request(call, httpx2.Timeout(LIMIT, connect=CONNECT, read=SILENCE))
        try:
            response = await self._http.send(request, stream=True)
            if not response.is_success:
                await response.aread()
        except (httpx2.TransportError, ConfigError, OSError) as error:
            raise _lost(call, error) from error
        _check(call, response)
        return response

    def _request(self, call: Call, timeout: httpx2.Timeout | None = None) -> httpx2.Request:
        self._on_call(call.verb)
        body = None if call.body is None else msgspec.json.encode(call.body)
        return self._http.build_request(
            call.method,
            call.path,
            params=call.params,
            content=body,
            headers={"Content-Type": call.content_type} if body else {},
            timeout=timeout or self._http.timeout,
        )


def _name(document: Document) -> str:
    name: str = document["metadata"]["name"]
    return name


def _check(call: Call, response: httpx2.Response) -> None:
    if response.is_success:
        return
    found = failure(call, Answer(response.status_code, response.content, response.headers.get("Retry-After", "")))
    if found is not None:
        raise _Failed(found)


def _lost(call: Call, error: Exception) -> _Failed:
    """No answer. What was never sent may be sent again whatever it is."""
    unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    again = isinstance(error, httpx2.TransportError) and (unsent or call.idempotent)
    cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _Failed(Failure(Unavailable(f"{call}: {cause}"), again))


async def _lines(call: Call, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The body's lines. httpx's own also split at letters that JSON leaves as they are."""
    rest = bytearray()
    async for chunk in response.aiter_bytes():
        rest += chunk
        *whole, last = rest.split(b"\n") if b"\n" in chunk else [rest]
        rest = bytearray(last)
        for line in whole:
            if line.strip():
                yield bytes(line)
        if len(rest) > EVENT_LIMIT:
            raise Unavailable(f"{call}: an event exceeds {EVENT_LIMIT} bytes")


def _event(call: Call, line: bytes) -> tuple[str, Document]:
    event = decode(call, line)
    kind, document = event.get("type"), event.get("object")
    if not isinstance(kind, str) or not isinstance(document, dict):
        raise Unavailable(f"{call}: got an event of no use: {line[:200]!r}")
    if kind == "ERROR":
        raise Unavailable(f"{call}: {document.get('message')} (HTTP {document.get('code')})")
    return kind, document
