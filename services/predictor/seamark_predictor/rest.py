"""The REST shell: routes, statuses, headers, and one record for the monitor about every prediction request.

It runs on an event loop. A small body is answered right there, a large one in a thread, so that health checks and
other clients never wait behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Protocol

import orjson

from seamark.errors import InvalidInput
from seamark.records import Prediction
from seamark_predictor import logs, v1, v2
from seamark_predictor.codec import Codec
from seamark_predictor.intake import Bodies, ClientGone, header_length, prediction_id
from seamark_predictor.plane import AnyPlane, Batch, Recorded
from seamark_predictor.rows import names_text, show

__all__ = ["Rest", "Served", "Sink"]

#: Bytes of a body that is answered on the event loop.
_INLINE = 64 * 1024
#: Large bodies worked on at the same time; more wait.
_THREADS = 2
#: Bodies held at the same time, in multiples of the largest allowed.
_BUDGET = 8

_JSON = ("content-type", "application/json")
_BINARY = ("content-type", "application/octet-stream")
_CLOSE = ("connection", "close")

Handler = Callable[[Any, Any], Awaitable[None]]


class Sink(Protocol):
    """Where records go: `feed.Feed`, or a list in tests."""

    def add(self, prediction: Prediction) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model, warm, and where its records go."""

    plane: AnyPlane
    sink: Sink


_NOTHING = Recorded(b"", [], b"")


@dataclass(frozen=True, slots=True, eq=False)
class _Reply:
    """What to answer and what to tell the monitor."""

    status: int
    body: bytes
    header_length: int | None = None
    rows: int = 0
    told: Recorded = _NOTHING
    violations: list[tuple[str, str, int]] = field(default_factory=list)
    # The body was not read to its end, so the connection cannot carry another request.
    unread: bool = False


