"""One model's watch: each tick gathers counters and log rows and makes the evidence from them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seamark.errors import SeamarkError
from seamark.evidence import Arm, Drift, Evidence, Pairs, Share
from seamark.package import Schema
from seamark_analyzer.arms import arm, contract
from seamark_analyzer.findings import Alarms, assess
from seamark_analyzer.history import Window
from seamark_analyzer.joins import Floats, Rows, agreement, share_right
from seamark_analyzer.logs import Troubles
from seamark_analyzer.packages import Package, Packages
from seamark_analyzer.predictions import PredictionLog
from seamark_analyzer.scrape import CounterSource
from seamark_analyzer.settings import Model

__all__ = ["Watch"]

#: The log is read at most this often (seconds); a commit rarely comes sooner.
LOG_PERIOD = 1.0
#: Regression: values agree within this share of the champion's prediction spread (see `seamark.evidence.Pairs`).
AGREEMENT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A revision's labelled predictions and their labels, since the rollout's start and of the latest window.

    The latest window ends with the newest labelled prediction, not now: labels that come a day late still tell.
    recent: how many of the latest were right; None for regression, where right and wrong are no matter of yes and no.
    """

    rows: Rows
    labels: Floats
    recent: Share | None
    recent_labels: Floats

    def correct(self, since: float) -> Share | None:
        chosen = self.rows.time >= since
        if self.recent is None or not chosen.any():
            return None
        return share_right(self.rows.prediction[chosen], self.labels[chosen])


