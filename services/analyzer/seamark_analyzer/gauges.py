"""The analyzer's own gauges, made from the newest evidence of every model at the moment of a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from seamark.evidence import Evidence
from seamark.metrics import CATALOGUE, COMMON
from seamark_analyzer.settings import Model

__all__ = ["Gauges"]

#: A model's settings and its newest evidence.
Known = Mapping[str, tuple[Model, Evidence | None]]

_Sample = tuple[tuple[str, ...], float]


class Gauges(Collector):
    """Prometheus text of all models; what is not known is not exported, so that no data never looks like 0."""

    def __init__(self, known: Callable[[], Known]) -> None:
        self._known = known
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> str:
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The families without samples: registering must not need evidence."""
        return self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = self._families()
        for name, (model, evidence) in self._known().items():
            for metric, (labels, value) in _samples(model, evidence):
                families[metric].add_metric([model.namespace, name, *labels], value)
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        return {
            metric.name: GaugeMetricFamily(metric.name, metric.help, labels=[*COMMON, *metric.labels])
            for metric in CATALOGUE.values()
            if metric.source == "analyzer"
        }


def _samples(model: Model, evidence: Evidence | None) -> Iterator[tuple[str, _Sample]]:
    for revision, source in model.revisions.items():
        yield "seamark_revision_info", ((revision, source.role), 1.0)
    if evidence is None or evidence.champion is None:
        return
    champion = evidence.champion.revision
    for drift in evidence.drift:
        if drift.rows:
            yield "seamark_drift_score", ((champion, drift.kind, drift.feature), drift.score)
            yield "seamark_drift_threshold", ((champion, drift.kind, drift.feature), drift.threshold)
    for arm in (evidence.champion, evidence.challenger):
        if arm and arm.recent and arm.recent.value is not None:
            yield "seamark_quality", ((arm.revision, "accuracy"), arm.recent.value)
    if evidence.challenger and evidence.pairs and evidence.pairs.agree.value is not None:
        yield "seamark_shadow_agreement_ratio", ((evidence.challenger.revision,), evidence.pairs.agree.value)