class Rest:
    """The RSGI application for some models."""

    def __init__(self, models: Sequence[Served], body_limit: int) -> None:
        #: False while the server stops: it still answers, and asks clients to take another connection, elsewhere.
        self.ready = True
        self._models = tuple(models)
        self._bodies = Bodies(body_limit, _BUDGET * body_limit)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="predict")
        self._routes = self._server_routes()
        for served in self._models:
            self._routes |= self._model_routes(served)

    def _server_routes(self) -> dict[str, tuple[str, Handler]]:
        """path -> (method, handler)."""
        server = {"name": "seamark-predictor", "version": version("seamark-predictor")}
        names = [served.plane.name for served in self._models]
        return {
            "/": ("GET", self._constant({"status": "alive"})),
            "/healthz": ("GET", self._constant({"live": True})),
            "/readyz": ("GET", self._readiness({"ready": True})),
            "/v2": ("GET", self._constant({**server, "extensions": ["binary_tensor_data"]})),
            "/v2/health/live": ("GET", self._constant({"live": True})),
            "/v2/health/ready": ("GET", self._readiness({"ready": True})),
            "/v1/models": ("GET", self._constant({"models": names})),
        }

    def _model_routes(self, served: Served) -> dict[str, tuple[str, Handler]]:
        name, revision = served.plane.name, served.plane.revision
        metadata = v2.model_metadata(served.plane)
        routes: dict[str, tuple[str, Handler]] = {
            f"/v1/models/{name}": ("GET", self._readiness({"name": name, "ready": True})),
            f"/v1/models/{name}:predict": ("POST", self._prediction(served, v1, "v1")),
        }
        for model in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{revision}"):
            routes |= {
                model: ("GET", self._constant(metadata)),
                f"{model}/ready": ("GET", self._readiness({"name": name, "ready": True})),
                f"{model}/infer": ("POST", self._prediction(served, v2, "v2")),
            }
        return routes

    async def handle(self, scope: Any, proto: Any) -> None:
        """Answers one request; never raises."""
        path = scope.path
        route = self._routes.get(path) or self._routes.get(path.rstrip("/"))
        if route is None:
            self._send(proto, 404, _error(self._not_found(path)))
        elif scope.method != route[0]:
            problem = f"Cannot {scope.method[:20]} {show(path)}: allowed: {route[0]}"
            self._send(proto, 405, _error(problem), ("allow", route[0]))
        else:
            await route[1](scope, proto)

    def _not_found(self, path: str) -> str:
        known = names_text([f"{one.plane.name}, version {one.plane.revision}" for one in self._models])
        if path.startswith(("/v1/models/", "/v2/models/")):
            return f"Cannot find {show(path)}: this server has model {known}"
        return f"Cannot find {show(path)}: this server has model {known}, under /v1/models and /v2/models"

    def _send(self, proto: Any, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        closing = () if self.ready else (_CLOSE,)
        proto.response_bytes(status, [_JSON, *headers, *closing], body)

    def _constant(self, document: dict[str, Any]) -> Handler:
        body = orjson.dumps(document)

        async def answer(_: Any, proto: Any) -> None:
            self._send(proto, 200, body)

        return answer

    def _readiness(self, document: dict[str, Any]) -> Handler:
        ready = orjson.dumps(document)

        async def answer(_: Any, proto: Any) -> None:
            if self.ready:
                self._send(proto, 200, ready)
            else:
                self._send(proto, 503, _error("Cannot take requests: the server is stopping"))

        return answer

    def _prediction(self, served: Served, codec: Codec, protocol: str) -> Handler:
        async def answer(scope: Any, proto: Any) -> None:
            arrived, started = time.time(), time.perf_counter()
            call_id = prediction_id(scope.headers)
            try:
                reply = await self._reply(served.plane, codec, protocol, scope.headers, proto, call_id)
            except ClientGone:
                return
            kind = _JSON if reply.header_length is None else _BINARY
            headers = [kind, ("x-prediction-id", call_id)]
            if reply.header_length is not None:
                headers.append(("inference-header-content-length", str(reply.header_length)))
            if reply.unread or not self.ready:
                headers.append(_CLOSE)
            proto.response_bytes(reply.status, headers, reply.body)
            served.sink.add(_record(reply, call_id, protocol, arrived, time.perf_counter() - started))

        return answer

    async def _reply(
        self, plane: AnyPlane, codec: Codec, protocol: str, headers: Any, proto: Any, call_id: str
    ) -> _Reply:
        try:
            length = header_length(headers, binary=protocol == "v2")
            body = await self._bodies.read(headers, proto)
        except InvalidInput as error:
            return replace(_refusal(error, None), unread=True)
        try:
            if len(body) <= _INLINE:
                return _work(plane, codec, body, length, call_id)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, _work, plane, codec, body, length, call_id)
        finally:
            self._bodies.release(len(body))

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _work(plane: AnyPlane, codec: Codec, body: bytes, length: int | None, call_id: str) -> _Reply:
    batch: Batch | None = None
    try:
        request = codec.parse(body, length, plane)
        batch = request.batch
        answer = plane.predict(batch)
        content, json_length = codec.encode(request, answer, plane, call_id)
    except InvalidInput as error:
        return _refusal(error, batch)
    except Exception:
        # The last line of defence: the client learns nothing but the id, the log has all.
        rows = batch.count if batch else 0
        logs.failure("prediction_failed", prediction_id=call_id, rows=rows)
        content = orjson.dumps({"error": "internal error", "request_id": call_id})
        return _Reply(500, content, rows=rows, told=plane.recorded(batch, None) if batch else _NOTHING)
    return _Reply(200, content, json_length, batch.count, plane.recorded(batch, answer))


def _error(message: str) -> bytes:
    return orjson.dumps({"error": message})


def _refusal(error: InvalidInput, batch: Batch | None) -> _Reply:
    """Values of refused rows are not told: `violations` say all there is to count."""
    violations = list(error.violations)
    count = batch.count if batch else max((count for _, _, count in violations), default=0)
    return _Reply(error.status, _error(str(error)), rows=count, violations=violations)


def _record(reply: _Reply, call_id: str, protocol: str, arrived: float, latency: float) -> Prediction:
    return Prediction(
        prediction_id=call_id,
        time=arrived,
        latency=latency,
        status=reply.status,
        rows=reply.rows,
        protocol=protocol,
        numbers=reply.told.numbers,
        categories=reply.told.categories,
        outputs=reply.told.outputs,
        violations=reply.violations,
    )