class Watch:
    """What is known of one model. `evidence` is None before the first tick and when the champion is not known."""

    def __init__(
        self,
        name: str,
        root: str,
        source: CounterSource,
        packages: Packages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._root = root
        self._source = source
        self._clock = clock
        self._troubles = Troubles(deployment=name)
        self._packages = packages
        self._log: PredictionLog | None = None
        self._log_read = -math.inf
        self._champion: str | None = None
        self._alarms = Alarms()
        self._drift: tuple[Drift, ...] = ()
        self._assessed: float | None = None
        self.evidence: Evidence | None = None

    async def tick(self, model: Model) -> None:
        """Gather what is new and renew the evidence. One part's failure leaves the others' evidence standing."""
        problems = await self._source.refresh(self._name, model)
        for url, problem in problems.items():
            self._troubles.report(url, problem)
        packages = {revision: await self._package(revision, model) for revision in _arms(model)}
        self._troubles.keep({*problems, *model.revisions, "log", "labels", "tick", "gauges"})
        champion = packages.get(model.champion or "")
        await self._read_log(model, champion)
        self.evidence = await self._renew(model, packages)

    def report(self, topic: str, problem: str) -> None:
        """What is wrong with a whole tick or with the gauges; "" when nothing is."""
        self._troubles.report(topic, problem)

    async def _package(self, revision: str, model: Model) -> Package | None:
        source = model.revisions.get(revision)
        if source is None:
            return None
        try:
            package = await self._packages.get(source)
        except SeamarkError as error:
            self._troubles.report(revision, str(error))
            return None
        self._troubles.report(revision, "")
        return package

    async def _read_log(self, model: Model, champion: Package | None) -> None:
        if champion is None:
            return
        schema = champion.manifest.schema
        if self._log is None or _meaning(self._log.schema) != _meaning(schema):
            self._log = PredictionLog(self._root, *model.identity, schema)
            self._log_read = -math.inf
        now = self._clock()
        if 0 <= now - self._log_read < LOG_PERIOD:
            return
        self._log_read = now
        problem = ""
        try:
            await asyncio.to_thread(self._log.refresh, set(model.revisions))
        except Exception as error:  # delta-rs, Arrow and object stores raise trees of their own; the rest must go on
            problem = f"Cannot read the prediction log: {error}"
        self._troubles.report("log", problem)
        self._troubles.report("labels", self._log.unusable)

    async def _renew(self, model: Model, packages: dict[str, Package | None]) -> Evidence:
        now = self._clock()
        if model.champion is None:
            return Evidence(time=now)
        labelled = {revision: self._labelled(revision, model, packages) for revision in packages}
        counts = await self._source.window(self._name, model.champion, now - model.window, now)
        self._assess(model, packages.get(model.champion), counts, labelled.get(model.champion), now)
        brief = await self._source.window(self._name, model.champion, now - model.brief, now)
        arms = {revision: await self._arm(revision, model, labelled[revision], now) for revision in packages}
        return Evidence(
            time=now,
            champion=arms[model.champion],
            challenger=arms.get(model.challenger or ""),
            pairs=self._pairs(model, packages),
            drift=self._drift,
            contract=contract(brief.counts),
            labels_since_drift=self._labels_since_drift(labelled[model.champion]),
            labels_total=self._log.labels_total if self._log else 0,
        )

    def _assess(
        self, model: Model, package: Package | None, window: Window, labelled: _Labelled | None, now: float
    ) -> None:
        """Test for drift once an interval: the false-alarm budget counts on that."""
        if self._champion != model.champion:
            self._champion, self._alarms, self._drift, self._assessed = model.champion, Alarms(), (), None
        due = self._assessed is None or not 0 <= now - self._assessed < model.interval - model.tick / 2
        if package is None or not due:
            return
        self._assessed = now
        labels = labelled.recent_labels if labelled else np.zeros(0)
        findings = assess(package, model, window.counts, labels, labelled.recent if labelled else None)
        self._drift = self._alarms.judge(findings, now)

    async def _arm(self, revision: str, model: Model, labelled: _Labelled | None, now: float) -> Arm | None:
        """None for a challenger that was not ready yet: nothing counts before the rollout's start."""
        rollout = model.challenger is not None and model.since is not None
        if revision == model.challenger and not rollout:
            return None
        since = model.since if rollout and model.since is not None else now - model.window
        whole = await self._source.window(self._name, revision, since, now)
        latest = await self._source.window(self._name, revision, now - model.latest, now)
        correct = labelled.correct(since) if labelled else None
        return arm(revision, since, now, whole, latest, correct, labelled.recent if labelled else None)

    def _labelled(self, revision: str, model: Model, packages: dict[str, Package | None]) -> _Labelled | None:
        """None without a log or any label."""
        if self._log is None:
            return None
        rows, labels = self._rows(revision, packages).labelled(self._log.labels)
        if not len(rows):
            return None
        latest = rows.time >= rows.time.max() - model.window
        is_class = self._log.schema.task != "regression"
        recent = share_right(rows.prediction[latest], labels[latest]) if is_class else None
        return _Labelled(rows, labels, recent, labels[latest])

    def _rows(self, revision: str, packages: dict[str, Package | None]) -> Rows:
        """The revision's predictions in the champion's classes; the classes may stand in another order."""
        if self._log is None:
            return Rows()
        rows = self._log.rows.get(revision, Rows())
        package = packages.get(revision)
        if package is None or package.manifest.schema.classes == self._log.schema.classes:
            return rows
        meanings = [self._log.schema.label_value(name) for name in package.manifest.schema.classes]
        return rows.translated(np.array([np.nan if meaning is None else meaning for meaning in meanings]))

    def _pairs(self, model: Model, packages: dict[str, Package | None]) -> Pairs | None:
        champion = packages.get(model.champion or "")
        if self._log is None or champion is None or model.challenger is None or model.since is None:
            return None
        ours, theirs = (
            self._rows(revision, packages).since(model.since) for revision in (model.champion or "", model.challenger)
        )
        return agreement(ours, theirs, self._log.labels, _tolerance(champion))

    def _labels_since_drift(self, labelled: _Labelled | None) -> int:
        since = self._alarms.since
        if since is None or labelled is None:
            return 0
        return int(np.count_nonzero(labelled.rows.time >= since))


def _arms(model: Model) -> list[str]:
    return [revision for revision in (model.champion, model.challenger) if revision is not None]


def _meaning(schema: Schema) -> tuple[object, ...]:
    """What must be equal for logged outputs and labels to keep their meaning."""
    return schema.task, schema.classes


def _tolerance(champion: Package) -> float | None:
    """The largest difference of values that agree; None for classes."""
    if champion.manifest.schema.task != "regression":
        return None
    column = next((column for column in champion.profile.outputs if column.name == "prediction"), None)
    if column is None or column.low is None or column.high is None:
        return 0.0
    return AGREEMENT_SHARE * (column.high - column.low)
