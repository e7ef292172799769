"""kopf: tells of every change of a ModelDeployment the moment that it happens.

Only `on.event` is used: it needs no finalizer, so a deletion never waits for the operator, and writes no annotations.
kopf runs in a thread of its own, with its own event loop: when it ends it cancels every task of its loop, and it takes
over the signals of the main thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import kopf

from seamark.errors import UserError
from seamark_kubernetes import credentials
from seamark_kubernetes.api import MODEL_DEPLOYMENT, Document
from seamark_kubernetes.shelf import Key

__all__ = ["make_registry", "make_settings", "run"]

log = logging.getLogger("seamark.operator")

Put = Callable[[Document], None]
Drop = Callable[[Key], None]

#: Seconds for one request of kopf's, and of silence in its watch: the server sends a bookmark about every minute.
REQUEST, CONNECT, SILENCE = 30.0, 5.0, 70.0
#: Seconds before kopf is started again after it ended by an error, doubling; after PROVEN seconds they begin anew.
PAUSE, LONGEST, PROVEN = 1.0, 60.0, 60.0
#: Seconds before the next try to log in, after one that found no credentials.
LOGIN_AGAIN = 5.0
#: Seconds given to kopf to end.
GRACE = 5.0


async def run(watch: tuple[str, ...], put: Put, drop: Drop) -> None:
    """Until cancelled: tells `put` and `drop`, in this event loop. If kopf fails it is started again."""
    loop = asyncio.get_running_loop()
    pause = PAUSE
    while True:
        started = loop.time()
        error = await _in_thread(watch, put, drop)
        log.error("event=kopf_ended error=%r", str(error))
        pause = PAUSE if loop.time() - started >= PROVEN else pause
        await asyncio.sleep(pause)
        pause = min(LONGEST, 2.0 * pause)


def make_registry(put: Put, drop: Drop) -> kopf.OperatorRegistry:
    """put, drop: called in kopf's thread."""
    registry = kopf.OperatorRegistry()
    kind = MODEL_DEPLOYMENT

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        try:
            return _connection()
        except UserError as error:
            # A file that is being replaced, or a login command that has no network yet.
            raise kopf.TemporaryError(str(error), delay=LOGIN_AGAIN) from error

    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        document: Document = dict(event["object"])
        if event["type"] == "DELETED":
            drop((document["metadata"]["namespace"], document["metadata"]["name"]))
        else:
            put(document)

    return registry


def make_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # The resources to watch are known and installed beforehand: fewer rights and fewer requests.
    settings.scanning.disabled = True
    settings.networking.request_timeout = REQUEST
    settings.networking.connect_timeout = CONNECT
    settings.networking.error_backoffs = (1, 2, 5)
    settings.networking.trust_env = True
    settings.watching.connect_timeout = CONNECT
    settings.watching.inactivity_timeout = SILENCE
    settings.watching.reconnect_backoff = 1.0
    # Would kill the process from within; ending it is the main thread's part.
    settings.process.ultimate_exiting_timeout = None
    return settings


async def _in_thread(watch: tuple[str, ...], put: Put, drop: Drop) -> BaseException | None:
    """Run kopf once; what it failed with. Cancelled, it waits until kopf has ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()
    # No thread may wait for the flag: kopf would not end by itself, after an error, as long as that thread waits.
    inner, stop = asyncio.new_event_loop(), asyncio.Event()

    def put_there(document: Document) -> None:
        _call(loop, put, document)

    def drop_there(key: Key) -> None:
        _call(loop, drop, key)

    def work() -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: inner) as runner:
                runner.run(_operator(make_registry(put_there, drop_there), watch, stop))
        except BaseException as caught:  # a thread has nobody else to tell
            error = caught
        _call(loop, _end, ended, error)

    threading.Thread(target=work, name="kopf", daemon=True).start()
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        _call(inner, stop.set)
        await asyncio.wait([ended], timeout=GRACE)
        raise


async def _operator(registry: kopf.OperatorRegistry, watch: tuple[str, ...], stop: asyncio.Event) -> None:
    # It warns of each start that it does not handle signals in a thread, which is why it is in one.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    await kopf.operator(
        registry=registry,
        settings=make_settings(),
        standalone=True,
        clusterwide=not watch,
        namespaces=watch,
        stop_flag=stop,
    )


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        log.debug("event=kopf_late")  # that loop has ended: nobody is left to tell


def _end(ended: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)


def _connection() -> kopf.ConnectionInfo:
    """The same credentials as the client's; read anew at each login, which follows each refusal of a token."""
    config = credentials.load()
    cluster, user = config.cluster, config.user
    scheme, token = credentials.authorization(config) or (None, None)
    return kopf.ConnectionInfo(
        server=cluster.server,
        ca_path=config.abs_file(cluster.certificate_auth) if cluster.certificate_auth else None,
        ca_data=None if cluster.certificate_auth else cluster.certificate_auth_data,
        insecure=cluster.insecure,
        scheme=scheme,
        token=token,
        certificate_path=config.abs_file(user.client_cert) if user and user.client_cert else None,
        certificate_data=user.client_cert_data if user and not user.client_cert else None,
        private_key_path=config.abs_file(user.client_key) if user and user.client_key else None,
        private_key_data=user.client_key_data if user and not user.client_key else None,
        default_namespace=config.namespace,
        trust_env=True,
    )
