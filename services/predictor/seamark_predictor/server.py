"""The process: load, listen, serve, and on SIGTERM or SIGINT drain and stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from seamark.errors import Conflict, UserError
from seamark_predictor import formats, logs, package
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.feed import Feed, NoFeed
from seamark_predictor.rest import Rest, Served

__all__ = ["Settings", "leave", "load", "serve"]

#: Connections at the same time, idle ones included; more wait in the kernel's queue.
_CONNECTIONS = 1024
#: Milliseconds a connection may stay idle or take to send its headers. Longer than gateways keep idle connections.
_IDLE = 75_000
#: Seconds of --drain-delay: an hour is more than any gateway needs to notice.
_LONGEST_DELAY = 3600.0
#: Seconds for requests in flight, then for the monitor's feed, when stopping.
_DRAIN = 6.0
_FLUSH = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says.

    digest: the package's, or None for any. revision None means `<name>-<first 8 of the digest>`. body_limit: bytes;
    drain_delay: seconds.
    """

    name: str
    package: Path
    digest: str | None
    revision: str | None
    monitor: str | None
    reject: bool
    trust_pickle: bool
    host: str
    port: int
    body_limit: int
    drain_delay: float


def load(settings: Settings) -> Dataplane:
    """The model, verified and warm; raises `InvalidPackage`."""
    content = package.read(settings.package, settings.digest)
    model = formats.load(content, trust_pickle=settings.trust_pickle)
    revision = settings.revision or f"{settings.name}-{content.digest[:8]}"
    plane = Dataplane(content, model, name=settings.name, revision=revision, reject=settings.reject)
    plane.warm_up()
    return plane


def serve(settings: Settings) -> None:
    """Serves until told to stop; raises `UserError`."""
    if settings.body_limit < 1:
        raise UserError(f"Cannot use --body-limit: {settings.body_limit} bytes are less than 1")
    if not 0 <= settings.drain_delay <= _LONGEST_DELAY:
        raise UserError(f"Cannot use --drain-delay: {settings.drain_delay:g} is not between 0 and {_LONGEST_DELAY:g}")
    # Before the model is loaded, which may take long, and again before listening.
    _port_is_free(settings.host, settings.port)
    plane = load(settings)
    feed = Feed(settings.monitor, plane.revision) if settings.monitor else NoFeed()
    rest = Rest([Served(plane, feed)], settings.body_limit)
    _port_is_free(settings.host, settings.port)
    asyncio.run(_listen(rest, settings, plane.revision))
    rest.close()
    feed.close(_FLUSH)
    logs.event("stopped")


async def _listen(rest: Rest, settings: Settings, revision: str) -> None:
    server = Server(
        rest.handle,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_IDLE),
        websockets=False,
        backlog=_CONNECTIONS,
        backpressure=_CONNECTIONS,
        log_enabled=False,
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    serving = loop.create_task(server.serve())
    logs.event("serving", model=settings.name, revision=revision, host=settings.host, port=settings.port)
    stop = loop.create_task(stopping.wait())
    await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        raise RuntimeError("the HTTP server ended by itself")
    rest.ready = False
    logs.event("draining", seconds=settings.drain_delay)
    # Gateways learn late that this server leaves; until then they send it new requests.
    await asyncio.wait((serving,), timeout=settings.drain_delay)
    server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
    with suppress(TimeoutError):
        await asyncio.wait_for(serving, _DRAIN)
    stop.cancel()


def _port_is_free(host: str, port: int) -> None:
    """Raises `Conflict`, for port 0 too: nobody would learn which port it became.

    The server itself listens with SO_REUSEPORT and would share a taken port without a word.
    """
    if not 1 <= port <= 65535:
        raise Conflict(f"Cannot listen on {host}:{port}: the port is not between 1 and 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Conflict(f"Cannot listen on {host}:{port}: {error.strerror}") from error


def leave(status: int) -> None:
    """Ends the process at once: the HTTP server's threads may still touch an interpreter that is being torn down."""
    os._exit(status)
