"""Prometheus text is read as the client library reads it, and merged into text that it accepts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from seamark.metrics import CATALOGUE, COMMON, LATENCY_BOUNDS
from seamark_analyzer.exposition import Reader, merge

OWNER = ("default", "m", "m-1")


def exposition(features: dict[str, int], latencies: list[float], owner: tuple[str, ...] = OWNER) -> str:
    """What a monitor that uses the client library would export."""
    registry = CollectorRegistry()
    bins = CATALOGUE["seamark_feature_bin_total"]
    counter = Counter(bins.name, bins.help, [*COMMON, *bins.labels], registry=registry)
    for name, count in features.items():
        counter.labels(*owner, name, "0").inc(count)
    seconds = CATALOGUE["seamark_prediction_latency_seconds"]
    histogram = Histogram(seconds.name, seconds.help, COMMON, registry=registry, buckets=LATENCY_BOUNDS)
    for latency in latencies:
        histogram.labels(*owner).observe(latency)
    return generate_latest(registry).decode()


@given(st.dictionaries(st.text(max_size=20), st.integers(0, 2**40), max_size=5))
def test_any_feature_name_is_read_back(features: dict[str, int]) -> None:
    found = Reader(*OWNER).read(exposition(features, []))
    assert found == {("seamark_feature_bin_total", name, "0"): count for name, count in features.items()}


def test_buckets_are_told_apart_by_their_bound() -> None:
    found = Reader(*OWNER).read(exposition({}, [0.00015, 20.0]))
    buckets = {float(le): value for name, le in found if (value := found[name, le]) is not None}
    assert buckets[LATENCY_BOUNDS[0]] == 0
    assert buckets[LATENCY_BOUNDS[-1]] == 1
    assert buckets[float("inf")] == 2
    assert len(buckets) == len(LATENCY_BOUNDS) + 1


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("{0} 3", 3.0),
        ("{0} 3.5e2 1767000000000", 350.0),
        ("{0}   4", 4.0),
    ],
    ids=["a plain value", "a value with a time", "several blanks"],
)
def test_a_value_is_read_whatever_follows(line: str, value: float) -> None:
    head = 'seamark_requests_total{revision="m-1",status="200", namespace="default",deployment="m",}'
    assert Reader(*OWNER).read(line.format(head)) == {("seamark_requests_total", "200"): value}


@pytest.mark.parametrize(
    "line",
    [
        "seamark_requests_total{0} x",
        "seamark_requests_total{0} NaN",
        "seamark_requests_total{0} -1",
        "seamark_requests_total{0}",
        'seamark_requests_total{namespace="default" 1',
    ],
)
def test_a_counter_that_cannot_be_read_spoils_the_whole_text(line: str) -> None:
    labels = '{namespace="default",deployment="m",revision="m-1",status="200"}'
    with pytest.raises(ValueError, match=r"value|label|float"):
        Reader(*OWNER).read(line.replace("{0}", labels) + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# HELP seamark_requests_total x\n",
        "python_gc_total 3\n",
        'seamark_log_spool_bytes{namespace="default",deployment="m",revision="m-1"} 3\n',
        'seamark_requests_total{namespace="default",deployment="m",revision="m-2",status="200"} 3\n',
        'seamark_unheard_of_total{namespace="default",deployment="m",revision="m-1"} 3\n',
    ],
    ids=["nothing", "comments", "other programs", "gauges", "another revision", "unknown names"],
)
def test_what_is_not_the_revisions_counter_is_passed_over(text: str) -> None:
    assert Reader(*OWNER).read(text) == {}


def test_merged_texts_keep_every_sample_once_and_in_its_family() -> None:
    texts = {"host:1": exposition({"a": 1}, [0.1]), "host:2": exposition({"a": 2}, [0.2])}
    own = '# HELP seamark_quality q\n# TYPE seamark_quality gauge\nseamark_quality{metric="accuracy"} 0.5\n'
    families = list(text_string_to_metric_families(merge(texts, own)))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    assert {family.name: family.type for family in families}["seamark_prediction_latency_seconds"] == "histogram"
    samples = [(s.name, tuple(sorted(s.labels.items()))) for family in families for s in family.samples]
    assert len(set(samples)) == len(samples)
    by_instance = {
        s.labels["instance"]: s.value
        for family in families
        for s in family.samples
        if s.name == "seamark_feature_bin_total"
    }
    assert by_instance == {"host:1": 1, "host:2": 2}
    assert ("seamark_quality", (("metric", "accuracy"),)) in samples


@given(st.text(max_size=20))
def test_merging_keeps_labels_of_any_text(name: str) -> None:
    merged = merge({"host:1": exposition({name: 3}, [])})
    found = [s.labels["feature"] for family in text_string_to_metric_families(merged) for s in family.samples]
    assert set(found) == {name}


def test_merging_nothing_gives_nothing() -> None:
    assert merge({}) == ""


def test_samples_without_labels_get_the_instance_too() -> None:
    merged = merge({"host:1": "up 1\n", "host:2": "up{} 2\n"})
    assert merged == 'up{instance="host:1"} 1\nup{instance="host:2"} 2\n'
