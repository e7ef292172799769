"""The gRPC shell: methods, limits and the order of things. It runs on the event loop that the REST shell runs on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypeVar

from seamark.errors import Conflict, InvalidInput, Unavailable, UserError
from seamark_predictor import v2
from seamark_predictor.rows import show
from seamark_predictor.served import Served, known

# gRPC writes about what it does to standard error, in a form of its own.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Else it starts threads in a child that is about to become another program, and then aborts it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
try:
    import grpc
    import grpc.aio

    from seamark_predictor import grpc_codec
    from seamark_predictor.grpc_call import LONGEST_DETAILS, Call
    from seamark_predictor.oip import health_pb2
    from seamark_predictor.oip import open_inference_pb2 as pb
except ImportError as error:
    raise UserError(f"Cannot serve gRPC: {error}; pip install 'seamark-predictor[grpc]'") from error

__all__ = ["GrpcServer"]

#: Bytes of a message that is read on the event loop.
_INLINE = 64 * 1024
#: Large messages worked on at the same time; more wait.
_THREADS = 2
#: Messages held at the same time, in multiples of the largest allowed.
_BUDGET = 8
#: Predictions at the same time, those included whose message still arrives; and calls of any kind.
_CALLS = 256
_ALL_CALLS = 2 * _CALLS
#: Seconds for a message to arrive.
_ARRIVAL = 30.0
#: Bytes of a call's metadata.
_METADATA = 16 * 1024
#: Milliseconds that a connection may stay without a call; clients open another when they need it.
_IDLE = 75_000
#: Seconds without a call after which none is on its way, and seconds for which such a moment is waited for.
_QUIET = 0.05
_LEAVING = 1.0

_SERVICE = "inference.GRPCInferenceService"
_HEALTH = "grpc.health.v1.Health"

Result = TypeVar("Result")


class GrpcServer:
    """The Open Inference Protocol and gRPC's health checks for some models.

    body_limit: bytes of a message, compressed and not. shared: other processes listen on the same port.
    """

    def __init__(self, models: Sequence[Served], body_limit: int, *, shared: bool = False) -> None:
        #: False while the server stops: it still answers, and tells those who ask to go elsewhere.
        self.ready = True
        #: Where it listens, once it does.
        self.port = 0
        self._models = {served.plane.name: served for served in models}
        #: Whom a message is for that cannot be read.
        self._only = models[0] if len(models) == 1 else None
        self._limit = body_limit
        self._shared = shared
        #: What calls wait for while the server stops.
        self._hold: asyncio.Event | None = None
        #: Predictions so far, those under way, and the bytes of their messages.
        self._seen = 0
        self._calls = 0
        self._held = 0
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc")
        self._server: Any = None

    async def start(self, host: str, port: int) -> None:
        """Listens; port 0 takes a free one. Raises `Conflict` where it cannot."""
        server = grpc.aio.server(
            maximum_concurrent_rpcs=_ALL_CALLS,
            options=[
                ("grpc.max_receive_message_length", self._limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", _METADATA),
                ("grpc.absolute_max_metadata_size", _METADATA),
                ("grpc.max_concurrent_streams", _ALL_CALLS),
                ("grpc.max_connection_idle_ms", _IDLE),
                # By default a taken port is shared without a word.
                ("grpc.so_reuseport", int(self._shared)),
            ],
        )
        server.add_generic_rpc_handlers((self._inference(), self._health()))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            await server.stop(None)
            raise Conflict(f"Cannot listen on {address} for gRPC: the port is taken or not this machine's") from error
        self._server = server
        await server.start()

    async def stop(self, grace: float) -> None:
        """Takes no more calls, and ends those that are not answered within `grace` seconds, or a second more."""
        self.ready = False
        if self._server is not None:
            # Stopping cancels what gRPC has received and not yet handed over, and that fails for good. So calls that
            # still come wait, and with them their clients, until nothing is on its way; they are answered afterwards.
            self._hold = asyncio.Event()
            await self._quiet()
            stopping = asyncio.ensure_future(self._server.stop(grace))
            await asyncio.sleep(0)
            self._hold.set()
            await stopping
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _quiet(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING):
                seen = -1
                while seen != self._seen:
                    seen = self._seen
                    await asyncio.sleep(_QUIET)

    def _inference(self) -> Any:
        methods = {
            "ServerLive": _unary(self._server_live, pb.ServerLiveRequest),
            "ServerReady": _unary(self._server_ready, pb.ServerReadyRequest),
            "ModelReady": _unary(self._model_ready, pb.ModelReadyRequest),
            "ServerMetadata": _unary(self._server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": _unary(self._model_metadata, pb.ModelMetadataRequest),
            # Read as a stream, so that the message's arrival can be bounded; on the wire both are the same.
            "ModelInfer": grpc.stream_unary_rpc_method_handler(self._infer),
        }
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    def _health(self) -> Any:
        methods = {"Check": _unary(self._check, health_pb2.HealthCheckRequest)}
        return grpc.method_handlers_generic_handler(_HEALTH, methods)

    async def _server_live(self, _request: Any, _context: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _request: Any, _context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.ready)

    async def _model_ready(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        await self._found(request, context)
        return pb.ModelReadyResponse(ready=self.ready)

    async def _server_metadata(self, _request: Any, _context: Any) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name="seamark-predictor", version=version("seamark-predictor"), extensions=["binary_tensor_data"]
        )

    async def _model_metadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        served = await self._found(request, context)
        return pb.ModelMetadataResponse(**v2.model_metadata(served.plane))

    async def _check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        if request.service not in ("", _SERVICE):
            details = f"Cannot check service {show(request.service)}: this server has {_SERVICE}"
            await context.abort(grpc.StatusCode.NOT_FOUND, details)
        response = health_pb2.HealthCheckResponse
        return response(status=response.SERVING if self.ready else response.NOT_SERVING)

    async def _found(self, request: pb.ModelReadyRequest | pb.ModelMetadataRequest, context: Any) -> Served:
        try:
            return self._find(request.name, request.version)
        except InvalidInput as error:
            details = str(error)[:LONGEST_DETAILS]
        await context.abort(grpc.StatusCode.NOT_FOUND, details)
        raise AssertionError("abort raises")

    def _find(self, name: str, revision: str) -> Served:
        served = self._models.get(name)
        if served is not None and revision in ("", served.plane.revision):
            return served
        asked = show(name) + (f", version {show(revision)}" if revision else "")
        raise InvalidInput(
            f"Cannot find model {asked}: this server has model {known(self._models.values())}", status=404
        )

    async def _infer(self, _messages: Any, context: Any) -> bytes:
        call = Call(dict(context.invocation_metadata() or ()), self._only)
        self._seen += 1
        self._calls += 1
        try:
            content = await self._answer(call, context)
        except asyncio.CancelledError:
            # The client hung up, or its time is over; only of the second there is something to tell.
            if context.time_remaining() == 0:
                call.status = 504
                call.ends()
            raise
        finally:
            self._calls -= 1
            call.belongs_to(None)
        if call.status != 200:
            await context.abort(call.code, call.details, call.metadata)
        context.set_trailing_metadata(call.metadata)
        return content

    async def _answer(self, call: Call, context: Any) -> bytes:
        """The response, or nothing where the call has failed."""
        size = 0
        response = b""
        try:
            content = await self._read(context)
            size = len(content)
            self._held += size
            if context.time_remaining() == 0:
                raise InvalidInput("Cannot predict: the call's deadline has passed", status=504)
            work = self._work if size <= _INLINE else self._long_work
            response = await work(call, content)
        except Exception as error:
            call.failed(error)
        finally:
            self._held -= size
        call.ends()
        return response

    async def _read(self, context: Any) -> bytes:
        if self._calls > _CALLS:
            raise Unavailable(f"Cannot take the call: {_CALLS} are being answered; try again")
        if self._hold is not None:
            await self._hold.wait()
        try:
            async with asyncio.timeout(_ARRIVAL):
                content = await context.read()
        except TimeoutError as error:
            problem = f"it did not arrive within {_ARRIVAL:g} seconds"
            raise InvalidInput(f"Cannot read the message: {problem}", status=408) from error
        if content is grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
            # gRPC itself has then told the client that the message is too large; else there was none.
            raise InvalidInput(f"Cannot read the message: none of at most {self._limit} bytes came", status=413)
        if self._held + len(content) > _BUDGET * self._limit:
            raise Unavailable("Cannot read the message: the server holds as much as it can; try again")
        return bytes(content)

    async def _work(self, call: Call, content: bytes) -> bytes:
        since = time.monotonic()
        message = grpc_codec.decode(content)
        served = self._addressed(call, message)
        request = grpc_codec.parse(message, served.plane)
        call.batch = request.batch
        answer = await served.predict(request.batch, since)
        response = grpc_codec.encode(request, answer, served.plane, call.id)
        call.told = served.plane.recorded(request.batch, answer)
        return response

    async def _long_work(self, call: Call, content: bytes) -> bytes:
        """What takes long happens in a thread."""
        since = time.monotonic()
        message = await self._in_thread(grpc_codec.decode, content)
        served = self._addressed(call, message)
        request = await self._in_thread(grpc_codec.parse, message, served.plane)
        call.batch = request.batch
        answer = await served.predict(request.batch, since)
        response = await self._in_thread(grpc_codec.encode, request, answer, served.plane, call.id)
        call.told = await self._in_thread(served.plane.recorded, request.batch, answer)
        return response

    def _addressed(self, call: Call, message: pb.ModelInferRequest) -> Served:
        call.belongs_to(None)
        served = self._find(message.model_name, message.model_version)
        call.belongs_to(served)
        return served

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _unary(method: Callable[[Any, Any], Awaitable[Any]], request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
