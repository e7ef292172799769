"""HTTP answers that all of the operator's pages share."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

__all__ = ["answer_errors", "problem", "say"]

log = logging.getLogger("seamark.operator")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def say(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON."""
    body = msgspec.json.encode(content)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as JSON."""
    return say({"error": message}, status, headers)


@web.middleware
async def answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Errors that no page expects. A 500 says nothing of the inside; its number finds the line in the log."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, f"Cannot {request.method[:20]} {request.path[:100]!r}: {error.reason}", headers)
    except Exception as error:
        number = str(uuid.uuid4())
        log.exception("event=request_failed path=%.100r request=%s error=%r", request.path, number, error)
        return say({"error": "internal error", "request": number}, 500)
