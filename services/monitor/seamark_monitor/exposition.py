"""The catalogue's metrics, made at each scrape from what was counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from seamark.metrics import CATALOGUE, COMMON, LATENCY_BOUNDS, Metric
from seamark.profile import Column
from seamark_monitor.counters import Counters
from seamark_monitor.drops import Drops
from seamark_monitor.shipper import Labels
from seamark_monitor.spool import Spool
from seamark_monitor.watched import Watched

__all__ = ["Exposition"]

Samples = Iterable[tuple[tuple[str, ...], float]]


class Exposition(Collector):
    """labels: namespace, deployment and revision of every sample."""

    def __init__(self, labels: Labels, watched: Watched, counters: Counters, drops: Drops, spool: Spool) -> None:
        self._labels = labels
        self._watched = watched
        self._counters = counters
        self._drops = drops
        self._spool = spool
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Family]:
        for metric in CATALOGUE.values():
            if metric.source == "monitor":
                yield self._family(metric)

    def _family(self, metric: Metric) -> Family:
        if metric.kind == "histogram":
            return self._latency(metric)
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family: CounterMetricFamily | GaugeMetricFamily = kind(
            metric.name, metric.help, labels=(*COMMON, *metric.labels)
        )
        for labels, value in self._samples(metric.name):
            family.add_metric((*self._labels, *labels), value)
        return family

    def _samples(self, name: str) -> Samples:
        counters = self._counters
        match name:
            case "seamark_predictions_total":
                return [((), counters.rows)]
            case "seamark_requests_total":
                return _by_text(counters.statuses.items())
            case "seamark_feature_bin_total":
                return _bins((*self._watched.numbers, *self._watched.categories), counters.features)
            case "seamark_output_bin_total":
                return _bins(self._watched.profile.outputs, counters.outputs)
            case "seamark_contract_violations_total":
                return counters.violations.items()
            case "seamark_contract_rows_total":
                return _by_text(counters.kept.items())
            case "seamark_nonfinite_total":
                return _by_text(counters.nonfinite.items())
            case "seamark_log_dropped_total":
                return _by_text(self._drops.by_reason.items())
            case "seamark_log_spool_bytes":
                return [((), self._spool.waiting_bytes)]
        raise AssertionError(f"the catalogue's {name} is not counted here")

    def _latency(self, metric: Metric) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.help, labels=COMMON)
        cumulative = np.cumsum(self._counters.latency).tolist()
        bounds = [*(str(bound) for bound in LATENCY_BOUNDS), "+Inf"]
        family.add_metric(self._labels, list(zip(bounds, cumulative, strict=True)), self._counters.latency_sum)
        return family


def _by_text(items: Iterable[tuple[str, int]]) -> Samples:
    return (((key,), value) for key, value in items)


def _bins(columns: Iterable[Column], counts: dict[str, NDArray[np.int64]]) -> Samples:
    for column in columns:
        for label, count in zip(column.labels, counts[column.name].tolist(), strict=True):
            yield (column.name, label), count
