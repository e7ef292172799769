"""What is scraped: the catalogue, all of it and nothing else, whole from the first scrape on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark.metrics import CATALOGUE, COMMON, LATENCY_BOUNDS
from seamark.package import Schema
from seamark.profile import Profile
from seamark.records import Prediction, pack
from seamark_monitor.counters import Counters
from seamark_monitor.drops import REASONS, Drops
from seamark_monitor.exposition import Exposition
from seamark_monitor.spool import Position, Spool
from seamark_monitor.watched import fit

OWN = {metric.name: metric for metric in CATALOGUE.values() if metric.source == "monitor"}


@pytest.fixture
def counters(schema: Schema, reference: Profile) -> Counters:
    return Counters(fit(schema, reference))


@pytest.fixture
def scrape(tmp_path: Path, schema: Schema, reference: Profile, counters: Counters) -> Callable[[], str]:
    drops = Drops()
    spool = Spool(tmp_path, 2**20, Position(), drops)
    exposition = Exposition(("space", "churn", "churn-1"), fit(schema, reference), counters, drops, spool)
    return lambda: exposition.text().decode()


def test_names_kinds_helps_and_labels_are_the_catalogues(scrape: Callable[[], str]) -> None:
    families = list(text_string_to_metric_families(scrape()))
    assert [family.name for family in families] == [name.removesuffix("_total") for name in OWN]
    for family, metric in zip(families, OWN.values(), strict=True):
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {*COMMON, *metric.labels}
            assert [sample.labels[name] for name in COMMON] == ["space", "churn", "churn-1"]


def test_every_known_series_is_there_at_zero(scrape: Callable[[], str], reference: Profile) -> None:
    found: dict[str, set[tuple[str, ...]]] = {name: set() for name in OWN}
    for family in text_string_to_metric_families(scrape()):
        for sample in family.samples:
            assert sample.value == 0
            if sample.name in OWN:
                found[sample.name].add(tuple(sample.labels[label] for label in OWN[sample.name].labels))
    assert found["seamark_feature_bin_total"] == {(c.name, label) for c in reference.features for label in c.labels}
    assert found["seamark_output_bin_total"] == {(c.name, label) for c in reference.outputs for label in c.labels}
    assert {("prediction", "0"), ("prediction", "1"), ("score", "missing")} <= found["seamark_output_bin_total"]
    assert {("200",), ("400",), ("413",), ("422",), ("500",), ("503",)} <= found["seamark_requests_total"]
    assert {("age", "range"), ("colour", "category"), ("income", "type"), ("", "shape")} <= found[
        "seamark_contract_violations_total"
    ]
    assert ("age", "category") not in found["seamark_contract_violations_total"]
    assert found["seamark_log_dropped_total"] == {(reason,) for reason in REASONS}
    assert found["seamark_contract_rows_total"] == {("true",), ("false",)}
    assert found["seamark_nonfinite_total"] == {("input",), ("output",)}


def test_no_series_is_there_twice(scrape: Callable[[], str]) -> None:
    """The reference data has a category called `other`, as is the bin for all unknown ones."""
    heads = [line.rpartition(" ")[0] for line in scrape().splitlines() if not line.startswith("#")]
    assert len(heads) == len(set(heads))
    assert not any("_created" in head for head in heads)


def test_the_histogram_is_cumulative_over_the_catalogues_bounds(
    scrape: Callable[[], str], counters: Counters, prediction: Callable[..., Prediction]
) -> None:
    counters.add([pack([prediction("a", latency=seconds) for seconds in (0.00005, 0.003, 99.0)])], [])
    samples = [
        sample
        for family in text_string_to_metric_families(scrape())
        for sample in family.samples
        if sample.name.startswith("seamark_prediction_latency_seconds")
    ]
    buckets = {float(s.labels["le"]): s.value for s in samples if "le" in s.labels}
    assert list(buckets) == [*LATENCY_BOUNDS, float("inf")]
    assert [buckets[LATENCY_BOUNDS[0]], buckets[LATENCY_BOUNDS[-1]], buckets[float("inf")]] == [1, 2, 3]
    assert {s.name: s.value for s in samples if "le" not in s.labels} == {
        "seamark_prediction_latency_seconds_count": 3,
        "seamark_prediction_latency_seconds_sum": pytest.approx(99.00305),
    }
