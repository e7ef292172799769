"""gRPC: health, metadata and predictions as clients see them, status codes, records, limits, deadlines and draining."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from seamark.errors import Conflict, InvalidInput, UserError
from seamark.records import Prediction
from seamark_predictor import grpc_codec, grpc_server
from seamark_predictor.batcher import DeadlineExceeded, Overloaded
from seamark_predictor.counters import Counters
from seamark_predictor.grpc_server import GrpcServer
from seamark_predictor.oip import health_pb2
from seamark_predictor.oip import open_inference_pb2 as pb
from seamark_predictor.served import Served, info

SERVICE = "inference.GRPCInferenceService"
LIMIT = 1 << 20
UNARY = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


class Records(list[Prediction]):
    """A sink that keeps what the monitor would get."""

    def add(self, prediction: Prediction) -> None:
        self.append(prediction)


class Client:
    """Calls by name; messages in and out."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)])
        self._calls = {
            name: self.channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=getattr(pb, f"{name}Response").FromString,
            )
            for name in UNARY
        }
        self.raw_infer = self.channel.unary_unary(f"/{SERVICE}/ModelInfer")
        self.slow_infer = self.channel.stream_unary(f"/{SERVICE}/ModelInfer")
        self.check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    def call(self, name: str, message: Any = None, **options: Any) -> Any:
        return self._calls[name](getattr(pb, f"{name}Request")() if message is None else message, **options)

    def infer(self, message: Any, **options: Any) -> Any:
        return self.call("ModelInfer", message, **options)


