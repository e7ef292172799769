"""The metric catalogue keeps to Prometheus's rules, so that exporters and rules can rely on it."""

from __future__ import annotations

import itertools
import re

import pytest

from seamark.metrics import CATALOGUE, COMMON, LATENCY_BOUNDS, Metric

METRICS = list(CATALOGUE.values())
#: What is told of a process, not of a deployment.
OWN = ("seamark_operator_", "seamark_predictor_")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_and_labels_are_valid(metric: Metric) -> None:
    assert CATALOGUE[metric.name] is metric
    assert re.fullmatch(r"seamark_[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert "__" not in metric.name
    for label in metric.all_labels:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", label)
        assert label not in ("le", "quantile", "job", "instance")
    assert len({*COMMON, *metric.labels}) == len(COMMON) + len(metric.labels)
    assert metric.all_labels == ((*COMMON, *metric.labels) if metric.has_common else metric.labels)
    assert metric.has_common != metric.name.startswith(OWN)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_kinds_have_their_endings(metric: Metric) -> None:
    assert metric.kind in ("counter", "gauge", "histogram")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(("_sum", "_count", "_bucket"))
    if metric.kind == "histogram":
        assert metric.name.endswith(("_seconds", "_rows"))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_help_is_one_line_and_the_source_a_service(metric: Metric) -> None:
    assert re.fullmatch(r"[A-Z0-9].*[^.\s]", metric.help)
    assert metric.source in ("monitor", "predictor", "analyzer", "operator")


def test_latency_bounds_grow_by_a_quarter_from_a_tenth_of_a_millisecond_to_ten_seconds() -> None:
    assert LATENCY_BOUNDS[0] == 0.0001
    assert LATENCY_BOUNDS[-2] < 10 <= LATENCY_BOUNDS[-1]
    for low, high in itertools.pairwise(LATENCY_BOUNDS):
        assert 1.24 < high / low < 1.26


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_gauge_of_time_or_size_names_its_unit_last(metric: Metric) -> None:
    for unit, text in (("seconds", "seconds"), ("bytes", "Bytes")):
        if metric.name.endswith(f"_{unit}"):
            assert metric.kind in ("gauge", "histogram")
            assert text in metric.help or metric.kind == "histogram"
    assert ("timestamp" in metric.name) == metric.name.endswith("_timestamp_seconds")


def test_metrics_of_a_process_are_told_apart_from_those_of_a_deployment() -> None:
    own = {metric.name: metric.source for metric in METRICS if not metric.has_common}
    assert own == {m.name: m.name.split("_")[1] for m in METRICS if m.name.startswith(OWN)}
    assert set(own.values()) == {"operator", "predictor"}
    told = CATALOGUE["seamark_rollout_event_timestamp_seconds"]
    assert (told.source, told.all_labels) == ("operator", (*COMMON, "event"))


def test_what_a_predictor_tells_of_a_model_names_it() -> None:
    of_process = {"seamark_predictor_start_timestamp_seconds", "seamark_predictor_worker_starts_total"}
    for metric in METRICS:
        if metric.source == "predictor":
            assert metric.labels[:1] == (() if metric.name in of_process else ("model",))
