"""Counters over time, in bounded memory: how much each one grew since any moment of the window.

A target's samples are turned into running totals that never fall, so that restarts are settled once, when a sample
arrives, and samples can be thinned afterwards without losing growth.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seamark.counts import add, increase
from seamark_analyzer.exposition import MOST_SERIES, Series

__all__ = ["Fleet", "History", "Window"]

#: Samples kept of a window, apart from the latest seconds, which are kept whole.
SAMPLES_PER_WINDOW = 120
#: A window may begin this share of its length before the moment asked for; after a longer gap it begins behind the gap.
LARGEST_OVERHANG = 0.1
#: Targets that left the settings and could come back. Of more only the sum is kept: a restart loop on ever new
#: addresses must not fill memory.
MOST_VANISHED = 64


@dataclass(frozen=True, slots=True)
class Window:
    """How much each counter grew from `start` to `end`: the times (Unix seconds) of the samples compared."""

    counts: Mapping[Series, float] = field(default_factory=dict)
    start: float = 0.0
    end: float = 0.0

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def total(self, name: str) -> float:
        """The sum over all series of one counter."""
        return sum(value for series, value in self.counts.items() if series[0] == name)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Running totals by slot; a slot that came later was 0."""

    time: float
    totals: NDArray[np.float64]


class History:
    """One target's counters. `window` and `latest`: seconds to cover coarsely and with every sample."""

    def __init__(self, window: float, latest: float) -> None:
        self._slots: dict[Series, int] = {}
        self._values: dict[Series, float] = {}
        self._totals = np.zeros(0)
        self._old: deque[_Sample] = deque()
        self._recent: deque[_Sample] = deque()
        self._pinned_at: float | None = None
        self._pinned: _Sample | None = None
        self.cover(window, latest)

    def cover(self, window: float, latest: float) -> None:
        self._window = window
        self._latest = latest

    @property
    def last(self) -> float | None:
        """Time of the newest sample."""
        return self._recent[-1].time if self._recent else None

    def add(self, time: float, values: Mapping[Series, float]) -> None:
        """Take in a sample: counters as exported at `time`."""
        self._grow(values)
        self._drop_from(time)
        sample = _Sample(time, self._totals.copy())
        self._recent.append(sample)
        if self._pinned is None and self._pinned_at is not None and time >= self._pinned_at:
            self._pinned = sample
        self._thin(time)

    def _grow(self, values: Mapping[Series, float]) -> None:
        restarted = self._is_another_process(values)
        if restarted:
            grown = dict(values)
        else:
            grown = increase([self._values, values]) if self._values else dict.fromkeys(values, 0.0)
        for series in grown:
            if series not in self._slots and len(self._slots) < MOST_SERIES:
                self._slots[series] = len(self._slots)
        self._totals.resize(len(self._slots), refcheck=False)
        for series, value in grown.items():
            if value and series in self._slots:
                self._totals[self._slots[series]] += value
        self._values = dict(values)

    def _is_another_process(self, values: Mapping[Series, float]) -> bool:
        """One process's counters never fall or go away; where one did, all of them began at 0 again.

        Taken one by one, those that have overtaken the old process already would lose what it had counted.
        """
        last = self._values
        return not last.keys() <= values.keys() or any(values[series] < value for series, value in last.items())

    def _drop_from(self, time: float) -> None:
        """After the clock was set back there are samples from the future; what they counted stays in the totals."""
        for samples in (self._recent, self._old):
            while samples and samples[-1].time >= time:
                samples.pop()

    def _thin(self, now: float) -> None:
        while len(self._recent) > 1 and self._recent[0].time < now - self._latest:
            sample = self._recent.popleft()
            if not self._old or sample.time - self._old[-1].time >= self._window / SAMPLES_PER_WINDOW:
                self._old.append(sample)
        while len(self._old) > 1 and self._old[1].time <= now - self._window:
            self._old.popleft()

    def pin(self, since: float | None) -> None:
        """Keep the first sample at or after `since` for as long as it is asked for, however old it gets."""
        if since == self._pinned_at:
            return
        self._pinned_at = since
        samples = self._samples()
        after = bisect_left([sample.time for sample in samples], since) if since is not None else len(samples)
        self._pinned = samples[after] if after < len(samples) else None

    def window(self, start: float, end: float) -> Window:
        """The growth from `start` to `end`; empty where fewer than two samples tell."""
        samples = self._samples()
        times = [sample.time for sample in samples]
        until = bisect_right(times, end) - 1
        base = self._pinned if start == self._pinned_at else self._base(samples, times, start)
        if base is None or until < 0 or samples[until].time <= base.time:
            return Window()
        newest = samples[until]
        grown = newest.totals.copy()
        grown[: len(base.totals)] -= base.totals
        return Window(dict(zip(self._slots, grown.tolist(), strict=False)), base.time, newest.time)

    def growths(self) -> Iterator[tuple[float, dict[Series, float]]]:
        """(when it was seen, how much each counter had grown) from sample to sample, oldest first."""
        for before, after in pairwise(self._samples()):
            grown = after.totals.copy()
            grown[: len(before.totals)] -= before.totals
            yield (
                after.time,
                {series: value for series, value in zip(self._slots, grown.tolist(), strict=False) if value},
            )

    def _base(self, samples: list[_Sample], times: list[float], start: float) -> _Sample | None:
        before = bisect_right(times, start) - 1
        if before < 0:
            return samples[0] if samples else None
        overhangs = start - times[before] > max(LARGEST_OVERHANG * self._window, self._latest)
        return samples[min(before + 1, len(samples) - 1)] if overhangs else samples[before]

    def _samples(self) -> list[_Sample]:
        return [*self._old, *self._recent]


