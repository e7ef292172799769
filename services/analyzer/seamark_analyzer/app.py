"""The HTTP interface: evidence, metrics, health."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from seamark.errors import NotFound, SeamarkError, Unavailable
from seamark_analyzer.analyzer import Analyzer
from seamark_analyzer.logs import event
from seamark_analyzer.scrape import DirectSource

__all__ = ["build_app"]

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_STATUS: tuple[tuple[type[SeamarkError], int], ...] = ((NotFound, 404), (Unavailable, 503), (SeamarkError, 400))


def build_app(analyzer: Analyzer, source: DirectSource) -> FastAPI:
    """The application; while it is up the analyzer runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(analyzer.run())
        running.add_done_callback(_stop_if_failed)
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await analyzer.close()
        await source.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _answer_errors(app)
    _add_health(app, analyzer)

    @app.get("/v1/models")
    async def list_models() -> Response:
        return _json({"models": analyzer.models()})

    @app.get("/v1/models/{name:path}/evidence")
    async def get_evidence(name: str) -> Response:
        return _json(analyzer.evidence(name))

    @app.get("/metrics")
    async def get_metrics() -> Response:
        return Response(analyzer.metrics(), media_type=_TEXT)

    @app.get("/federate")
    async def federate() -> Response:
        return Response(analyzer.federate(), media_type=_TEXT)

    return app


def _stop_if_failed(running: asyncio.Task[None]) -> None:
    """Without its loop the process only looks alive: end it, so that it is started anew."""
    error = None if running.cancelled() else running.exception()
    if error is not None:
        event("stopping", problem=f"{type(error).__name__}: {error}")
        signal.raise_signal(signal.SIGTERM)


def _add_health(app: FastAPI, analyzer: Analyzer) -> None:
    @app.get("/healthz")
    async def is_alive() -> Response:
        return _json({"alive": True})

    @app.get("/readyz")
    async def is_ready() -> Response:
        if analyzer.problem:
            return _json({"ready": False, "error": analyzer.problem}, 503)
        warning = {"warning": analyzer.warning} if analyzer.warning else {}
        return _json({"ready": True, **warning})


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(SeamarkError)
    async def answer_known(_: Request, error: SeamarkError) -> Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return _json({"error": str(error)}, status)

    @app.exception_handler(HTTPException)
    async def answer_protocol(_: Request, error: HTTPException) -> Response:
        return _json({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def answer_unknown(request: Request, error: Exception) -> Response:
        number = request.headers.get("x-request-id", "")[:128] or str(uuid.uuid4())
        event("internal_error", request_id=number, path=request.url.path, problem=f"{type(error).__name__}: {error}")
        return _json({"error": "internal error", "requestId": number}, 500)


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
