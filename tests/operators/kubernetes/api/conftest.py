"""An event loop whose clock jumps, and an API server of plain HTTP in front of the API in memory."""

from __future__ import annotations

import asyncio
import json
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from seamark.errors import Conflict, InvalidSpec, NotFound, SeamarkError
from seamark_kubernetes import api
from seamark_kubernetes.api import Kind
from seamark_kubernetes.testing import FakeApi

T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    """Waiting takes no time: the clock moves instead."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout is None:
            raise RuntimeError("nothing will ever happen")
        if not found and timeout is not None and timeout > 0:
            self.loop.now += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 1000.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine on a clock that jumps to whatever is next."""

    def run(work: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            return runner.run(work)

    return run


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Waits until a condition holds, for 30 s at most."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - the conditions are about other threads and processes
                await asyncio.sleep(0.02)

    return wait


KINDS: dict[tuple[str, str], Kind] = {
    (kind.api_version, kind.plural): kind for kind in vars(api).values() if isinstance(kind, Kind)
}
STATUS: dict[type[SeamarkError], int] = {NotFound: 404, Conflict: 409, InvalidSpec: 422}


class Server:
    """requests: (method, path) of each so far. tokens: those that came. refused: the token that is answered 401.

    is_broken: watches answer what no watch should.
    """

    def __init__(self) -> None:
        self.api = FakeApi()
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.refused = ""
        self.is_broken = False
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.tokens.add(token)
        if token == self.refused:
            return web.json_response({"kind": "Status", "message": "Unauthorized", "code": 401}, status=401)
        try:
            return await self._answer(request)
        except SeamarkError as error:
            status = STATUS.get(type(error), 500)
            return web.json_response({"kind": "Status", "message": str(error), "code": status}, status=status)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if request.path in ("/api", "/apis") or len(parts) == (2 if parts[0] == "api" else 3):
            return web.json_response(_discovery(parts))
        version, rest = ("v1", parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else None
        rest = rest[2:] if namespace else rest
        kind = KINDS[version, rest[0]]
        if len(rest) > 1:
            return await self._one(request, kind, namespace or "", rest[1:])
        if request.method == "POST":
            return web.json_response(await self.api.create(kind, namespace or "", await request.json()))
        labels = dict(part.split("=") for part in request.query.get("labelSelector", "").split(",") if part)
        if "watch" in request.query:
            return await self._watch(request, kind, namespace, labels)
        items, version = await self.api.list(kind, namespace, labels)
        return web.json_response({"items": items, "metadata": {"resourceVersion": version}})

    async def _one(self, request: web.Request, kind: Kind, namespace: str, rest: list[str]) -> web.Response:
        name = rest[0]
        if request.method == "GET":
            return web.json_response(await self.api.get(kind, namespace, name))
        if request.method == "DELETE":
            await self.api.delete(kind, namespace, name)
            return web.json_response({"kind": "Status"})
        body = await request.json()
        if request.method == "PUT":
            return web.json_response(await self.api.replace(kind, namespace, body))
        if request.content_type == "application/merge-patch+json":
            return web.json_response(await self.api.patch(kind, namespace, name, body))
        return web.json_response(await self.api.apply(kind, namespace, body, status=rest[1:] == ["status"]))

    async def _watch(
        self, request: web.Request, kind: Kind, namespace: str | None, labels: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if self.is_broken:
            await response.write(b'{"type": "ERROR", "object": {"code": 500, "message": "broken"}}\n')
            return response
        async for event, document in self.api.watch(kind, namespace, labels, request.query["resourceVersion"]):
            await response.write(json.dumps({"type": event, "object": document}).encode() + b"\n")
        return response


def _discovery(parts: list[str]) -> dict[str, Any]:
    """What there is, as kopf asks for it."""
    groups = sorted({kind.group for kind in KINDS.values() if kind.group})
    if parts == ["api"]:
        return {"versions": ["v1"]}
    if parts == ["apis"]:
        versions = {kind.group: kind.version for kind in KINDS.values()}
        named = {group: {"groupVersion": f"{group}/{versions[group]}", "version": versions[group]} for group in groups}
        return {"groups": [{"name": group, "versions": [v], "preferredVersion": v} for group, v in named.items()]}
    version = parts[1] if parts[0] == "api" else "/".join(parts[1:])
    found = [kind for (here, _), kind in KINDS.items() if here == version]
    resources = [
        {"name": kind.plural, "singularName": "", "kind": kind.kind, "namespaced": True, "verbs": ["list", "watch"]}
        for kind in found
    ]
    if version == "v1":
        resources.append(
            {"name": "namespaces", "singularName": "", "kind": "Namespace", "namespaced": False, "verbs": []}
        )
    return {"groupVersion": version, "resources": resources}


class Running:
    """A server in a thread of its own; `do` runs work in its event loop."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self.do(self._make())
        self._runner = self.do(self._start())
        self.token_file = folder / "token"
        self.token_file.write_text("first")
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(self._config()))

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        async def work() -> T:
            return function(*arguments)

        return self.do(work())

    def close(self) -> None:
        self.call(self.server.api.end_watches)
        self.do(self._stop(self._runner.cleanup()))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _make(self) -> Server:
        return Server()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.server.port = runner.addresses[0][1]
        return runner

    async def _stop(self, work: Awaitable[None]) -> None:
        await work

    def _config(self) -> dict[str, Any]:
        cluster = {"server": f"http://127.0.0.1:{self.server.port}"}
        return {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "default"}}],
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {"tokenFile": str(self.token_file)}}],
        }


@pytest.fixture
def api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """An API server; KUBECONFIG names it."""
    running = Running(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig))
    yield running
    running.close()
