"""The analyzer's own gauges, made from the newest evidence of every model at the moment of a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from seamark.evidence import Drift, Evidence
from seamark.metrics import CATALOGUE
from seamark_analyzer.settings import Model

__all__ = ["Gauges", "exported"]

#: Models by name, each with its settings and its newest evidence.
Known = Mapping[str, tuple[Model, Evidence | None]]

_Sample = tuple[tuple[str, ...], float]


class Gauges(Collector):
    """Prometheus text of all models; what is not known is not exported, so that no data never looks like 0."""

    def __init__(self, known: Callable[[], Known], max_features: int) -> None:
        self._known = known
        self._max_features = max_features
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def problem(self, evidence: Evidence | None) -> str:
        """Why some of the evidence has no gauges; "" when all has."""
        features = sum(drift.kind == "feature" for drift in evidence.drift) if evidence else 0
        if features <= self._max_features:
            return ""
        return f"Cannot export all {features} features: --max-features is {self._max_features}"

    def text(self) -> str:
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The families without samples: registering must not need evidence."""
        return self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = self._families()
        for model, evidence in self._known().values():
            for metric, (labels, value) in _samples(model, evidence, self._max_features):
                families[metric].add_metric([*model.identity, *labels], value)
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        return {
            metric.name: GaugeMetricFamily(metric.name, metric.help, labels=metric.all_labels)
            for metric in CATALOGUE.values()
            if metric.source == "analyzer"
        }


def _samples(model: Model, evidence: Evidence | None, max_features: int) -> Iterator[tuple[str, _Sample]]:
    for revision, source in model.revisions.items():
        yield "seamark_revision_info", ((revision, source.role), 1.0)
    if evidence is None or evidence.champion is None:
        return
    champion = evidence.champion.revision
    for drift in exported(evidence.drift, max_features):
        if drift.rows:
            yield "seamark_drift_score", ((champion, drift.kind, drift.feature), drift.score)
            yield "seamark_drift_threshold", ((champion, drift.kind, drift.feature), drift.threshold)
    for arm in (evidence.champion, evidence.challenger):
        if arm and arm.recent and arm.recent.value is not None:
            yield "seamark_quality", ((arm.revision, "accuracy"), arm.recent.value)
    if evidence.labels_total:
        yield "seamark_log_labels", ((champion,), float(evidence.labels_total))
    if evidence.challenger and evidence.pairs and evidence.pairs.agree.value is not None:
        yield "seamark_shadow_agreement_ratio", ((evidence.challenger.revision,), evidence.pairs.agree.value)


def exported(drift: Sequence[Drift], max_features: int) -> list[Drift]:
    """What has gauges: at most `max_features` features, those that alarm first, then those of most impact.

    drift: as in `Evidence`, strongest impact first.
    """
    features = sorted((one for one in drift if one.kind == "feature"), key=lambda one: one.since is None)
    return [*features[:max_features], *(one for one in drift if one.kind != "feature")]
