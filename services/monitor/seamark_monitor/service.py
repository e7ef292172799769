"""The life of the process: start the parts, run until told to stop, drain."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from seamark.errors import Conflict
from seamark_monitor import cursor as cursors
from seamark_monitor import logs
from seamark_monitor.app import make_app
from seamark_monitor.counters import Counters
from seamark_monitor.drops import Drops
from seamark_monitor.events import Pairing
from seamark_monitor.exposition import Exposition
from seamark_monitor.inlet import Inlet
from seamark_monitor.intake import Intake
from seamark_monitor.settings import Settings
from seamark_monitor.shipper import Shipper
from seamark_monitor.spool import Spool
from seamark_monitor.watched import Watched, load

__all__ = ["run"]

#: Seconds between fsyncs: what a power cut may cost.
SYNC_INTERVAL = 0.2
#: Seconds that a stopping monitor still tries to deliver.
LAST_DELIVERY = 2.0
_MOST_HTTP_CONNECTIONS = 128


def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; raises `UserError` for what the user can mend."""
    watched = load(settings.package)
    lock = _lock(settings.spool)
    listener = _listen(settings.host, settings.port)
    try:
        asyncio.run(_Service(settings, watched).serve(listener))
    finally:
        listener.close()
        os.close(lock)


def _lock(folder: Path) -> int:
    """Makes the spool this process's alone; the system lets go when the process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise Conflict(f"Cannot use spool {folder}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Conflict(f"Cannot use spool {folder}: another monitor uses it") from error
    return descriptor


def _listen(host: str, port: int) -> socket.socket:
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


class _Server(uvicorn.Server):
    """Leaves the signals to the service: it drains before the server stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Service:
    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings = settings
        labels = (settings.namespace, settings.deployment, settings.revision)
        drops = Drops()
        cursor = _load_cursor(settings)
        self._spool = Spool(settings.spool, settings.spool_limit, cursor.start, drops, cursor.end)
        counters = Counters(watched)
        intake = Intake(watched.schema, counters, self._spool, drops)
        self._pairing = Pairing(watched.schema, drops, time.monotonic, time.time)
        self._inlet = Inlet(settings.socket, intake.take_frame, drops)
        self._shipper = Shipper(settings.spool, cursor, self._spool, settings.collector, labels, watched.schema, drops)
        exposition = Exposition(labels, watched, counters, drops, self._spool)
        self._app = make_app(intake, self._pairing, exposition, drops, self._unready)

    def _unready(self) -> str:
        return "" if self._inlet.listening else f"not listening on {self._settings.socket}"

    async def serve(self, listener: socket.socket) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = _server(self._app)
        await self._inlet.start()
        http = asyncio.create_task(server.serve(sockets=[listener]))
        syncing = asyncio.create_task(self._sync())
        shipping = asyncio.create_task(self._shipper.run())
        stopping = asyncio.create_task(stop.wait())
        logs.event("started", address=_shown(listener), socket=self._settings.socket, spool=self._settings.spool)
        await asyncio.wait({http, syncing, shipping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await self._stop(server, http, [syncing, shipping, stopping])

    async def _stop(self, server: uvicorn.Server, http: asyncio.Task[None], tasks: list[asyncio.Task[object]]) -> None:
        """Drains what was received; a task that ended by itself failed, and so does the process."""
        await self._inlet.drain()
        server.should_exit = True
        await http
        await self._spool.sync()
        failures = [error for task in tasks if task.done() and (error := task.exception())]
        if not failures:
            await self._last_delivery()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._spool.close()
        logs.event("stopped", waiting_bytes=self._spool.waiting_bytes)
        if failures:
            raise failures[0]

    async def _last_delivery(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_DELIVERY):
                while self._spool.waiting_bytes:  # noqa: ASYNC110 - the spool knows no event loop
                    await asyncio.sleep(0.02)

    async def _sync(self) -> None:
        while True:
            await self._spool.sync()
            self._pairing.expire()
            await asyncio.sleep(SYNC_INTERVAL)


def _load_cursor(settings: Settings) -> cursors.Cursor:
    try:
        return cursors.load(settings.spool, settings.source)
    except OSError as error:
        raise Conflict(f"Cannot use spool {settings.spool}: {error.strerror or error}") from error


def _server(app: FastAPI) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            limit_concurrency=_MOST_HTTP_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
    )


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"
