"""The HTTP side: health, metrics, and the inlet for KServe's payload logger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from seamark.errors import InvalidInput
from seamark_monitor.drops import Drops
from seamark_monitor.events import Pairing
from seamark_monitor.exposition import Exposition
from seamark_monitor.intake import Intake

__all__ = ["make_app", "make_waiting_app"]

LONGEST_BODY = 16 * 1024 * 1024
#: Bytes of event bodies in memory at a time, all requests together; more are told to come later.
_MOST_BYTES = 48 * 1024 * 1024
#: Seconds for a body to arrive.
_BODY_TIMEOUT = 30.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Bodies:
    """Reads bodies within the bounds on each and on all."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, request: Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_TIMEOUT):
                async for chunk in request.stream():
                    size += len(chunk)
                    self._held += len(chunk)
                    self._check(size)
                    parts.append(chunk)
        except TimeoutError as error:
            raise _RefusedError(408, f"Cannot read body: it took more than {_BODY_TIMEOUT:.0f} seconds") from error
        finally:
            self._held -= size
        return b"".join(parts)

    def _check(self, size: int) -> None:
        if size > LONGEST_BODY:
            raise _RefusedError(413, f"Cannot read body: it is larger than {LONGEST_BODY} bytes")
        if self._held > _MOST_BYTES:
            raise _RefusedError(503, "Cannot read body: too many bodies at a time")


def make_waiting_app(reason: str) -> FastAPI:
    """Alive, and nothing else yet."""
    app = _alive()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def later(path: str) -> JSONResponse:  # noqa: ARG001  # the route's
        return JSONResponse({"error": reason}, 503, {"retry-after": "1"})

    return app


def _alive() -> FastAPI:
    app = FastAPI(title="Seamark monitor", openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    return app


def make_app(
    intake: Intake,
    pairing: Pairing,
    exposition: Exposition,
    drops: Drops,
    files: Mapping[str, bytes],
    unready: Callable[[], str],
) -> FastAPI:
    """files: of the package, by name. `unready` says why the service cannot do its job now; "" when it can."""
    app = _alive()
    bodies = _Bodies()

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        reason = unready()
        return JSONResponse({"error": reason}, 503) if reason else JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        intake.settle()
        return Response(exposition.text(), media_type=_TEXT)

    @app.get("/package/{name}")
    async def package(name: str) -> Response:
        if name not in files:
            return JSONResponse({"error": f"Cannot find {name[:80]!r} in the package"}, 404)
        return Response(files[name], media_type="application/json")

    @app.post("/")
    async def event(request: Request) -> JSONResponse:
        try:
            body = await bodies.read(request)
            prediction = pairing.add(request.headers, body)
        except _RefusedError as error:
            drops.add("bad_event")
            return JSONResponse({"error": str(error)}, error.status, {"connection": "close"})
        except InvalidInput as error:
            return JSONResponse({"error": str(error)}, 400)
        if prediction is not None:
            intake.take(prediction)
        return JSONResponse({"joined": prediction is not None}, 202)

    @app.exception_handler(500)
    async def internal_error(request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"error": "internal error", "id": request.headers.get("ce-id", "")[:128]}, 500)

    return app
