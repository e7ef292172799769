"""The HTTP face: what is asked for, checked, and handed to the writer."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from seamark.errors import InvalidInput, NotFound, SeamarkError, Unavailable
from seamark_collector import export, labels, rows
from seamark_collector.access import Access, check_scope
from seamark_collector.body import Bodies
from seamark_collector.names import TableName
from seamark_collector.overview import overview
from seamark_collector.stream import Exports
from seamark_collector.writer import Append, Stored, Writer

__all__ = ["make_app"]

log = logging.getLogger(__name__)

#: With less free space than this the log takes nothing more: compaction needs room to make room.
MIN_FREE = 64 * 1024 * 1024
RETRY_AFTER = "1"
#: Not read as JSON although it mostly is: any web page may post it from a visitor's browser, and labels are trusted.
CURLS_DEFAULT = "application/x-www-form-urlencoded"
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


#: What needs no token, and what has one of its own. All else, routes of a later day too, needs one of the log's.
OPEN = frozenset({"/healthz", "/readyz"})
FEEDBACK = "/v1/feedback"


def make_app(root: str, access: Access) -> FastAPI:
    """The collector's app; its writer runs as long as the app's lifespan."""
    writer, bodies, exports = Writer(root), Bodies(), Exports()

    async def admit(request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        if request.url.path == FEEDBACK:
            access.check_feedback(authorization)
        elif request.url.path not in OPEN:
            request.state.scope = access.scope(authorization)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        writer.start()
        yield
        await asyncio.to_thread(writer.stop)

    app = FastAPI(title="Seamark collector", lifespan=lifespan, openapi_url=None, dependencies=[Depends(admit)])
    app.add_exception_handler(SeamarkError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_failure)

    @app.post("/v1/batches")
    async def batches(request: Request) -> dict[str, Any]:
        _content_type(request, "application/msgpack", "application/x-msgpack")
        async with bodies.read(request) as body:
            append = await asyncio.to_thread(_predictions, body, request.state.scope)
            return _stored(await _store(writer, append)) if append.rows.num_rows else {"stored": 0}

    @app.post(FEEDBACK)
    async def feedback(request: Request) -> dict[str, Any]:
        kind = _content_type(request, "application/json", "text/csv")
        key = _idempotency_key(request)
        async with bodies.read(request) as body:
            query = dict(request.query_params)
            append = await asyncio.to_thread(_labels, kind, body, query, key)
            return _stored(await _store(writer, append))

    @app.get("/v1/log/{namespace}/{deployment}")
    async def log_overview(request: Request, namespace: str, deployment: str) -> dict[str, Any]:
        check_scope(request.state.scope, f"read/{namespace}/{deployment}")
        return await asyncio.to_thread(overview, root, namespace, deployment)

    @app.get("/v1/export/{namespace}/{deployment}/{kind}")
    async def export_table(request: Request, namespace: str, deployment: str, kind: str) -> Response:
        check_scope(request.state.scope, f"read/{namespace}/{deployment}")
        columns, since = (request.query_params.get(name) for name in ("columns", "since"))
        found = await asyncio.to_thread(export.find, root, namespace, deployment, kind, columns, since)
        return exports.response(found)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        reason = access.problem or await asyncio.to_thread(_unready, root, writer)
        return JSONResponse({"error": reason}, 503) if reason else JSONResponse({"status": "ok"})

    return app


async def _store(writer: Writer, append: Append) -> Stored:
    writer.submit(append)
    # Shielded: a client that goes away must not cancel what others are told about.
    return await asyncio.shield(asyncio.wrap_future(append.done))


def _stored(stored: Stored) -> dict[str, Any]:
    return {"stored": 0, "repeated": True} if stored.repeated else {"stored": stored.rows}


def _predictions(body: bytes, scope: str | None) -> Append:
    batch = rows.decode(body)
    check_scope(scope, f"write/{batch.namespace}/{batch.deployment}")
    name = TableName("predictions", batch.namespace, batch.deployment)
    return Append(name, rows.to_rows(batch), batch.source, batch.sequence)


def _labels(kind: str, body: bytes, query: dict[str, str], key: str) -> Append:
    if kind == "text/csv":
        if "deployment" not in query:
            raise InvalidInput("Cannot store feedback: the address of CSV needs ?deployment=NAME")
        feedback = labels.from_csv(body, query.get("namespace", "default"), query["deployment"])
    else:
        feedback = labels.from_json(body)
    name = TableName("labels", feedback.namespace, feedback.deployment)
    # The prefix keeps a caller's key apart from the writer's own source.
    source = f"key-{key}" if key else ""
    return Append(name, labels.to_rows(feedback, key, time.time_ns() // 1000), source, sequence=1)


def _content_type(request: Request, *allowed: str) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in allowed:
        return kind
    hint = f"; say so with -H 'content-type: {allowed[0]}'" if kind == CURLS_DEFAULT else ""
    raise InvalidInput(f"Cannot read content type {kind[:80]!r}; allowed: {', '.join(allowed)}{hint}", status=415)


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if key and not _KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key: is not 1 to 128 printable ASCII characters without spaces")
    return key


def _unready(root: str, writer: Writer) -> str:
    """Why nothing can be stored now, or ""."""
    if not writer.alive:
        return "Cannot write the log: the writer has ended"
    return writer.problem if "://" in root else _unwritable(Path(root)) or writer.problem


def _unwritable(root: Path) -> str:
    probe = root / f".probe-{uuid.uuid4().hex}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
        if free < MIN_FREE:
            return f"Cannot write {root}: {free} bytes are free; at least {MIN_FREE} are needed"
        probe.write_bytes(bytes(4096))
    except OSError as error:
        return f"Cannot write {root}: {error.strerror}"
    finally:
        probe.unlink(missing_ok=True)
    return ""


async def _on_error(_: Request, error: Exception) -> JSONResponse:
    match error:
        case InvalidInput(status=status):
            challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            return JSONResponse({"error": str(error)}, status, headers=challenge)
        case NotFound():
            return JSONResponse({"error": str(error)}, 404)
        case Unavailable():
            return JSONResponse({"error": str(error)}, 503, headers={"Retry-After": RETRY_AFTER})
        case _:
            return JSONResponse({"error": str(error)}, 400)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path, allowed = repr(request.url.path[:100]), (error.headers or {}).get("Allow", "")
    known = {404: f"Cannot find {path}", 405: f"Cannot {request.method[:20]} {path}: allowed: {allowed}"}
    return JSONResponse({"error": known.get(error.status_code, str(error.detail))}, error.status_code, error.headers)


async def _on_failure(request: Request, error: Exception) -> JSONResponse:
    identity = request.headers.get("x-request-id", "")[:128] or str(uuid.uuid4())
    log.error("event=request_failed path=%s request=%s error=%r", request.url.path, identity, error, exc_info=error)
    return JSONResponse({"error": "internal error", "request": identity}, 500)
