"""The process: load, listen, serve, and on SIGTERM or SIGINT drain and stop."""

from __future__ import annotations

import asyncio
import gc
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

from seamark.errors import Conflict, UserError
from seamark_predictor import logs, polling, sources
from seamark_predictor.counters import Counters
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.explain import Explainer
from seamark_predictor.feed import Feed, NoFeed
from seamark_predictor.generic import TensorPlane
from seamark_predictor.http1 import Limits, Server, bound, listener
from seamark_predictor.model import Model, TensorModel
from seamark_predictor.opening import open_model
from seamark_predictor.plane import AnyPlane
from seamark_predictor.rest import Rest
from seamark_predictor.served import Options, Served, info
from seamark_predictor.workers import Worker

__all__ = ["Address", "Settings", "check", "fetched", "serve"]

#: Connections that may wait in the kernel's queue.
_BACKLOG = 1024
#: Bodies held at the same time, in multiples of the largest allowed.
_BUDGET = 8
#: Seconds of --drain-delay: an hour is more than any gateway needs to notice.
_LONGEST_DELAY = 3600.0
#: Seconds for requests in flight, then for the monitor's feed, when stopping.
DRAIN = 6.0
FLUSH = 2.0


@dataclass(frozen=True, slots=True)
class Address:
    """A model's name in addresses, and where it comes from: a path or a URI that `sources` knows."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says.

    digest, revision, monitor: only for a single model. digest: the package's, or None for any. revision None means
    `<name>-<first 8 of the digest>`. grpc_port: None for no gRPC. body_limit: bytes; drain_delay, poll: seconds.
    """

    models: tuple[Address, ...]
    digest: str | None
    revision: str | None
    monitor: str | None
    reject: bool
    trust_pickle: bool
    host: str
    port: int
    grpc_port: int | None
    body_limit: int
    drain_delay: float
    poll: float
    options: Options = field(default_factory=Options)


def check(settings: Settings) -> None:
    """Raises `UserError` for what no server could do, before a model is loaded, which may take long."""
    if settings.body_limit < 1:
        raise UserError(f"Cannot use --body-limit: {settings.body_limit} bytes are less than 1")
    if not 0 <= settings.drain_delay <= _LONGEST_DELAY:
        raise UserError(f"Cannot use --drain-delay: {settings.drain_delay:g} is not between 0 and {_LONGEST_DELAY:g}")
    if not 0 <= settings.poll <= polling.LONGEST:
        raise UserError(f"Cannot use --poll: {settings.poll * 1e6:g} is not between 0 and {polling.LONGEST * 1e6:g}")
    names = [model.name for model in settings.models]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Cannot use --model: the name {name!r} is given twice")
    single = {"--digest": settings.digest, "--revision": settings.revision, "--monitor": settings.monitor}
    given = [option for option, value in single.items() if value is not None]
    if len(names) > 1 and given:
        raise UserError(f"Cannot use {given[0]} with {len(names)} models: it is about one")
    _port_is_free(settings.host, settings.port)
    if settings.grpc_port is not None:
        _port_is_free(settings.host, settings.grpc_port)


@contextmanager
def fetched(models: Sequence[Address]) -> Iterator[tuple[Address, ...]]:
    """The models with paths in place of URIs; what was downloaded is gone afterwards. Raises `UserError`."""
    # Made only when something is downloaded.
    folder = Path(tempfile.gettempdir()) / f"seamark-models-{secrets.token_hex(8)}"
    try:
        yield tuple(Address(model.name, str(sources.fetch(model.source, folder))) for model in models)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(settings: Settings, model: Address) -> tuple[AnyPlane, Explainer | None]:
    """The model, verified and warm; raises `InvalidPackage`."""
    path = Path(model.source)
    opened = open_model(path, name=model.name, trust_pickle=settings.trust_pickle, digest=settings.digest)
    revision = settings.revision or f"{model.name}-{opened.digest[:8]}"
    if opened.package is None:
        plane = TensorPlane(cast(TensorModel, opened.model), name=model.name, revision=revision, digest=opened.digest)
        plane.warm_up()
        return plane, None
    loaded = cast(Model, opened.model)
    features = Dataplane(opened.package, loaded, name=model.name, revision=revision, reject=settings.reject)
    features.warm_up()
    return features, Explainer(opened.package, loaded)


def serve(settings: Settings, worker: Worker | None = None) -> None:
    """Serves models on paths until told to stop; raises `UserError`. worker: this process's place among several."""
    models = [_load(settings, model) for model in settings.models]
    feed = Feed(settings.monitor, models[0][0].revision) if settings.monitor else NoFeed()
    infos = [info(plane) for plane, _ in models]
    if worker is None:
        counters = Counters(infos)
    else:
        counters = Counters(infos, file=worker.counters, workers=worker.count, index=worker.index)
    served = [
        Served(plane, feed, own, settings.options, explainer)
        for (plane, explainer), own in zip(models, counters.models, strict=True)
    ]
    # Measuring the models was the last of loading them.
    if worker is not None:
        worker.loaded()
    rest = Rest(served, settings.body_limit, counters)
    # What is loaded stays: a collection of garbage that looked through all of it would hold up whoever asks just then.
    gc.collect()
    gc.freeze()
    uvloop.run(_listen(rest, served, settings, feed, shared=worker is not None))
    rest.close()
    feed.close(FLUSH)
    logs.event("stopped")


async def _listen(
    rest: Rest, served: Sequence[Served], settings: Settings, feed: Feed | NoFeed, *, shared: bool
) -> None:
    limits = Limits(body=settings.body_limit, budget=_BUDGET * settings.body_limit, poll=settings.poll)
    server = Server(rest, limits)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    feed.start()
    grpc = await _start_grpc(served, settings, shared=shared)
    server.start(listener(settings.host, settings.port, shared=shared, backlog=_BACKLOG))
    for one in served:
        plane = one.plane
        logs.event("serving", model=plane.name, revision=plane.revision, host=settings.host, port=settings.port)
    await stopping.wait()
    rest.ready = False
    server.is_leaving = True
    if grpc is not None:
        grpc.ready = False
    logs.event("draining", seconds=settings.drain_delay)
    # Gateways learn late that this server leaves; until then they send it new requests.
    await asyncio.sleep(settings.drain_delay)
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN):
            # gRPC may take a second more than it is given.
            await asyncio.gather(server.stop(DRAIN - 0.5), *([] if grpc is None else [grpc.stop(DRAIN - 1.5)]))


async def _start_grpc(served: Sequence[Served], settings: Settings, *, shared: bool) -> Any:
    if settings.grpc_port is None:
        return None
    # An extra: not everybody has it, and it takes time to load.
    from seamark_predictor.grpc_server import GrpcServer

    server = GrpcServer(served, settings.body_limit, shared=shared)
    await server.start(settings.host, settings.grpc_port)
    return server


def _port_is_free(host: str, port: int) -> None:
    """Raises `Conflict`, for port 0 too: nobody would learn which port it became."""
    if not 1 <= port <= 65535:
        raise Conflict(f"Cannot listen on {host}:{port}: the port is not between 1 and 65535")
    bound(host, port, shared=False).close()
