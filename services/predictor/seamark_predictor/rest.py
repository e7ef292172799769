"""The REST shell: routes, statuses, headers, and one record for the monitor about every prediction request.

It runs on an event loop. A small body is worked on right there, in the call that brought it; a large one in a thread,
so that health checks and other clients never wait behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import orjson

from seamark.errors import InvalidInput
from seamark_predictor import explain, logs, v1, v2
from seamark_predictor.batcher import DeadlineExceeded, Overloaded
from seamark_predictor.codec import Codec
from seamark_predictor.codec import Request as Parsed
from seamark_predictor.compression import WORTH, compress, decompress, encoding_of, wants_gzip
from seamark_predictor.counters import CONTENT_TYPE, Counters
from seamark_predictor.http1 import Request
from seamark_predictor.intake import header_length, prediction_id
from seamark_predictor.plane import NOTHING, Batch, Recorded
from seamark_predictor.rows import show
from seamark_predictor.served import Served, known, rows_of

__all__ = ["Rest"]

#: Bytes of a body that is worked on on the event loop.
_INLINE = 64 * 1024
#: Large bodies worked on at the same time; more wait.
_THREADS = 2
#: Seconds.
_LONGEST_EXPLANATION = 10.0

_JSON = b"content-type: application/json\r\n"
_BINARY = b"content-type: application/octet-stream\r\n"

Handler = Callable[[Request], object]
Result = TypeVar("Result")


class Rest:
    """The HTTP application for some models. body_limit: bytes, compressed and not."""

    def __init__(self, models: Sequence[Served], body_limit: int, counters: Counters) -> None:
        #: False while the server stops: it still answers, and tells those who ask to go elsewhere.
        self.ready = True
        self._models = tuple(models)
        self.limit = body_limit
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

    def handle(self, request: Request) -> None:
        """Answers one request, now or later; never raises."""
        path = request.path
        route = self._routes.get(path) or self._routes.get(path.rstrip("/"))
        if route is None:
            request.respond(404, _JSON, _error(self._not_found(path)))
        elif request.method == route[0] or (request.method == "HEAD" and route[0] == "GET"):
            route[1](request)
        else:
            allowed = "GET, HEAD" if route[0] == "GET" else route[0]
            problem = f"Cannot {request.method[:20]} {show(path)}: allowed: {allowed}"
            request.respond(405, b"%ballow: %b\r\n" % (_JSON, allowed.encode()), _error(problem))

    def _not_found(self, path: str) -> str:
        problem = f"Cannot find {show(path)}: this server has model {known(self._models)}"
        if path.startswith(("/v1/models/", "/v2/models/")):
            return problem
        return f"{problem}, under /v1/models and /v2/models"

    def _constant(self, document: dict[str, Any]) -> Handler:
        body = orjson.dumps(document)
        return lambda request: request.respond(200, _JSON, body)

    def _readiness(self, document: dict[str, Any]) -> Handler:
        ready = orjson.dumps(document)

        def answer(request: Request) -> None:
            if self.ready:
                request.respond(200, _JSON, ready)
            else:
                request.respond(503, _JSON, _error("Cannot take requests: the server is stopping"))

        return answer

    def _metrics(self, request: Request) -> None:
        request.respond(200, f"content-type: {CONTENT_TYPE}\r\n".encode(), self._counters.text())

    def _openapi(self, request: Request) -> None:
        request.run(self._describe(request))

    async def _describe(self, request: Request) -> None:
        if not self._document:
            self._document = await self.in_thread(self._described)
        request.respond(200, _JSON, self._document)

    def _described(self) -> bytes:
        # Only now: few ask, and every start would wait for it.
        from seamark_predictor import openapi

        return orjson.dumps(openapi.document([served.plane for served in self._models], self.limit))

    def _docs(self, request: Request) -> None:
        from seamark_predictor import docs_page

        page = docs_page.page()
        request.respond(200, "".join(f"{name}: {value}\r\n" for name, value in page.headers).encode(), page.body)

    def _prediction(self, served: Served, codec: Codec, protocol: str) -> Handler:
        return lambda request: _Prediction(self, served, codec, protocol, request).begin()

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What the function returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def content_of(self, request: Request) -> bytes:
        """The body, uncompressed; raises `InvalidInput`."""
        if request.fault is not None:
            raise request.fault
        if not encoding_of(request.headers):
            return request.body
        content = await self.in_thread(decompress, request.body, self.limit)
        request.hold(len(content))
        return content

    def _explanation(self, served: Served) -> Handler:
        return lambda request: request.run(self._explain(served, request))

    async def _explain(self, served: Served, request: Request) -> None:
        plane, call_id = served.plane, prediction_id(request.headers)
        headers = _JSON + _id_line(call_id)
        try:
            header_length(request.headers, binary=False)
            body = await self.content_of(request)
            if served.explainer is None:
                raise explain.no_features(plane.name)
            rows: Any = (await self.in_thread(v1.parse, body, None, plane)).batch
            # Rows that the model does not take are refused as they are elsewhere.
            answer = await served.predict(rows, time.monotonic())
            seconds = min(served.deadline, _LONGEST_EXPLANATION)
            found = await asyncio.get_running_loop().run_in_executor(
                self._explaining, served.explainer.explain, rows, seconds
            )
            document = plane.to_document(answer) | explain.document(found, plane.name, plane.revision, call_id)
            request.respond(200, headers, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))
        except Exception as error:
            status, content, more = _failure(error, call_id, 0)
            request.respond(status, headers + more, content)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._explaining.shutdown(wait=False, cancel_futures=True)


class _Prediction:
    """One prediction request, from its body to its record."""

    __slots__ = (
        "_arrived",
        "_batch",
        "_codec",
        "_id",
        "_is_given_up",
        "_parsed",
        "_protocol",
        "_request",
        "_rest",
        "_served",
        "_since",
    )

    def __init__(self, rest: Rest, served: Served, codec: Codec, protocol: str, request: Request) -> None:
        self._arrived, self._since = time.time(), time.monotonic()
        self._id = prediction_id(request.headers)
        self._rest = rest
        self._served = served
        self._codec = codec
        self._protocol = protocol
        self._request = request
        self._batch: Batch | None = None
        self._parsed: Parsed | None = None
        self._is_given_up = False

    def begin(self) -> None:
        """Answers at once where that is quick."""
        request, served = self._request, self._served
        served.counters.began()
        try:
            if request.fault is not None:
                raise request.fault
            headers, body = request.headers, request.body
            length = header_length(headers, binary=self._protocol == "v2")
            if len(body) > _INLINE or "content-encoding" in headers:
                self._run(self._long(length))
                return
            parsed = self._parsed = self._codec.parse(body, length, served.plane)
            batch = self._batch = parsed.batch
            found = served.ask(batch, self._since)
            if isinstance(found, asyncio.Future):
                request.gone = partial(self._give_up, found)
                found.add_done_callback(self._ran)
                return
            self._succeed(found)
        except Exception as error:
            self._fail(error)

    def _give_up(self, work: asyncio.Future[Any]) -> None:
        """The client has gone: there is nobody to answer and nothing to tell."""
        self._is_given_up = True
        self._served.counters.ended()
        work.cancel()

    def _ran(self, done: asyncio.Future[Any]) -> None:
        if self._is_given_up or done.cancelled():
            return
        try:
            self._succeed(done.result())
        except Exception as error:
            self._fail(error)

    def _succeed(self, answer: Any) -> None:
        plane, parsed = self._served.plane, self._parsed
        assert parsed is not None
        content, json_length = self._codec.encode(parsed, answer, plane, self._id)
        self._finish(content, json_length, plane.recorded(parsed.batch, answer))

    def _finish(self, content: bytes, json_length: int | None, told: Recorded) -> None:
        headers = (_JSON if json_length is None else _binary(json_length)) + _id_line(self._id)
        request = self._request
        if len(content) >= WORTH and wants_gzip(request.headers):
            self._run(self._compressed(headers, content, told))
        else:
            self._answer(200, headers, content, told)

    async def _compressed(self, headers: bytes, content: bytes, told: Recorded) -> None:
        content = await self._rest.in_thread(compress, content)
        self._answer(200, headers + b"content-encoding: gzip\r\n", content, told)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """As `Request.run`, and a client that goes is counted out."""
        self._request.gone = partial(self._give_up, self._request.run(work))

    async def _long(self, length: int | None) -> None:
        """What takes long happens in a thread."""
        rest, served, codec = self._rest, self._served, self._codec
        try:
            body = await rest.content_of(self._request)
            parsed = await rest.in_thread(codec.parse, body, length, served.plane)
            batch = self._batch = parsed.batch
            answer = await served.predict(batch, self._since)
            content, json_length = await rest.in_thread(codec.encode, parsed, answer, served.plane, self._id)
            told = await rest.in_thread(served.plane.recorded, batch, answer)
            self._finish(content, json_length, told)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        batch = self._batch
        # Values of refused rows are not told: the violations say all there is to count.
        violations = error.violations if isinstance(error, InvalidInput) else ()
        status, content, more = _failure(error, self._id, rows_of(batch, violations))
        told = self._served.plane.recorded(batch, None) if status == 500 and batch is not None else NOTHING
        self._answer(status, _JSON + _id_line(self._id) + more, content, told, violations)

    def _answer(
        self,
        status: int,
        headers: bytes,
        content: bytes,
        told: Recorded,
        violations: Sequence[tuple[str, str, int]] = (),
    ) -> None:
        self._request.respond(status, headers, content)
        served = self._served
        served.counters.ended()
        rows, seconds = rows_of(self._batch, violations), time.monotonic() - self._since
        served.tell(self._protocol, self._id, self._arrived, seconds, status, rows, told, list(violations))


def _id_line(call_id: str) -> bytes:
    return b"x-prediction-id: %b\r\n" % call_id.encode()


def _binary(json_length: int) -> bytes:
    return b"%binference-header-content-length: %d\r\n" % (_BINARY, json_length)


def _error(message: str) -> bytes:
    return orjson.dumps({"error": message})


def _failure(error: Exception, call_id: str, rows: int) -> tuple[int, bytes, bytes]:
    """Status, body and further headers in place of an answer."""
    if isinstance(error, InvalidInput):
        return error.status, _error(str(error)), _retry_after(1) if error.status == 503 else b""
    if isinstance(error, DeadlineExceeded):
        return error.status, _error(str(error)), b""
    if isinstance(error, Overloaded):
        return error.status, _error(str(error)), _retry_after(error.retry_after)
    # The last line of defence: the client learns nothing but the id, the log has all.
    logs.failure("prediction_failed", prediction_id=call_id, rows=rows)
    return 500, orjson.dumps({"error": "internal error", "request_id": call_id}), b""


def _retry_after(seconds: int) -> bytes:
    return b"retry-after: %d\r\n" % seconds
