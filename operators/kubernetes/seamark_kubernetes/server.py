"""The operator's HTTP face: alerts in; the analyzer's config, health and metrics out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ETag, web

from seamark_kubernetes.answers import answer_errors, problem, say
from seamark_kubernetes.inbox import Inbox, Key
from seamark_kubernetes.telemetry import Telemetry
from seamark_kubernetes.webhook import MAX_BODY, Webhook

__all__ = ["make_app", "serve"]

#: When work waits for so many seconds and nothing gets done, the operator is stuck: it is to be started anew.
STUCK = 120.0


def make_app(
    *,
    inbox: Inbox,
    is_known: Callable[[Key], bool],
    wake: Callable[[Key], None],
    watch: Callable[[], Mapping[str, Any]],
    age: Callable[[], float],
    unready: Callable[[], str],
    telemetry: Telemetry,
    token_file: Path | None = None,
) -> web.Application:
    """The operator's app.

    is_known: is there such a ModelDeployment? wake: let the deployment take its turn now. watch: the analyzer's config.
    age: seconds without progress (`Loop.age`). unready: why the operator cannot do its job yet, or "": until then
    ModelDeployments may be unknown, and alerts are sent away to come again. token_file: the bearer token of alerts;
    without it none are taken.
    """
    app = web.Application(client_max_size=MAX_BODY, middlewares=[answer_errors])
    webhook = Webhook(inbox, is_known, wake, unready, telemetry, token_file)

    async def watched(request: web.Request) -> web.Response:
        if reason := unready():
            # An empty list would make the analyzer forget every window and alarm.
            return problem(503, reason)
        return _tagged(request, msgspec.json.encode(watch()))

    async def healthz(_: web.Request) -> web.Response:
        seconds = age()
        if seconds > STUCK:
            return problem(503, f"Cannot keep up: nothing was finished for {seconds:.0f} s; allowed: {STUCK:g}")
        return say({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        reason = unready()
        return problem(503, reason) if reason else say({"status": "ok"})

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=telemetry.text(), headers=headers)

    app.router.add_post("/v1/alerts", webhook.receive)
    app.router.add_get("/v1/watch", watched)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Listen; returns what to `cleanup()` at the end, and the port (port 0 takes a free one)."""
    # Alertmanager sends plain JSON. What comes packed is not unpacked: a small bomb would become a big one.
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=75.0,
        lingering_time=1.0,
        shutdown_timeout=5.0,
    )
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner, int(runner.addresses[0][1])


def _tagged(request: web.Request, body: bytes) -> web.Response:
    """The body, or 304 if the asker has it already."""
    tag = hashlib.sha256(body).hexdigest()[:32]
    given = {known.value for known in request.if_none_match or ()}
    response = web.Response(status=304) if given & {tag, "*"} else web.Response(body=body)
    if response.status == 200:
        response.content_type = "application/json"
    response.etag = ETag(tag)
    return response
