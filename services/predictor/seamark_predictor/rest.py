"""The REST shell: routes, statuses, headers, and one record for the monitor about every prediction request.

It runs on an event loop. A small body is read and answered right there, a large one in a thread, so that health checks
and other clients never wait behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, TypeVar

import orjson

from seamark.errors import InvalidInput
from seamark_predictor import explain, logs, v1, v2
from seamark_predictor.batcher import DeadlineExceeded, Overloaded
from seamark_predictor.codec import Codec
from seamark_predictor.compression import WORTH, compress, decompress, encoding_of, wants_gzip
from seamark_predictor.counters import CONTENT_TYPE, Counters
from seamark_predictor.intake import Bodies, ClientGone, header_length, prediction_id
from seamark_predictor.plane import NOTHING, AnyPlane, Batch, Recorded
from seamark_predictor.rows import show
from seamark_predictor.served import Served, known, rows_of

__all__ = ["Rest"]

#: Bytes of a body that is read on the event loop.
_INLINE = 64 * 1024
#: Large bodies worked on at the same time; more wait.
_THREADS = 2
#: Bodies held at the same time, in multiples of the largest allowed.
_BUDGET = 8

#: Seconds.
_LONGEST_EXPLANATION = 10.0

_JSON = ("content-type", "application/json")
_BINARY = ("content-type", "application/octet-stream")
_CLOSE = ("connection", "close")

Handler = Callable[[Any, Any], Awaitable[None]]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class _Reply:
    """What to answer and what to tell the monitor."""

    status: int
    body: bytes
    header_length: int | None = None
    rows: int = 0
    told: Recorded = NOTHING
    violations: tuple[tuple[str, str, int], ...] = ()
    # Seconds after which to try again.
    retry_after: int = 1
    # The body was not read to its end, so the connection cannot carry another request.
    unread: bool = False
    compressed: bool = False


@dataclass(slots=True, eq=False)
class _Held:
    """Bytes that a request's body takes, compressed and not; whole: whether it was read to its end."""

    size: int = 0
    whole: bool = False


