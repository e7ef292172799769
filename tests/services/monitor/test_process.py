"""The monitor as users run it: frames and events in, exact counts out, nothing lost and nothing twice."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from seamark.records import Block, Frame, LogBatch, Prediction, unpack

Make = Callable[..., Prediction]
Wait = Callable[..., None]


def reason(name: str) -> tuple[str, str]:
    return ("seamark_log_dropped_total", name)


def drops(monitor: Any) -> dict[str, float]:
    samples = monitor.samples()
    return {key[1]: value for key, value in samples.items() if key[0] == "seamark_log_dropped_total" and value}


def test_frames_in_are_exact_counts_out_and_arrive_at_the_collector(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    monitor.start()
    sent = [prediction(f"p{i}", rows=2, age=30 + i % 20, income=float("nan")) for i in range(900)]
    refused = [prediction(f"r{i}", status=422, age=-5_000.0) for i in range(30)]
    monitor.send(*sent[:400], *refused, dropped=7)
    monitor.send(*sent[400:], sender="another", dropped=1)
    wait_until(lambda: len(collector.ids) == 900)
    samples = monitor.samples()
    assert samples["seamark_predictions_total",] == 1_800
    assert samples["seamark_requests_total", "200"] == 900
    assert samples["seamark_requests_total", "422"] == 30
    assert samples["seamark_prediction_latency_seconds_count",] == 930
    assert samples["seamark_feature_bin_total", "missing", "income"] == 1_800
    assert samples["seamark_feature_bin_total", "red", "colour"] == 1_800
    assert sum(v for k, v in samples.items() if k[0] == "seamark_feature_bin_total" and k[2] == "age") == 1_800
    assert samples["seamark_output_bin_total", "1", "prediction"] == 1_800
    assert samples["seamark_contract_violations_total", "age", "range"] == 30
    assert samples["seamark_contract_rows_total", "false"] == 30
    assert samples["seamark_contract_rows_total", "true"] == 1_800
    assert drops(monitor) == {"queue_full": 8}
    wait_until(lambda: monitor.value("seamark_log_spool_bytes") == 0)
    assert collector.ids == [p.prediction_id for p in sent]
    (first, *_) = collector.batches
    logged = [each for block in first.blocks for each in unpack(block)]
    assert logged == sent[: len(logged)]
    assert (first.namespace, first.deployment, first.revision) == ("default", "churn", "churn-1")
    assert (first.numbers, first.categories) == (["age", "income"], ["colour"])
    assert first.outputs == ["prediction", "score"]
    assert monitor.stop() == 0
    assert not monitor.socket.exists()


def assert_each_once(collector: Any, expected: list[str]) -> None:
    assert collector.ids == expected
    assert collector.differing == []
    assert len({source for source, _ in collector.stored}) == 1
    assert [sequence for _, sequence in collector.stored] == list(range(1, len(collector.stored) + 1))


@pytest.mark.parametrize("trouble", [503, 404, None], ids=["says 503", "is not there yet", "hangs up"])
def test_a_collector_in_trouble_loses_nothing_and_doubles_nothing(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait, trouble: int | None
) -> None:
    collector.status = trouble
    monitor.start()
    names = [f"p{i}" for i in range(3_000)]
    for start in range(0, 3_000, 500):
        monitor.send(*(prediction(name) for name in names[start : start + 500]))
    wait_until(lambda: collector.posts >= 2)
    assert monitor.value("seamark_log_spool_bytes") > 0
    collector.status = 200
    wait_until(lambda: len(collector.ids) == 3_000)
    assert_each_once(collector, names)
    assert drops(monitor) == {}


def test_an_answer_that_got_lost_leads_to_the_same_batch_again(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    """Also over a kill: the batch was fixed on disk before it was first posted."""
    collector.forgetful = True
    monitor.start()
    monitor.send(*(prediction(f"p{i}") for i in range(10)))
    wait_until(lambda: collector.posts >= 2)
    monitor.send(*(prediction(f"p{i}") for i in range(10, 20)))
    wait_until(lambda: monitor.value("seamark_predictions_total") == 20)
    monitor.kill()
    collector.forgetful = False
    monitor.start()
    wait_until(lambda: len(collector.ids) == 20)
    assert_each_once(collector, [f"p{i}" for i in range(20)])


def test_kill_9_in_mid_stream_loses_nothing_that_was_counted(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    collector.status = 503
    sent, counted = 0, 0
    for round_ in range(3):
        monitor.start()
        for _ in range(20):
            monitor.send(*(prediction(f"p{i}") for i in range(sent, sent + 25)))
            sent += 25
        wait_until(lambda: monitor.value("seamark_predictions_total") >= 250)
        if round_ == 1:
            collector.status = 200
        counted += int(monitor.value("seamark_predictions_total"))
        monitor.kill()
    collector.status = 200
    monitor.start()
    wait_until(lambda: monitor.value("seamark_log_spool_bytes") == 0)
    assert counted <= len(collector.ids) <= sent
    assert len(set(collector.ids)) == len(collector.ids)
    assert collector.differing == []


def test_a_batch_that_can_never_be_read_is_set_aside(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    collector.status = 400
    monitor.start()
    monitor.send(prediction("a"), prediction("b"))
    wait_until(lambda: monitor.value(*reason("rejected")) == 2)
    collector.status = 200
    monitor.send(prediction("c"))
    wait_until(lambda: collector.ids == ["c"])
    (kept,) = (monitor.spool / "rejected").iterdir()
    (block,) = msgspec.msgpack.decode(kept.read_bytes(), type=LogBatch).blocks
    assert block.prediction_ids == ["a", "b"]


def test_a_full_spool_drops_the_oldest_counts_it_and_serving_goes_on(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    collector.status = 503
    monitor.options = ("--spool-limit", str(256 * 1024))
    monitor.start()
    for start in range(0, 4_000, 100):
        monitor.send(*(prediction(f"p{i}") for i in range(start, start + 100)))
    wait_until(lambda: monitor.value("seamark_predictions_total") == 4_000)
    assert sum(path.stat().st_size for path in monitor.spool.glob("*.segment")) <= 256 * 1024
    collector.status = 200
    wait_until(lambda: monitor.value("seamark_log_spool_bytes") == 0)
    lost = monitor.value(*reason("spool_full"))
    assert lost > 0
    assert len(set(collector.ids)) == len(collector.ids) == 4_000 - lost
    assert collector.ids[-1] == "p3999"


GARBAGE = {
    "random bytes": random.Random(0).randbytes(5_000),
    "a length over the limit": (16 * 1024 * 1024 + 1).to_bytes(4),
    "a length of nothing": bytes(4),
    "a frame that ends early": (100).to_bytes(4) + b"half",
    "no MessagePack": (3).to_bytes(4) + b"\xc1\xc1\xc1",
    "MessagePack of something else": (1).to_bytes(4) + b"\x01",
    "nested without end": (200_000).to_bytes(4) + b"\x91" * 200_000,
    "a block that is none": (lambda body: len(body).to_bytes(4) + body)(
        msgspec.msgpack.encode(Frame("a", 0, Block(["X"]))).replace(b"\xa1X", b"\x01")
    ),
    "text that is no UTF-8": (lambda body: len(body).to_bytes(4) + body)(
        msgspec.msgpack.encode(Frame("X", 0)).replace(b"X", b"\xff")
    ),
}


def test_garbage_closes_its_connection_only_and_is_counted(monitor: Any, prediction: Make, wait_until: Wait) -> None:
    monitor.start()
    healthy = monitor.connect()
    for name, garbage in GARBAGE.items():
        with monitor.connect() as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b"", name
    healthy.sendall(monitor.framed(prediction("fine")))
    wait_until(lambda: monitor.value("seamark_predictions_total") == 1)
    healthy.close()
    assert drops(monitor) == {"bad_frame": len(GARBAGE)}


def test_the_largest_frame_is_read(monitor: Any, prediction: Make, wait_until: Wait) -> None:
    monitor.start()
    large = prediction("large", rows=430_000)
    assert 14 * 1024 * 1024 < len(msgspec.msgpack.encode(large)) < 16 * 1024 * 1024
    monitor.send(large)
    wait_until(lambda: monitor.value("seamark_predictions_total") == 430_000)
    assert drops(monitor) == {}


def test_memory_stays_small_under_load(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait, memory: Callable[[int], int]
) -> None:
    collector.status = 503
    monitor.start()
    for start in range(0, 30_000, 500):
        monitor.send(*(prediction(f"p{i}") for i in range(start, start + 500)))
    wait_until(lambda: monitor.value("seamark_predictions_total") == 30_000)
    assert memory(monitor.process.pid) <= 120 * 1024 * 1024


def post(monitor: Any, kind: str, body: object, **headers: str) -> httpx.Response:
    named = {"ce-type": f"org.kubeflow.serving.inference.{kind}", "ce-id": "e1", **headers}
    return monitor.post(json.dumps(body).encode(), named)


V1 = ({"instances": [[30, "red", 2_000], [31, "blue", None]]}, {"predictions": [[0.3, 0.7], [0.9, 0.1]]})
V2 = (
    {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [30, "red", 2_000, 31, "blue", None]}]},
    {"outputs": [{"name": "p", "shape": [2, 2], "datatype": "FP64", "data": [0.3, 0.7, 0.9, 0.1]}]},
)


@pytest.mark.parametrize(("request_body", "response_body"), [V1, V2], ids=["v1", "v2"])
def test_kserve_events_are_counted_and_shipped_like_frames(
    monitor: Any, collector: Any, wait_until: Wait, request_body: object, response_body: object
) -> None:
    monitor.start()
    metadata = json.dumps({"X-Request-Id": ["from-gateway"]})
    asked = post(monitor, "request", request_body, **{"ce-time": "2026-01-31T10:00:00Z", "ce-metadata": metadata})
    answered = post(monitor, "response", response_body, **{"ce-time": "2026-01-31T10:00:00.002Z"})
    assert (asked.status_code, asked.json()) == (202, {"joined": False})
    assert (answered.status_code, answered.json()) == (202, {"joined": True})
    wait_until(lambda: collector.ids == ["from-gateway"])
    samples = monitor.samples()
    assert samples["seamark_predictions_total",] == 2
    assert samples["seamark_feature_bin_total", "blue", "colour"] == 1
    assert samples["seamark_output_bin_total", "0", "prediction"] == 1
    assert samples["seamark_prediction_latency_seconds_sum",] == pytest.approx(0.002, abs=1e-6)


def test_bad_events_are_refused_with_a_reason(monitor: Any) -> None:
    monitor.start()
    unknown = post(monitor, "feedback", {})
    unreadable = post(monitor, "request", {"instances": [[1]]})
    large = monitor.post(bytes(16 * 1024 * 1024 + 1))
    assert (unknown.status_code, "ce-type" in unknown.json()["error"]) == (400, True)
    assert (unreadable.status_code, "3 features" in unreadable.json()["error"]) == (400, True)
    assert large.status_code == 413
    assert drops(monitor) == {"bad_event": 3}


def test_sigterm_takes_what_was_sent_and_delivers_it(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    monitor.start()
    monitor.send(*(prediction(f"p{i}") for i in range(500)))
    assert monitor.stop() == 0
    assert len(collector.ids) == 500


def test_sigterm_with_no_collector_keeps_all_for_the_next_process(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    collector.status = 503
    monitor.start()
    monitor.send(*(prediction(f"p{i}") for i in range(500)))
    assert monitor.stop() == 0
    collector.status = 200
    monitor.start()
    wait_until(lambda: len(collector.ids) == 500)
    assert_each_once(collector, [f"p{i}" for i in range(500)])


def test_frames_of_a_predictor_that_drains_are_taken_after_sigterm(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    """Containers of a Pod are told to stop together: who watches must outlive who is watched."""
    monitor.options = ("--last-delivery", "20")
    monitor.start()
    with monitor.connect() as predictor:
        predictor.sendall(monitor.framed(prediction("before")))
        wait_until(lambda: monitor.value("seamark_predictions_total") == 1)
        monitor.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            monitor.process.wait(0.5)
        predictor.sendall(monitor.framed(prediction("after")))
    assert monitor.process.wait(10) == 0
    assert collector.ids == ["before", "after"]


def test_a_predictor_that_stays_is_not_waited_for_for_ever(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    monitor.options = ("--last-delivery", "0.2")
    monitor.start()
    with monitor.connect() as predictor:
        predictor.sendall(monitor.framed(prediction("a")))
        wait_until(lambda: monitor.value("seamark_predictions_total") == 1)
        monitor.process.terminate()
        assert monitor.process.wait(10) == 0
    assert collector.ids == ["a"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_no_reason_to_drop_and_is_said_once(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait, status: int
) -> None:
    """Keys rotate: the collector may know the new one a moment earlier or later."""
    monitor.environment = {"SEAMARK_TOKEN": "write/default/churn.0.signature"}
    collector.status = status
    monitor.start()
    monitor.send(prediction("a"))
    wait_until(lambda: collector.posts >= 3)
    collector.status = 200
    wait_until(lambda: collector.ids == ["a"])
    assert monitor.stop() == 0
    assert collector.authorizations == {"Bearer write/default/churn.0.signature"}
    assert monitor.log.count("event=collector_unavailable") == 1
    assert "signature" not in monitor.log


def test_without_a_token_there_is_no_header(monitor: Any, collector: Any, prediction: Make, wait_until: Wait) -> None:
    monitor.start()
    monitor.send(prediction("a"))
    wait_until(lambda: collector.ids == ["a"])
    assert collector.authorizations == {""}


def test_the_package_is_served_as_it_was_verified(monitor: Any) -> None:
    folder = monitor.folder / "package"
    verified = {name: (folder / name).read_bytes() for name in ("seamark.json", "profile.json")}
    monitor.start()
    for name in verified:
        (folder / name).write_text("changed since")
    assert {name: monitor.get(f"/package/{name}").content for name in verified} == verified
    for name in ("contract.json", "model.onnx", "..%2fsecret", ""):
        assert monitor.get(f"/package/{name}").status_code == 404


def test_a_package_that_comes_late_is_waited_for_alive_and_not_ready(
    monitor: Any, collector: Any, prediction: Make, wait_until: Wait
) -> None:
    folder, away = monitor.folder / "package", monitor.folder / "away"
    folder.rename(away)
    monitor.options = ("--wait", "60")
    monitor.start(503)
    wait_until(lambda: "is not there" in monitor.get("/readyz").json()["error"])
    assert monitor.get("/healthz").json() == {"status": "alive"}
    assert monitor.get("/metrics").status_code == 503
    assert monitor.post(b"{}").status_code == 503
    away.rename(folder)
    monitor.await_ready()
    monitor.send(prediction("a"))
    wait_until(lambda: collector.ids == ["a"])


def test_a_monitor_that_waits_for_its_package_stops_when_told(monitor: Any) -> None:
    (monitor.folder / "package").rename(monitor.folder / "away")
    monitor.options = ("--wait", "60")
    monitor.start(503)
    assert monitor.stop() == 0


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(monitor: Any, prediction: Make, wait_until: Wait) -> None:
    monitor.start()
    monitor.kill()
    assert monitor.socket.exists()
    monitor.start()
    second = subprocess.run(
        [sys.executable, "-m", "seamark_monitor", *monitor.arguments[:-1], "0"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 2
    assert second.stderr.strip() == f"Cannot use spool {monitor.spool}: another monitor uses it"
    elsewhere = [*monitor.arguments[:-1], "0", "--spool", str(monitor.folder / "other")]
    third = subprocess.run(
        [sys.executable, "-m", "seamark_monitor", *elsewhere], capture_output=True, text=True, timeout=30
    )
    assert third.returncode == 2
    assert third.stderr.strip() == f"Cannot listen on {monitor.socket}: another process listens on it"
    monitor.send(prediction("still here"))
    wait_until(lambda: monitor.value("seamark_predictions_total") == 1)


def test_several_senders_at_once_are_all_counted(monitor: Any, prediction: Make, wait_until: Wait) -> None:
    monitor.start()

    def send(sender: str) -> None:
        for i in range(20):
            monitor.send(*(prediction(f"{sender}-{i}-{j}") for j in range(10)), sender=sender, dropped=i)

    threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: monitor.value("seamark_predictions_total") == 800)
    assert drops(monitor) == {"queue_full": 4 * 19}


def test_health_and_readiness(monitor: Any) -> None:
    monitor.start()
    assert monitor.get("/healthz").json() == {"status": "alive"}
    assert monitor.get("/readyz").json() == {"status": "ready"}
    assert monitor.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert monitor.socket.stat().st_mode & 0o777 == 0o660
