"""The operator's process: what is started, in which order, and how it ends.

First everything is listed; then turns are taken. On SIGTERM running turns are finished, then all else is ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass

from lightkube.config.kubeconfig import SingleConfig

from seamark.errors import Conflict, NotFound, SeamarkError
from seamark_kubernetes import handlers, server, watched
from seamark_kubernetes.alertmanager import AlertManager
from seamark_kubernetes.api import Api
from seamark_kubernetes.apply import Applier
from seamark_kubernetes.client import Client
from seamark_kubernetes.confirm import Confirmer
from seamark_kubernetes.evidence import Evidences
from seamark_kubernetes.gather import Gatherer
from seamark_kubernetes.hinted import hinted
from seamark_kubernetes.inbox import Inbox
from seamark_kubernetes.loop import Loop, Turn
from seamark_kubernetes.refusals import Refusals
from seamark_kubernetes.settings import Settings
from seamark_kubernetes.shelf import Key
from seamark_kubernetes.telemetry import Telemetry
from seamark_kubernetes.turn import Turns
from seamark_kubernetes.watch import Cluster
from seamark_kubernetes.watching import Watching

__all__ = ["serve"]

log = logging.getLogger("seamark.operator")

#: Seconds before the inbox is read again.
PAUSE = 2.0


@dataclass(slots=True)
class _Parts:
    cluster: Cluster
    loop: Loop
    inbox: Inbox
    telemetry: Telemetry
    is_ready: bool = False

    def unready(self) -> str:
        """Why turns are not taken yet; "" once they are."""
        if self.is_ready:
            return ""
        missing = self.cluster.missing
        return f"Cannot take turns yet: waiting for {', '.join(missing) if missing else 'the inbox'}"

    def age(self) -> float:
        """Starting anew does not help against an API server that does not answer at the start."""
        return self.loop.age() if self.is_ready else 0.0

    def passed(self) -> None:
        self.telemetry.passed()
        self.telemetry.deployments(len(self.cluster.deployments))


async def serve(settings: Settings, config: SingleConfig) -> int:
    """Until SIGTERM or SIGINT: 0; 1 when a part fails that never should. Raises `Conflict` if the port is taken."""
    stop = _stop_by_signal()
    async with AsyncExitStack() as stack:
        parts = await _assemble(stack, settings, config)
        work = [
            asyncio.create_task(parts.cluster.run(), name="watch"),
            asyncio.create_task(_take_turns(parts, settings), name="turns"),
        ]
        log.info("event=started namespace=%s watch=%s", settings.namespace, ",".join(settings.watch) or "*")
        try:
            return await _until(stop, work)
        finally:
            await parts.loop.stop()
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            log.info("event=stopped")


def _stop_by_signal() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _assemble(stack: AsyncExitStack, settings: Settings, config: SingleConfig) -> _Parts:
    """Everything, not yet running but for the web server; the stack closes it."""
    telemetry = Telemetry()
    client = Client(config, telemetry.api_call)
    stack.push_async_callback(client.close)
    inbox = Inbox(client, settings.namespace)
    stack.push_async_callback(inbox.close)
    # The two need each other: what changes wakes a turn, and a turn reads what is known.
    cluster = Cluster(client, settings.watch, lambda key: parts.loop.wake(key))
    turn = _turn(stack, settings, client, cluster, inbox, telemetry)
    parts = _Parts(cluster, Loop(turn, on_pass=lambda: parts.passed()), inbox, telemetry)
    await _listen(stack, settings, parts)
    return parts


def _turn(
    stack: AsyncExitStack, settings: Settings, api: Api, cluster: Cluster, inbox: Inbox, telemetry: Telemetry
) -> Turn:
    evidences, confirmer = Evidences(settings.analyzer), Confirmer(settings, api)
    stack.push_async_callback(evidences.close)
    stack.push_async_callback(confirmer.close)
    alertmanager = None
    if settings.alertmanager:
        alertmanager = AlertManager(settings.alertmanager, on_ignored=telemetry.alerts_ignored)
        stack.push_async_callback(alertmanager.close)
    refusals = Refusals()
    gatherer = Gatherer(cluster, evidences, confirmer, alertmanager, refusals)
    turns = Turns(settings, api, cluster, Applier(api, settings, refusals), gatherer, telemetry=telemetry)

    async def turn(key: Key) -> float | None:
        try:
            return await turns.turn(key)
        except NotFound:
            # Perhaps the ModelDeployment is gone, and nobody told.
            cluster.doubt(key)
            raise

    return hinted(turn, inbox, alertmanager)


async def _listen(stack: AsyncExitStack, settings: Settings, parts: _Parts) -> None:
    watching = Watching(parts.cluster)
    app = server.make_app(
        inbox=parts.inbox,
        is_known=parts.cluster.deployments.__contains__,
        wake=parts.loop.wake,
        watch=lambda: watched.document(watching.items()),
        age=parts.age,
        unready=parts.unready,
        telemetry=parts.telemetry,
        token_file=settings.alert_token,
    )
    try:
        runner, port = await server.serve(app, "0.0.0.0", settings.port)
    except OSError as error:
        cause = os.strerror(error.errno).lower() if error.errno else str(error)
        raise Conflict(f"Cannot listen on port {settings.port}: {cause}") from error
    stack.push_async_callback(runner.cleanup)
    log.info("event=listening port=%d", port)


async def _take_turns(parts: _Parts, settings: Settings) -> None:
    """Until the loop is stopped. No turn before all is known: what is missing would be taken for not there."""
    await parts.cluster.wait_synced()
    await _load(parts.inbox)
    parts.is_ready = True
    log.info("event=ready deployments=%d", len(parts.cluster.deployments))
    cluster = parts.cluster
    kopf = asyncio.create_task(handlers.run(settings.watch, cluster.put_deployment, cluster.drop_deployment))
    try:
        await parts.loop.run()
    finally:
        kopf.cancel()
        await asyncio.gather(kopf, return_exceptions=True)


async def _load(inbox: Inbox) -> None:
    while True:
        try:
            return await inbox.load()
        except SeamarkError as error:
            log.warning("event=inbox_not_read error=%r", str(error))
            await asyncio.sleep(PAUSE)


async def _until(stop: asyncio.Event, work: list[asyncio.Task[None]]) -> int:
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if stop.is_set():
        log.info("event=stopping")
        return 0
    for task in done:
        log.error("event=failed part=%s", task.get_name(), exc_info=None if task.cancelled() else task.exception())
    return 1