class Rest:
    """The RSGI application for some models. body_limit: bytes, compressed and not."""

    def __init__(self, models: Sequence[Served], body_limit: int, counters: Counters) -> None:
        #: False while the server stops: it still answers, and asks clients to take another connection, elsewhere.
        self.ready = True
        self._models = tuple(models)
        self._limit = body_limit
        self._bodies = Bodies(body_limit, _BUDGET * body_limit)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="predict")
        # One more than may explain at a time: it tells the next one so.
        threads = explain.Limits().at_once * len(self._models) + 1
        self._explaining = ThreadPoolExecutor(threads, thread_name_prefix="explain")
        self._counters = counters
        # Made when it is first asked for.
        self._document = b""
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
            "/metrics": ("GET", self._metrics),
            "/openapi.json": ("GET", self._openapi),
            "/docs": ("GET", self._docs),
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
            f"/v1/models/{name}:explain": ("POST", self._explanation(served)),
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
        problem = f"Cannot find {show(path)}: this server has model {known(self._models)}"
        if path.startswith(("/v1/models/", "/v2/models/")):
            return problem
        return f"{problem}, under /v1/models and /v2/models"

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

    async def _metrics(self, _: Any, proto: Any) -> None:
        proto.response_bytes(200, [("content-type", CONTENT_TYPE)], self._counters.text())

    async def _openapi(self, _: Any, proto: Any) -> None:
        if not self._document:
            self._document = await self._in_thread(self._described)
        self._send(proto, 200, self._document)

    def _described(self) -> bytes:
        # Only now: few ask, and every start would wait for it.
        from seamark_predictor import openapi

        return orjson.dumps(openapi.document([served.plane for served in self._models], self._limit))

    async def _docs(self, _: Any, proto: Any) -> None:
        from seamark_predictor import docs_page

        page = docs_page.page()
        proto.response_bytes(200, list(page.headers), page.body)

    def _prediction(self, served: Served, codec: Codec, protocol: str) -> Handler:
        batcher = served.batcher

        async def answer(scope: Any, proto: Any) -> None:
            arrived, started = time.time(), time.perf_counter()
            headers = scope.headers
            call_id = prediction_id(headers)
            batcher.in_flight += 1
            try:
                reply = await self._reply(served, codec, protocol, headers, proto, call_id)
            except ClientGone:
                return
            finally:
                batcher.in_flight -= 1
            if len(reply.body) >= WORTH and wants_gzip(headers):
                reply = replace(reply, body=await self._in_thread(compress, reply.body), compressed=True)
            self._answer(proto, reply, call_id)
            seconds = time.perf_counter() - started
            violations = list(reply.violations)
            served.tell(protocol, call_id, arrived, seconds, reply.status, reply.rows, reply.told, violations)

        return answer

    def _answer(self, proto: Any, reply: _Reply, call_id: str) -> None:
        headers = [_JSON if reply.header_length is None else _BINARY, ("x-prediction-id", call_id)]
        if reply.header_length is not None:
            headers.append(("inference-header-content-length", str(reply.header_length)))
        if reply.status == 503:
            headers.append(("retry-after", str(reply.retry_after)))
        if reply.unread or not self.ready:
            headers.append(_CLOSE)
        if reply.compressed:
            headers.append(("content-encoding", "gzip"))
        proto.response_bytes(reply.status, headers, reply.body)

    async def _reply(
        self, served: Served, codec: Codec, protocol: str, headers: Any, proto: Any, call_id: str
    ) -> _Reply:
        plane = served.plane
        batch: Batch | None = None
        held = _Held()
        try:
            length = header_length(headers, binary=protocol == "v2")
            body = await self._read(headers, proto, held)
            since = time.monotonic()
            if len(body) > _INLINE:
                return await self._long_reply(served, codec, body, length, proto, call_id)
            request = codec.parse(body, length, plane)
            batch = request.batch
            answer = served.at_once(batch)
            if answer is None:
                answer = await served.predict(batch, since, proto.client_disconnect)
            content, json_length = codec.encode(request, answer, plane, call_id)
            return _Reply(200, content, json_length, batch.count, plane.recorded(batch, answer))
        except ClientGone:
            raise
        except Exception as error:
            return _failure(error, batch, plane, call_id, unread=not held.whole)
        except asyncio.CancelledError:
            raise ClientGone from None
        finally:
            self._bodies.release(held.size)

    async def _read(self, headers: Any, proto: Any, held: _Held) -> bytes:
        """The body, uncompressed. What it takes is in `held` also when this fails."""
        encoding = encoding_of(headers)
        body = await self._bodies.read(headers, proto)
        held.whole = True
        held.size = len(body)
        if not encoding:
            return body
        content = await self._in_thread(decompress, body, self._limit)
        self._bodies.hold(len(content))
        held.size += len(content)
        return content

    async def _long_reply(
        self, served: Served, codec: Codec, body: bytes, length: int | None, proto: Any, call_id: str
    ) -> _Reply:
        """What takes long happens in a thread."""
        plane, since = served.plane, time.monotonic()
        batch: Batch | None = None
        try:
            request = await self._in_thread(codec.parse, body, length, plane)
            batch = request.batch
            answer = await served.predict(batch, since, proto.client_disconnect)
            content, json_length = await self._in_thread(codec.encode, request, answer, plane, call_id)
            told = await self._in_thread(plane.recorded, batch, answer)
            return _Reply(200, content, json_length, batch.count, told)
        except Exception as error:
            return _failure(error, batch, plane, call_id)

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _explanation(self, served: Served) -> Handler:
        async def answer(scope: Any, proto: Any) -> None:
            call_id = prediction_id(scope.headers)
            try:
                reply = await self._explain(served, scope.headers, proto, call_id)
            except ClientGone:
                return
            self._answer(proto, reply, call_id)

        return answer

    async def _explain(self, served: Served, headers: Any, proto: Any, call_id: str) -> _Reply:
        plane = served.plane
        held = _Held()
        try:
            header_length(headers, binary=False)
            body = await self._read(headers, proto, held)
            if served.explainer is None:
                raise explain.no_features(plane.name)
            request = await self._in_thread(v1.parse, body, None, plane)
            rows: Any = request.batch
            # Rows that the model does not take are refused as they are elsewhere.
            answer = await served.predict(rows, time.monotonic(), proto.client_disconnect)
            seconds = min(served.deadline, _LONGEST_EXPLANATION)
            found = await asyncio.get_running_loop().run_in_executor(
                self._explaining, served.explainer.explain, rows, seconds
            )
            document = plane.to_document(answer) | explain.document(found, plane.name, plane.revision, call_id)
            return _Reply(200, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))
        except ClientGone:
            raise
        except Exception as error:
            return _failure(error, None, plane, call_id, unread=not held.whole)
        except asyncio.CancelledError:
            raise ClientGone from None
        finally:
            self._bodies.release(held.size)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._explaining.shutdown(wait=False, cancel_futures=True)


def _error(message: str) -> bytes:
    return orjson.dumps({"error": message})


def _failure(error: Exception, batch: Batch | None, plane: AnyPlane, call_id: str, *, unread: bool = False) -> _Reply:
    """What to answer in place of a prediction."""
    rows = batch.count if batch else 0
    if isinstance(error, InvalidInput):
        return _refusal(error, batch, unread=unread)
    if isinstance(error, DeadlineExceeded):
        return _Reply(error.status, _error(str(error)), rows=rows)
    if isinstance(error, Overloaded):
        return _Reply(error.status, _error(str(error)), rows=rows, retry_after=error.retry_after)
    # The last line of defence: the client learns nothing but the id, the log has all.
    logs.failure("prediction_failed", prediction_id=call_id, rows=rows)
    content = orjson.dumps({"error": "internal error", "request_id": call_id})
    return _Reply(500, content, rows=rows, told=plane.recorded(batch, None) if batch else NOTHING)


def _refusal(error: InvalidInput, batch: Batch | None, *, unread: bool) -> _Reply:
    """Values of refused rows are not told: `violations` say all there is to count."""
    count = rows_of(batch, error.violations)
    return _Reply(error.status, _error(str(error)), rows=count, violations=error.violations, unread=unread)