class Site:
    """A server for some planes, with what it recorded and counted."""

    def __init__(self, kit: SimpleNamespace, *planes: Any, limit: int = LIMIT) -> None:
        self.records = Records()
        self.counters = Counters([info(plane) for plane in planes])
        self.models = [
            Served(plane, self.records, counters) for plane, counters in zip(planes, self.counters.models, strict=True)
        ]
        self.server = GrpcServer(self.models, limit)

    def run(self, visit: Callable[[Client], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            await self.server.start("127.0.0.1", 0)
            client = Client(self.server.port)
            try:
                return await visit(client)
            finally:
                await client.channel.close()
                await self.server.stop(1)

        return asyncio.run(asyncio.wait_for(main(), 30))


@pytest.fixture
def site(kit: SimpleNamespace, cancer_plane: Any) -> Site:
    return Site(kit, cancer_plane)


@pytest.fixture
def row(kit: SimpleNamespace) -> Any:
    return kit.CANCER.data[0]


def typed(rows: Any, **more: Any) -> pb.ModelInferRequest:
    rows = np.atleast_2d(rows)
    contents = {"fp64_contents": rows.reshape(-1)}
    inputs = [{"name": "x", "datatype": "FP64", "shape": rows.shape, "contents": contents}]
    return pb.ModelInferRequest(**{"model_name": "cancer", "inputs": inputs, **more})


def raw(rows: Any, **more: Any) -> pb.ModelInferRequest:
    rows = np.atleast_2d(rows)
    inputs = [{"name": "x", "datatype": "FP64", "shape": rows.shape}]
    return pb.ModelInferRequest(
        **{"model_name": "cancer", "inputs": inputs, "raw_input_contents": [rows.tobytes()], **more}
    )


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110  # the server has no event for it
        await asyncio.sleep(0.001)


async def failure(call: Any) -> Any:
    """code, details and trailing metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code(), error.details(), dict(error.trailing_metadata() or ())


@contextmanager
def instead(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Not pytest's, whose undoing waits for the test's end: planes are shared by all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thing, name, value)
        yield


# --- what is there


def test_health_and_metadata(site: Site, cancer_plane: Any) -> None:
    async def visit(client: Client) -> None:
        assert (await client.call("ServerLive")).live
        assert (await client.call("ServerReady")).ready
        for version in ("", "cancer-1"):
            assert (await client.call("ModelReady", pb.ModelReadyRequest(name="cancer", version=version))).ready
        server = await client.call("ServerMetadata")
        assert (server.name, list(server.extensions)) == ("seamark-predictor", ["binary_tensor_data"])
        model = await client.call("ModelMetadata", pb.ModelMetadataRequest(name="cancer"))
        assert (model.name, list(model.versions), model.platform) == ("cancer", ["cancer-1"], cancer_plane.platform)
        found = [(t.name, t.datatype, tuple(t.shape)) for t in (*model.inputs, *model.outputs)]
        wanted = [(s.name, s.datatype, s.shape) for s in (*cancer_plane.inputs, *cancer_plane.outputs)]
        assert found == wanted
        for service in ("", SERVICE):
            answer = await client.check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        code, details, _ = await failure(client.check(health_pb2.HealthCheckRequest(service="other")))
        assert (code, details) == (
            grpc.StatusCode.NOT_FOUND,
            f"Cannot check service 'other': this server has {SERVICE}",
        )

    site.run(visit)
    assert site.records == []


@pytest.mark.parametrize("make", [typed, raw])
def test_labels_and_probabilities_as_rest_gives_them(
    site: Site, kit: SimpleNamespace, logistic: Any, make: Any
) -> None:
    rows = kit.CANCER.data[:20]

    async def visit(client: Client) -> None:
        response = await client.infer(make(rows, id="mine"))
        assert (response.id, response.model_name, response.model_version) == ("mine", "cancer", "cancer-1")
        labels, scores = response.outputs
        assert (labels.datatype, list(labels.shape), list(scores.shape)) == ("INT64", [20], [20, 2])
        if make is raw:
            found = [
                np.frombuffer(content, dtype)
                for content, dtype in zip(response.raw_output_contents, (np.int64, np.float64), strict=True)
            ]
        else:
            found = [list(labels.contents.int64_contents), list(scores.contents.fp64_contents)]
        assert list(found[0]) == logistic.predict(rows).tolist()
        np.testing.assert_allclose(np.reshape(found[1], (20, 2)), logistic.predict_proba(rows))

    site.run(visit)


def test_several_models_are_told_apart_by_name(kit: SimpleNamespace, cancer_plane: Any, mixed_package: Any) -> None:
    mixed = kit.open_plane(mixed_package)
    mixed.name = "mixed"
    site = Site(kit, cancer_plane, mixed)

    async def visit(client: Client) -> None:
        inputs = [
            {"name": "age", "datatype": "INT32", "shape": [1], "contents": {"int_contents": [30]}},
            {"name": "size", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [2]}},
            {"name": "land", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": ["日本".encode()]}},
            {"name": "colour", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"red"]}},
        ]
        response = await client.infer(pb.ModelInferRequest(model_name="mixed", inputs=inputs))
        assert list(response.outputs[0].contents.bytes_contents) == [b"low"]
        # Nobody knows whose this is, so it is nobody's.
        assert (await failure(client.raw_infer(b"\xff")))[0] == grpc.StatusCode.INVALID_ARGUMENT

    site.run(visit)
    assert [(record.status, record.categories) for record in site.records] == [(200, [["日本"], ["red"]])]


# --- what is refused


@pytest.mark.parametrize(
    ("more", "code", "details"),
    [
        ({"model_name": "other"}, "NOT_FOUND", "Cannot find model 'other': this server has model"),
        ({"model_version": "2"}, "NOT_FOUND", "Cannot find model 'cancer', version '2': this server has model"),
        ({"inputs": []}, "INVALID_ARGUMENT", "Cannot read the message: inputs is empty"),
        (
            {"outputs": [{"name": "日本"}]},
            "INVALID_ARGUMENT",
            "Cannot answer outputs[0]: it is '日本'; allowed: 'predict'",
        ),
    ],
)
def test_a_refusal_says_what_and_why(site: Site, row: Any, more: Any, code: str, details: str) -> None:
    async def visit(client: Client) -> Any:
        return await failure(client.infer(typed(row, **more)))

    found, text, metadata = site.run(visit)
    assert (found.name, text[: len(details)]) == (code, details)
    assert metadata["x-prediction-id"]
    assert [record.status for record in site.records] == ([] if code == "NOT_FOUND" else [400])


@pytest.mark.parametrize("name", ["ModelReady", "ModelMetadata"])
def test_what_is_not_served_is_not_found(site: Site, name: str) -> None:
    async def visit(client: Client) -> Any:
        return await failure(client.call(name, getattr(pb, f"{name}Request")(name="x" * 5000, version="3")))

    code, details, _ = site.run(visit)
    assert code == grpc.StatusCode.NOT_FOUND
    assert details.startswith("Cannot find model 'xxx")
    assert len(details) < 300


def test_missing_values_are_refused_and_counted_by_feature(site: Site, kit: SimpleNamespace, row: Any) -> None:
    broken = row.copy()
    broken[3] = np.nan

    async def visit(client: Client) -> Any:
        return await failure(client.infer(raw(broken), metadata=(("x-request-id", "r-1"),)))

    code, details, metadata = site.run(visit)
    assert (code, metadata) == (grpc.StatusCode.INVALID_ARGUMENT, {"x-prediction-id": "r-1"})
    assert f"{kit.NAMES[3]!r} is missing in 1 row" in details
    (record,) = site.records
    assert (record.status, record.rows, record.violations) == (422, 1, [(kit.NAMES[3], "missing", 1)])


def test_what_is_no_message_is_an_invalid_argument(site: Site) -> None:
    async def visit(client: Client) -> Any:
        return await failure(client.raw_infer(b"\xff\xff"))

    code, details, _ = site.run(visit)
    assert (code, details) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Cannot read the message: it is not a ModelInferRequest",
    )
    assert [(record.status, record.rows) for record in site.records] == [(400, 0)]


def test_a_failing_model_is_an_internal_error_with_the_id_alone(
    site: Site, row: Any, cancer_plane: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("secret")

    async def visit(client: Client) -> Any:
        return await failure(client.infer(typed(row), metadata=(("x-request-id", "r-2"),)))

    with instead(cancer_plane._model, "predict", fail), caplog.at_level(logging.ERROR):
        code, details, _ = site.run(visit)
    assert (code, details) == (grpc.StatusCode.INTERNAL, "internal error, request id r-2")
    (record,) = site.records
    assert (record.status, record.numbers, record.outputs) == (500, row.tobytes(), b"")
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "pushback"),
    [
        (Overloaded("Cannot predict: too much waits", 7), "UNAVAILABLE", "7000"),
        (DeadlineExceeded("Cannot predict: too late"), "DEADLINE_EXCEEDED", None),
        (InvalidInput("Cannot predict: too large", status=413), "RESOURCE_EXHAUSTED", None),
        (InvalidInput("Cannot predict: not yet", status=503), "UNAVAILABLE", "1000"),
        (InvalidInput("Cannot predict: teapot", status=418), "INVALID_ARGUMENT", None),
    ],
)
def test_a_full_queue_says_when_to_come_again(
    site: Site, row: Any, error: Any, code: str, pushback: str | None
) -> None:
    def refuse(*_: Any) -> Any:
        raise error

    async def visit(client: Client) -> Any:
        return await failure(client.infer(typed(row)))

    with instead(site.models[0], "ask", refuse):
        found, details, metadata = site.run(visit)
    assert (found.name, details, metadata.get("grpc-retry-pushback-ms")) == (code, str(error), pushback)
    assert [record.status for record in site.records] == [error.status]


# --- records


def test_one_record_for_each_prediction_under_the_callers_id(site: Site, row: Any, logistic: Any) -> None:
    async def visit(client: Client) -> Any:
        given = client.infer(typed(row), metadata=(("x-request-id", "r-3"),))
        await given
        own = client.infer(typed(row), metadata=(("x-request-id", "x" * 129),))
        response = await own
        ids = [dict(await call.trailing_metadata())["x-prediction-id"] for call in (given, own)]
        assert ids == ["r-3", response.id]
        return ids

    ids = site.run(visit)
    assert [record.prediction_id for record in site.records] == ids
    record = site.records[0]
    assert (record.status, record.rows) == (200, 1)
    assert record.numbers == row.tobytes()
    np.testing.assert_allclose(
        np.frombuffer(record.outputs), [logistic.predict([row])[0], logistic.predict_proba([row])[0, 1]]
    )
    assert 0 < record.latency < 10
    text = site.counters.text().decode()
    assert 'seamark_predictor_requests_total{model="cancer",protocol="grpc",status="200"} 2' in text
    assert site.models[0].counters.in_flight == 0


# --- limits


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_before_it_is_held(site: Site, compression: Any) -> None:
    rows = np.zeros((LIMIT // 240 + 1, 30))

    async def visit(client: Client) -> Any:
        code, details, _ = await failure(client.infer(raw(rows), compression=compression))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in details

    site.run(visit)
    assert [record.status for record in site.records] == [413]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_large_message_is_read_in_a_thread(site: Site, kit: SimpleNamespace, logistic: Any, compression: Any) -> None:
    rows = np.tile(kit.CANCER.data[:100], (40, 1))
    threads = []
    decode = grpc_codec.decode

    def noted(content: bytes) -> Any:
        threads.append(threading.current_thread())
        return decode(content)

    async def visit(client: Client) -> None:
        response = await client.infer(raw(rows), compression=compression)
        labels = np.frombuffer(response.raw_output_contents[0], np.int64)
        assert labels.tolist() == logistic.predict(rows).tolist()

    with instead(grpc_codec, "decode", noted):
        site.run(visit)
    assert threads
    assert threading.main_thread() not in threads
    assert [(record.status, record.rows, record.numbers) for record in site.records] == [(200, 4000, rows.tobytes())]


def test_health_does_not_wait_for_a_large_message(site: Site, kit: SimpleNamespace) -> None:
    rows = np.tile(kit.CANCER.data[:100], (4, 1))
    arrived, go_on = threading.Event(), threading.Event()
    decode = grpc_codec.decode

    def wait(content: bytes) -> Any:
        arrived.set()
        assert go_on.wait(20)
        return decode(content)

    async def visit(client: Client) -> None:
        large = asyncio.ensure_future(client.infer(raw(rows)))
        await asyncio.to_thread(arrived.wait, 20)
        assert (await client.call("ServerLive")).live
        assert not large.done()
        go_on.set()
        assert (await large).outputs

    with instead(grpc_codec, "decode", wait):
        site.run(visit)


def test_calls_beyond_the_limit_are_sent_away_to_come_again(site: Site, row: Any) -> None:
    async def visit(client: Client) -> None:
        opened = [client.slow_infer() for _ in range(2)]
        await until(lambda: site.server._calls == 2)
        code, details, metadata = await failure(client.infer(typed(row)))
        assert (code, details) == (
            grpc.StatusCode.UNAVAILABLE,
            "Cannot take the call: 2 are being answered; try again",
        )
        assert metadata["grpc-retry-pushback-ms"] == "1000"
        assert (await client.call("ServerLive")).live
        for call in opened:
            await call.write(typed(row).SerializeToString())
            await call.done_writing()
            assert await call
        assert (await client.infer(typed(row))).outputs

    with instead(grpc_server, "_CALLS", 2):
        site.run(visit)
    assert [record.status for record in site.records] == [503, 200, 200, 200]


def test_messages_are_held_up_to_a_budget(site: Site, kit: SimpleNamespace) -> None:
    rows = np.tile(kit.CANCER.data[:100], (4, 1))

    async def visit(client: Client) -> Any:
        site.server._held = 8 * LIMIT - 1000
        refused = await failure(client.infer(raw(rows)))
        site.server._held = 0
        assert (await client.infer(raw(rows))).outputs
        assert site.server._held == 0
        return refused

    code, details, _ = site.run(visit)
    assert (code, details) == (
        grpc.StatusCode.UNAVAILABLE,
        "Cannot read the message: the server holds as much as it can; try again",
    )


def test_a_message_that_does_not_arrive_is_given_up(site: Site) -> None:
    async def visit(client: Client) -> Any:
        return await failure(client.slow_infer())

    with instead(grpc_server, "_ARRIVAL", 0.05):
        code, details, _ = site.run(visit)
    assert (code, details) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "Cannot read the message: it did not arrive within 0.05 seconds",
    )
    assert [record.status for record in site.records] == [408]


def test_a_call_without_a_message_is_refused(site: Site) -> None:
    async def visit(client: Client) -> Any:
        call = client.slow_infer()
        await call.done_writing()
        return await failure(call)

    code, details, _ = site.run(visit)
    assert (code, details) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"Cannot read the message: none of at most {LIMIT} bytes came",
    )


def test_metadata_are_bounded(site: Site, row: Any) -> None:
    async def visit(client: Client) -> Any:
        code, _, _ = await failure(client.infer(typed(row), metadata=(("x-long", "x" * 20_000),)))
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        assert (await client.infer(typed(row))).outputs

    site.run(visit)


# --- deadlines


def test_the_clients_deadline_ends_the_wait_and_is_recorded(site: Site, row: Any) -> None:
    waited = []

    async def wait(_: Any, since: float) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            waited.append(True)

    async def visit(client: Client) -> Any:
        refused = await failure(client.infer(typed(row), timeout=0.2))
        await until(lambda: site.records)
        return refused

    with instead(site.models[0], "predict", wait):
        code, _, _ = site.run(visit)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert [(record.status, record.rows) for record in site.records] == [(504, 1)]
    assert (waited, site.models[0].counters.in_flight, site.server._calls) == ([True], 0, 0)


def test_nothing_is_predicted_or_told_for_a_client_that_left(site: Site, row: Any) -> None:
    async def visit(client: Client) -> Any:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def wait(_: Any, since: float) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        with instead(site.models[0], "predict", wait):
            call = client.infer(typed(row))
            await begun.wait()
            call.cancel()
            await ended.wait()
        await until(lambda: not site.server._calls)

    site.run(visit)
    assert site.records == []
    assert site.models[0].counters.in_flight == 0


# --- beginning and end


def test_a_taken_port_is_a_conflict(site: Site, kit: SimpleNamespace, cancer_plane: Any) -> None:
    async def visit(_: Client) -> None:
        other = Site(kit, cancer_plane).server
        with pytest.raises(
            Conflict, match=f"Cannot listen on 127.0.0.1:{site.server.port} for gRPC: the port is taken"
        ):
            await other.start("127.0.0.1", site.server.port)
        await other.stop(0)

    site.run(visit)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_it_listens_on_ipv6_addresses(site: Site) -> None:
    async def main() -> None:
        try:
            await site.server.start("::1", 0)
        except Conflict:
            pytest.skip("this machine has no ::1")
        async with grpc.aio.insecure_channel(f"[::1]:{site.server.port}") as channel:
            call = channel.unary_unary(f"/{SERVICE}/ServerLive")
            assert await call(b"")
        await site.server.stop(0)

    asyncio.run(main())


def test_a_server_that_leaves_says_so_and_still_answers(site: Site, row: Any) -> None:
    async def visit(client: Client) -> None:
        site.server.ready = False
        assert (await client.call("ServerLive")).live
        assert not (await client.call("ServerReady")).ready
        assert not (await client.call("ModelReady", pb.ModelReadyRequest(name="cancer"))).ready
        health = await client.check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await client.infer(typed(row))).outputs

    site.run(visit)


def test_calls_in_flight_and_on_their_way_are_answered_before_the_server_stops(site: Site, row: Any) -> None:
    predict = site.models[0].predict

    async def main() -> None:
        await site.server.start("127.0.0.1", 0)
        client = Client(site.server.port)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def wait(batch: Any, since: float) -> Any:
            begun.set()
            await go_on.wait()
            return await predict(batch, since)

        with instead(site.models[0], "predict", wait):
            call = asyncio.ensure_future(client.infer(typed(row)))
            await begun.wait()
            stopping = asyncio.ensure_future(site.server.stop(10))
            await until(lambda: site.server._hold is not None)
            late = asyncio.ensure_future(client.infer(typed(row)))
            await until(lambda: site.server._calls == 2)
            go_on.set()
            assert (await call).outputs
            assert (await late).outputs
            await stopping
        code, _, _ = await failure(client.infer(typed(row)))
        assert code == grpc.StatusCode.UNAVAILABLE
        await client.channel.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert [record.status for record in site.records] == [200, 200]


def test_clients_that_go_on_calling_get_answers_until_they_have_to_connect_elsewhere(site: Site, row: Any) -> None:
    codes: list[str] = []
    message = typed(row)

    async def call_on(client: Client) -> None:
        while codes.count("UNAVAILABLE") < 8:
            try:
                await client.infer(message)
                codes.append("OK")
            except grpc.aio.AioRpcError as error:
                codes.append(error.code().name)

    async def main() -> None:
        await site.server.start("127.0.0.1", 0)
        client = Client(site.server.port)
        calling = [asyncio.ensure_future(call_on(client)) for _ in range(8)]
        await until(lambda: codes.count("OK") > 20)
        await site.server.stop(5)
        await asyncio.gather(*calling)
        await client.channel.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    # UNAVAILABLE is what a client says that finds nobody to connect to.
    assert set(codes) == {"OK", "UNAVAILABLE"}
    assert [record.status for record in site.records] == [200] * codes.count("OK")


def test_stop_does_not_wait_longer_than_it_is_told(site: Site, row: Any) -> None:
    async def main() -> None:
        await site.server.start("127.0.0.1", 0)
        client = Client(site.server.port)
        call = client.slow_infer()
        await until(lambda: site.server._calls)
        await asyncio.wait_for(site.server.stop(0.1), 5)
        await failure(call)
        await client.channel.close()

    asyncio.run(main())


@pytest.mark.parametrize("missing", ["grpc", "google.protobuf"])
def test_without_the_extra_the_message_says_which_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    spec = importlib.util.find_spec("seamark_predictor.grpc_server")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for name in list(sys.modules):
        if name.startswith((missing, "seamark_predictor.oip", "seamark_predictor.grpc_c")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"^Cannot serve gRPC: .*; pip install 'seamark-predictor\[grpc\]'$"):
        spec.loader.exec_module(module)
