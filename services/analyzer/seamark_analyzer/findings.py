"""The champion's window against its profile: one finding for each feature, output, the labels and the quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seamark.drift import Comparison, QualityDrop, alpha_per_test, compare_all, impact, quality_drop
from seamark.evidence import Drift, Share
from seamark.package import NUMBER
from seamark.profile import Column, bin_numbers, class_bin
from seamark.spec import FalseAlarms
from seamark_analyzer.exposition import Series
from seamark_analyzer.joins import Floats
from seamark_analyzer.packages import Package
from seamark_analyzer.settings import Model

__all__ = ["Alarms", "Finding", "assess"]

Counts = NDArray[np.int64]

#: `minEffect` is on PSI's scale, so quality has its own: a drop of less than two points never alarms.
SMALLEST_QUALITY_DROP = 0.02


@dataclass(frozen=True, slots=True)
class Finding:
    """What one test says now. `comparison` is None where there are too few rows to tell."""

    kind: str
    feature: str
    comparison: Comparison | QualityDrop | None
    importance: float | None = None


def assess(
    package: Package, model: Model, counts: Mapping[Series, float], labels: Floats, quality: Share | None
) -> list[Finding]:
    """All tests of one evaluation; together they keep the false-alarm budget.

    counts: the window's growth. labels: of the latest labelled predictions; quality: how many of these were right.
    """
    subjects = _subjects(package, counts, labels)
    reference = package.manifest.metrics.get("accuracy")
    tests = len(subjects) + (reference is not None)
    budget = FalseAlarms(model.false_alarms.count, model.false_alarms.seconds)
    alpha = alpha_per_test(budget, model.interval, tests)
    comparisons = compare_all(
        [window for _, _, window in subjects],
        [np.asarray(column.counts, np.int64) for _, column, _ in subjects],
        alpha,
        model.min_effect,
    )
    findings = [
        Finding(kind, "" if kind == "label" else column.name, comparison, column.importance)
        for (kind, column, _), comparison in zip(subjects, comparisons, strict=True)
    ]
    if reference is not None:
        rows = int(package.manifest.metrics.get("rows", 0))
        smallest = min(model.min_effect, SMALLEST_QUALITY_DROP)
        drop = quality_drop(quality or Share(0, 0), float(reference), rows, alpha, smallest)
        findings.append(Finding("concept", "", drop))
    return findings


def _subjects(package: Package, counts: Mapping[Series, float], labels: Floats) -> list[tuple[str, Column, Counts]]:
    """(kind, reference, window's counts) of each distribution that is compared."""
    profile = package.profile
    features = [("feature", column, _bins("seamark_feature_bin_total", column, counts)) for column in profile.features]
    outputs = [("prediction", column, _bins("seamark_output_bin_total", column, counts)) for column in profile.outputs]
    label = [("label", profile.label, _label_bins(profile.label, labels))] if profile.label else []
    return [*features, *outputs, *label]


def _bins(metric: str, column: Column, counts: Mapping[Series, float]) -> Counts:
    return np.rint([counts.get((metric, column.name, label), 0.0) for label in column.labels]).astype(np.int64)


def _label_bins(column: Column, labels: Floats) -> Counts:
    if column.type == NUMBER:
        return bin_numbers(labels.reshape(-1, 1), [column])[0]
    counts = np.zeros(column.bins, np.int64)
    index = {value: i for i, value in enumerate(column.values)}
    for value, count in zip(*np.unique(labels, return_counts=True), strict=True):
        counts[index.get(class_bin(value) or "", len(index))] += count
    return counts


class Alarms:
    """Remembers since when each score of one champion is above its threshold.

    A test with too few rows neither raises nor ends an alarm: what is active stays listed with its last numbers, the
    rest is listed with score, threshold and rows 0, so that nobody takes it for a subject that is no longer watched.
    """

    def __init__(self) -> None:
        self._active: dict[tuple[str, str], Drift] = {}

    @property
    def since(self) -> float | None:
        """When the oldest active alarm began."""
        return min((drift.since for drift in self._active.values() if drift.since is not None), default=None)

    def judge(self, findings: Sequence[Finding], now: float) -> tuple[Drift, ...]:
        """The findings as evidence, strongest impact first."""
        return tuple(sorted((self._judge(finding, now) for finding in findings), key=lambda drift: -drift.impact))

    def _judge(self, finding: Finding, now: float) -> Drift:
        key = (finding.kind, finding.feature)
        known = self._active.get(key)
        comparison = finding.comparison
        if comparison is None:
            return known or Drift(finding.kind, finding.feature, score=0.0, threshold=0.0, rows=0)
        drift = Drift(
            kind=finding.kind,
            feature=finding.feature,
            score=comparison.score,
            threshold=comparison.threshold,
            rows=comparison.rows,
            impact=impact(comparison, finding.importance),
        )
        if comparison.score <= comparison.threshold:
            self._active.pop(key, None)
            return drift
        self._active[key] = replace(drift, since=known.since if known else now)
        return self._active[key]
