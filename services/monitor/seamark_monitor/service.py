"""The life of the process: wait for the package, start the parts, run until told to stop, drain.

Containers of a Pod are told to stop together, and the predictor still answers for a while. So after SIGTERM the
monitor goes on while a predictor is connected or events come, and then tries to deliver what is left; each for at most
`last_delivery` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from seamark.errors import Conflict, NotFound
from seamark_monitor import cursor as cursors
from seamark_monitor import logs
from seamark_monitor.app import make_app, make_waiting_app
from seamark_monitor.counters import Counters
from seamark_monitor.drops import Drops
from seamark_monitor.events import Pairing
from seamark_monitor.exposition import Exposition
from seamark_monitor.inlet import Inlet
from seamark_monitor.intake import Intake
from seamark_monitor.server import Server, listen, shown
from seamark_monitor.settings import Settings
from seamark_monitor.shipper import Shipper
from seamark_monitor.spool import Spool
from seamark_monitor.watched import Watched, load, missing

__all__ = ["run"]

#: Seconds between fsyncs: what a power cut may cost.
SYNC_INTERVAL = 0.2
#: Seconds between looks for the package, and at what a stopping monitor waits for.
LOOK_INTERVAL, DRAIN_INTERVAL = 0.25, 0.02


def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; raises `UserError` for what the user can mend."""
    is_late = settings.wait > 0 and missing(settings.package) is not None
    watched = None if is_late else load(settings.package)
    lock = _lock(settings.spool)
    listener = listen(settings.host, settings.port)
    try:
        asyncio.run(_serve(settings, watched, listener))
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


async def _serve(settings: Settings, watched: Watched | None, listener: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cause = "starting" if watched else f"the package {settings.package} is not there"
    server = Server(make_waiting_app(f"Cannot serve yet: {cause}"), listener)
    try:
        watched = watched or await _late(settings, stop)
        if watched is not None:
            await _Service(settings, watched).serve(server, stop, shown(listener))
    finally:
        await server.stop()


async def _late(settings: Settings, stop: asyncio.Event) -> Watched | None:
    """The package once it is there; None when told to stop before. Raises `UserError` after `wait` seconds."""
    logs.event("waiting", package=settings.package, seconds=settings.wait)
    deadline = time.monotonic() + settings.wait
    while (path := missing(settings.package)) is not None:
        if time.monotonic() >= deadline:
            raise NotFound(f"Cannot read {path}: it did not appear within {settings.wait:g} seconds")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_INTERVAL)
            return None
    return load(settings.package)


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
        self._shipper = Shipper(
            settings.spool, cursor, self._spool, settings.collector, settings.token, labels, watched.schema, drops
        )
        exposition = Exposition(labels, watched, counters, drops, self._spool)
        self._app = make_app(intake, self._pairing, exposition, drops, watched.files, self._unready)

    def _unready(self) -> str:
        return "" if self._inlet.listening else f"not listening on {self._settings.socket}"

    async def serve(self, server: Server, stop: asyncio.Event, address: str) -> None:
        await self._inlet.start()
        server.app = self._app
        syncing = asyncio.create_task(self._sync())
        shipping = asyncio.create_task(self._shipper.run())
        stopping = asyncio.create_task(stop.wait())
        # What is here now stays: collections of garbage, which the records of predictions set off, need not look at it.
        gc.collect()
        gc.freeze()
        logs.event("started", address=address, socket=self._settings.socket, spool=self._settings.spool)
        await asyncio.wait({server.task, syncing, shipping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await self._stop(server, [syncing, shipping, stopping])

    async def _stop(self, server: Server, tasks: list[asyncio.Task[object]]) -> None:
        """Drains what was received; a task that ended by itself failed, and so does the process."""
        failures = [error for task in tasks if task.done() and (error := task.exception())]
        if not failures:
            await self._until(lambda: not self._inlet.connected and not self._pairing.busy)
        await self._inlet.drain()
        await server.stop()
        await self._spool.sync()
        if not failures:
            await self._until(lambda: not self._spool.waiting_bytes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._spool.close()
        logs.event("stopped", waiting_bytes=self._spool.waiting_bytes)
        if failures:
            raise failures[0]

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Returns when it holds, or after `last_delivery` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.last_delivery):
                while not holds():  # noqa: ASYNC110 - neither senders nor the spool tell the event loop
                    await asyncio.sleep(DRAIN_INTERVAL)

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
