"""`seamark up`: check everything first, take the home, then supervise in the foreground until told to stop."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from seamark.errors import Conflict, UserError
from seamark_local import lock, manifests, ports
from seamark_local.envoy import write_bootstrap
from seamark_local.home import Home, find_home, make_home
from seamark_local.progress import Progress
from seamark_local.stack import fixed_processes
from seamark_local.store import Store
from seamark_local.supervisor import Supervisor

__all__ = ["Options", "apply", "up"]

#: Bytes of the supervisor's own log; as much again of the one before.
MAX_LOG = 2**20


@dataclass(frozen=True, slots=True)
class Options:
    """host and port: where the gateway listens. prune: deployments that no file names are deleted."""

    home: Path
    files: Sequence[Path] = ()
    host: str = ports.LOOPBACK
    port: int = 8080
    prune: bool = False
    quiet: bool = False


def up(options: Options) -> None:
    """Returns after SIGTERM, SIGINT or SIGHUP, with nothing left running.

    Raises `UserError` before anything is started.
    """
    given = manifests.read(options.files)
    manifests.check_models(given)
    home = make_home(options.home) if given else find_home(options.home)
    with lock.hold(home.lock):
        if cause := ports.bind_error(options.host, options.port):
            raise Conflict(f"Cannot listen on {options.host}:{options.port}: {cause}; choose another with --port")
        store = Store(home.database)
        try:
            apply(store, given, prune=options.prune)
            if not store.manifests():
                raise UserError(f"Cannot start: {options.home} holds no manifest; give one with -f FILE.yaml")
            _prepare(store, home, options)
            _log_to(home)
            asyncio.run(_supervise(store, home, options))
        finally:
            store.close()


def apply(store: Store, given: Sequence[manifests.Given], prune: bool = False) -> list[tuple[str, str]]:
    """Take up manifests, all or none. Returns (name, `created` | `configured` | `unchanged` | `deleted`)."""
    before = {manifest.name: manifest.generation for manifest in store.manifests()}
    store.apply({manifest.deployment.name: manifest.document for manifest in given})
    after = {manifest.name: manifest.generation for manifest in store.manifests()}
    named = [manifest.deployment.name for manifest in given]
    done = [(name, _what_happened(before.get(name), after[name])) for name in named]
    dropped = sorted(set(before) - set(named)) if prune and given else []
    for name in dropped:
        store.forget(name)
    return done + [(name, "deleted") for name in dropped]


def _what_happened(before: int | None, after: int) -> str:
    if before is None:
        return "created"
    return "unchanged" if before == after else "configured"


def _prepare(store: Store, home: Home, options: Options) -> None:
    """Envoy's start-up file, the facts that others read, and the processes that every home runs."""
    known = (store.fact("gateway") or {}).get("admin", 0)
    is_usable = known and known != options.port and ports.is_free(known)
    admin = known if is_usable else ports.free_port(avoid={options.port})
    write_bootstrap(home.root, options.port, admin, options.host)
    store.set_fact("gateway", {"host": options.host, "port": options.port, "admin": admin})
    store.set_fact("supervisor", {"pid": os.getpid(), "started": time.time()})
    store.desire(fixed_processes(home, admin))


def _log_to(home: Home) -> None:
    handler = logging.handlers.RotatingFileHandler(home.log_of("supervisor"), maxBytes=MAX_LOG, backupCount=1)
    handler.setFormatter(logging.Formatter("time=%(asctime)s level=%(levelname)s %(message)s"))
    logger = logging.getLogger("seamark")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


async def _supervise(store: Store, home: Home, options: Options) -> None:
    supervisor, stop = Supervisor(store, home), asyncio.Event()
    progress = Progress(Console(quiet=options.quiet), store, home, options.host, options.port)

    def end() -> None:
        # Asked twice: at once.
        if stop.is_set():
            supervisor.kill()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end)
    progress.say(f"Seamark runs in {options.home}; gateway at {options.host}:{options.port}; Ctrl-C stops everything")
    following = asyncio.create_task(progress.follow())
    try:
        await supervisor.run(stop)
    finally:
        following.cancel()
    progress.say("Stopped; seamark up goes on from here")
