"""The operator's own metrics, as the catalogue names them, made at each scrape from what was counted."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from seamark.actions import EventKind, Notify
from seamark.metrics import CATALOGUE, Metric
from seamark_kubernetes.calls import Verb

__all__ = ["AlertResult", "Telemetry", "TurnResult"]

#: done: decided and applied. blocked: the manifest cannot be used. conflict: another wrote the memory meanwhile.
#: unavailable: the API server or a service did not answer. failed: an error of the operator's own.
TurnResult = Literal["done", "blocked", "conflict", "unavailable", "failed"]
#: Alerts: stored, duplicate, quarantined, unstored (to come again), truncated (left out by Alertmanager).
#: Notifications that were not read: refused (token, size), or unstored.
AlertResult = Literal["stored", "duplicate", "quarantined", "refused", "unstored", "truncated"]

#: Seconds; a turn is a few calls of the API server.
TURN_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Events shown on dashboards, and how many (revision, event) series of a deployment are kept, the newest.
SHOWN: frozenset[EventKind] = frozenset(
    {"Promoted", "RolledBack", "RetrainingStarted", "ShadowStarted", "WeightChanged"}
)
MAX_EVENTS = 20

_Labels = tuple[str, ...]


class Telemetry(Collector):
    """Counts what the operator does. All label values known beforehand start at 0. now: Unix seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._turns: dict[str, int] = dict.fromkeys(get_args(TurnResult), 0)
        self._turn_counts = [0] * (len(TURN_BOUNDS) + 1)
        self._turn_seconds = 0.0
        self._calls: dict[str, int] = dict.fromkeys(get_args(Verb), 0)
        self._alerts: dict[str, int] = dict.fromkeys(get_args(AlertResult), 0)
        self._ignored = 0
        self._deployments = 0
        self._last_pass: float | None = None
        self._events: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)
        # process_resident_memory_bytes, process_cpu_seconds_total and the like, under their usual names.
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)

    # --- counting

    def turn(self, result: TurnResult, seconds: float) -> None:
        self._turns[result] += 1
        self._turn_counts[bisect_left(TURN_BOUNDS, seconds)] += 1
        self._turn_seconds += seconds

    def api_call(self, verb: Verb) -> None:
        """One request to the API server."""
        self._calls[verb] += 1

    def alert(self, result: AlertResult, count: int = 1) -> None:
        self._alerts[result] += count

    def alerts_ignored(self, count: int) -> None:
        """How many alerts that fire now lack the labels they need."""
        self._ignored = count

    def passed(self) -> None:
        """Every deployment that was due has had its turn, now."""
        self._last_pass = self._now()

    def deployments(self, count: int) -> None:
        self._deployments = count

    def told(self, namespace: str, deployment: str, event: Notify) -> None:
        """An event for dashboards; others are not kept, and of a deployment only the newest."""
        if event.kind not in SHOWN:
            return
        events = self._events.setdefault((namespace, deployment), {})
        events.pop((event.revision, event.kind), None)
        events[event.revision, event.kind] = self._now()
        while len(events) > MAX_EVENTS:
            del events[next(iter(events))]

    def forget(self, namespace: str, deployment: str) -> None:
        """A deployment that was deleted."""
        self._events.pop((namespace, deployment), None)

    # --- exposing

    def collect(self) -> Iterator[Family]:
        for metric in CATALOGUE.values():
            if metric.source == "operator":
                yield self._family(metric)

    def _family(self, metric: Metric) -> Family:
        if metric.kind == "histogram":
            return self._turn_times(metric)
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.help, labels=metric.all_labels)
        for labels, value in self._samples(metric.name):
            family.add_metric(labels, value)
        return family

    def _samples(self, name: str) -> Iterable[tuple[_Labels, float]]:
        match name:
            case "seamark_operator_turns_total":
                return _by_label(self._turns)
            case "seamark_operator_api_calls_total":
                return _by_label(self._calls)
            case "seamark_operator_alerts_total":
                return _by_label(self._alerts)
            case "seamark_operator_alerts_ignored":
                return [((), self._ignored)]
            case "seamark_operator_deployments":
                return [((), self._deployments)]
            case "seamark_operator_last_pass_timestamp_seconds":
                return [] if self._last_pass is None else [((), self._last_pass)]
            case "seamark_rollout_event_timestamp_seconds":
                return self._event_samples()
        raise AssertionError(f"the catalogue's {name} is not counted here")

    def _event_samples(self) -> Iterator[tuple[_Labels, float]]:
        for key, events in self._events.items():
            for pair, time_ in events.items():
                yield (*key, *pair), time_

    def _turn_times(self, metric: Metric) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.all_labels)
        bounds = [*(str(bound) for bound in TURN_BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._turn_counts), strict=True))
        family.add_metric((), buckets, self._turn_seconds)
        return family


def _by_label(counts: Mapping[str, int]) -> Iterable[tuple[_Labels, float]]:
    return (((value,), count) for value, count in counts.items())