class _Departed:
    """What targets counted that are remembered no longer, summed in as many spans as a history has samples."""

    def __init__(self) -> None:
        self._spans: dict[int, tuple[float, dict[Series, float]]] = {}

    def take(self, history: History, window: float) -> None:
        for time, grown in history.growths():
            span = int(time // (window / SAMPLES_PER_WINDOW))
            latest, sums = self._spans.get(span, (time, {}))
            self._spans[span] = max(latest, time), add([sums, grown])

    def forget(self, until: float) -> None:
        self._spans = {span: known for span, known in self._spans.items() if known[0] > until}

    def counts(self, start: float, end: float) -> dict[Series, float]:
        return add([sums for time, sums in self._spans.values() if start < time <= end])


class Fleet:
    """All targets of one revision; those that vanished count until their samples are older than the window."""

    def __init__(self, window: float, latest: float) -> None:
        self._window = window
        self._latest = latest
        self._since: float | None = None
        self._live: dict[str, History] = {}
        self._vanished: dict[str, History] = {}
        self._departed = _Departed()
        self._carried: dict[Series, float] = {}

    def follow(self, targets: tuple[str, ...], window: float, latest: float, since: float | None, now: float) -> None:
        """Take up the config: who is in the fleet, what to cover, and from when the rollout counts."""
        self._window, self._latest = window, latest
        if since != self._since:
            self._since = since
            self._carried = self._departed.counts(since, now) if since is not None else {}
        known = {**self._vanished, **self._live}
        self._live = {target: known.get(target) or History(window, latest) for target in targets}
        self._vanished = {target: history for target, history in known.items() if target not in self._live}
        self._let_go(now)
        for history in (*self._live.values(), *self._vanished.values()):
            history.cover(window, latest)
            history.pin(since)

    def _let_go(self, now: float) -> None:
        """Forget the oldest that vanished; what they counted for the window and the rollout is carried on."""
        self._departed.forget(now - self._window)
        for target in list(self._vanished):
            history = self._vanished[target]
            is_recent = (history.last or 0.0) > now - self._window
            if is_recent and len(self._vanished) <= MOST_VANISHED:
                continue
            del self._vanished[target]
            if is_recent:
                self._departed.take(history, self._window)
            if self._since is not None:
                self._carried = add([self._carried, history.window(self._since, now).counts])

    def add(self, target: str, time: float, values: Mapping[Series, float]) -> None:
        if target in self._live:
            self._live[target].add(time, values)

    def window(self, start: float, end: float) -> Window:
        """The sum over targets of the growth from `start` to `end`."""
        parts = [history.window(start, end) for history in (*self._live.values(), *self._vanished.values())]
        parts = [part for part in parts if part.counts]
        counts = [part.counts for part in parts]
        counts.append(self._carried if start == self._since else self._departed.counts(start, end))
        return Window(
            add(counts),
            min((part.start for part in parts), default=0.0),
            max((part.end for part in parts), default=0.0),
        )
