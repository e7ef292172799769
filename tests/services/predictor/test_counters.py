"""What the predictor counts is what Prometheus reads, from every worker and across their deaths."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import timeit
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from seamark.metrics import CATALOGUE, LATENCY_BOUNDS
from seamark_predictor.counters import BATCH_BOUNDS, PROTOCOLS, STATUSES, Counters, ModelInfo, shared_file

CHURN = ModelInfo("churn", "churn-1a2b3c4d", "sklearn_onnx", "1a2b3c4d" * 8)
ODD = ModelInfo('a "b" \\ \n ü', "v", "p", "d")
OWN = {name: metric for name, metric in CATALOGUE.items() if metric.source == "predictor"}


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = shared_file()
    yield descriptor
    os.close(descriptor)


def samples(counters: Counters) -> dict[tuple[str, ...], float]:
    """(name, label values in order) -> value, as Prometheus reads them."""
    families = text_string_to_metric_families(counters.text().decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_every_metric_of_the_catalogue_is_exported_with_its_labels_and_no_other() -> None:
    families = list(text_string_to_metric_families(Counters([CHURN, ODD]).text().decode()))
    found = {f"{one.name}_total" if one.type == "counter" else one.name: one for one in families}
    assert found.keys() == OWN.keys()
    for name, family in found.items():
        metric = OWN[name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        labels = {tuple(label for label in sample.labels if label != "le") for sample in family.samples}
        assert labels == {metric.labels}


def test_everything_starts_at_zero_and_is_there_at_once() -> None:
    found = samples(Counters([CHURN]))
    by_hand = ("seamark_predictor_model_info", "seamark_predictor_start_", "seamark_predictor_worker_starts_total")
    assert {value for key, value in found.items() if not key[0].startswith(by_hand)} == {0.0}
    requests = [key for key in found if key[0] == "seamark_predictor_requests_total"]
    assert len(requests) == len(PROTOCOLS) * (len(STATUSES) + 6)
    assert found["seamark_predictor_model_info", *vars_of(CHURN)] == 1


def vars_of(info: ModelInfo) -> tuple[str, ...]:
    return (info.name, info.version, info.platform, info.digest)


def test_names_that_prometheus_would_stumble_over_come_through() -> None:
    assert samples(Counters([ODD]))["seamark_predictor_model_info", *vars_of(ODD)] == 1


@pytest.mark.parametrize(
    ("status", "label"),
    [(200, "200"), (422, "422"), (504, "504"), (418, "4xx"), (599, "5xx"), (100, "1xx"), (0, "other"), (700, "other")],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_is_counted_by_protocol_and_status(protocol: str, status: int, label: str) -> None:
    counters = Counters([CHURN])
    counters.models[0].answered(protocol, status, 0.001, 3)
    found = samples(counters)
    ones = {key: value for key, value in found.items() if key[0] == "seamark_predictor_requests_total" and value}
    assert ones == {("seamark_predictor_requests_total", "churn", protocol, label): 1}
    assert found["seamark_predictor_rows_total", "churn"] == (3 if status == 200 else 0)


def test_the_other_counters_are_themselves() -> None:
    counters = Counters([ODD, CHURN])
    churn = counters.models[1]
    churn.waiting(7)
    churn.rejected()
    churn.timed_out()
    churn.timed_out()
    churn.cache_hit()
    churn.cache_missed()
    churn.cache_evicted(5)
    found = samples(counters)
    names = ("queue_requests", "rejected_total", "timed_out_total")
    assert [found[f"seamark_predictor_{name}", "churn"] for name in names] == [7, 1, 2]
    names = ("cache_hits_total", "cache_misses_total", "cache_evictions_total")
    assert [found[f"seamark_predictor_{name}", "churn"] for name in names] == [1, 1, 5]
    assert all(found[f"seamark_predictor_{name}", ODD.name] == 0 for name in names)


@given(st.lists(st.floats(0, 100)))
def test_latencies_lie_below_the_first_bound_that_holds_them(seconds: list[float]) -> None:
    counters = Counters([CHURN])
    for each in seconds:
        counters.models[0].answered("v2", 200, each, 1)
    found = samples(counters)
    for bound in (*LATENCY_BOUNDS, float("inf")):
        label = "+Inf" if bound == float("inf") else str(bound)
        key = ("seamark_predictor_request_seconds_bucket", "churn", label)
        assert found[key] == sum(each <= bound for each in seconds)
    assert found["seamark_predictor_request_seconds_count", "churn"] == len(seconds)
    assert found["seamark_predictor_request_seconds_sum", "churn"] == pytest.approx(sum(seconds), abs=1e-6)


def test_runs_are_counted_by_their_rows() -> None:
    counters = Counters([CHURN])
    sizes = (1, 2, 3, 4, 5, 1024, 1025, 100_000)
    for rows in sizes:
        counters.models[0].ran(rows)
    found = samples(counters)
    for bound in BATCH_BOUNDS:
        assert found["seamark_predictor_batch_rows_bucket", "churn", str(bound)] == sum(n <= bound for n in sizes)
    assert found["seamark_predictor_batch_rows_sum", "churn"] == sum(sizes)


def test_any_worker_tells_the_sum_of_all(file: int) -> None:
    workers = [Counters([CHURN], file=file, workers=3, index=i) for i in range(3)]
    for i, worker in enumerate(workers):
        for _ in range(10**i):
            worker.models[0].answered("v1", 200, 0.01, 2)
        worker.models[0].waiting(i)
        for _ in range(3):
            worker.models[0].began()
        worker.models[0].ended()
    assert [worker.models[0].in_flight for worker in workers] == [2, 2, 2]
    texts = {worker.text() for worker in workers}
    assert len(texts) == 1
    found = samples(workers[1])
    assert found["seamark_predictor_requests_total", "churn", "v1", "200"] == 111
    assert found["seamark_predictor_rows_total", "churn"] == 222
    assert found["seamark_predictor_queue_requests", "churn"] == 3
    assert found["seamark_predictor_requests_in_flight", "churn"] == 6
    assert found["seamark_predictor_worker_starts_total",] == 3


def test_a_worker_that_is_started_again_goes_on_in_its_row(file: int) -> None:
    started = time.time()
    first = Counters([CHURN], file=file, workers=2, index=1)
    first.models[0].answered("v2", 200, 0.01, 1)
    first.models[0].waiting(9)
    first.models[0].began()
    again = Counters([CHURN], file=file, workers=2, index=1)
    again.models[0].answered("v2", 200, 0.01, 1)
    found = samples(again)
    assert found["seamark_predictor_requests_total", "churn", "v2", "200"] == 2
    assert found["seamark_predictor_queue_requests", "churn"] == 0, "what waited died with the worker"
    assert found["seamark_predictor_requests_in_flight", "churn"] == 0
    assert found["seamark_predictor_worker_starts_total",] == 2
    assert found["seamark_predictor_start_timestamp_seconds",] == pytest.approx(started, abs=60)


def test_workers_are_other_processes(file: int) -> None:
    here = Counters([CHURN], file=file, workers=2, index=0)
    program = (
        "import sys; from seamark_predictor.counters import Counters, ModelInfo\n"
        f"there = Counters([ModelInfo('churn', 'v', 'p', 'd')], file={file}, workers=2, index=1)\n"
        "there.models[0].answered('v2', 200, 0.5, 4)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, pass_fds=[file])
    assert samples(here)["seamark_predictor_rows_total", "churn"] == 4


def test_workers_with_other_models_are_refused(file: int) -> None:
    """It would read others' cells as its own."""
    Counters([CHURN], file=file, workers=2, index=0)
    with pytest.raises(ValueError, match="cells cannot take 2 models"):
        Counters([CHURN, ODD], file=file, workers=2, index=1)


def test_counting_a_request_is_cheap() -> None:
    """About a microsecond; ten are allowed, because tests share the machine."""
    model = Counters([CHURN]).models[0]
    seconds = min(timeit.repeat(lambda: model.answered("v2", 200, 0.0012, 1), number=1000, repeat=5)) / 1000
    assert seconds < 10e-6
