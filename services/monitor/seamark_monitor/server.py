"""The HTTP server, there from the first moment of the process; what it serves may change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from seamark.errors import Conflict

__all__ = ["Server", "listen", "shown"]

_MOST_HTTP_CONNECTIONS = 128


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or `Conflict`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Conflict(f"Cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # uvicorn would find a taken port only here, too late for a clear message.
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Conflict(f"Cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


def shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to the service: it drains before the server stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Serves `app`, whichever it is at the time of a request, until `stop`. `task` ends early only where it fails."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self.app = app
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                self,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                limit_concurrency=_MOST_HTTP_CONNECTIONS,
                timeout_graceful_shutdown=1,
            )
        )
        self.task = asyncio.create_task(self._uvicorn.serve(sockets=[listener]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    async def stop(self) -> None:
        """Ends what is under way and takes no more; again is harmless."""
        self._uvicorn.should_exit = True
        await self.task
