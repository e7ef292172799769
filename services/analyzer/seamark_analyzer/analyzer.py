"""All watches: follows the settings, runs one loop for each model, and says whether it is well."""

from __future__ import annotations

import asyncio
import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seamark.errors import NotFound, Unavailable
from seamark.evidence import Evidence
from seamark_analyzer.config import Config
from seamark_analyzer.exposition import merge
from seamark_analyzer.gauges import Gauges
from seamark_analyzer.logs import Troubles, event
from seamark_analyzer.packages import Packages
from seamark_analyzer.scrape import CounterSource
from seamark_analyzer.settings import Model, Settings
from seamark_analyzer.watch import Watch

__all__ = ["Analyzer"]

#: A loop that was silent for this long (seconds) is stuck; a tick's slowest honest part is a first read of a big log.
#: Evidence that was not renewed for this long has no gauges any more: old numbers must not look like new ones.
STUCK_AFTER = 120.0
#: Models named in a message.
MOST_NAMED = 20


@dataclass(slots=True)
class _Watched:
    watch: Watch
    model: Model
    task: asyncio.Task[None] | None = None
    ticked: float = field(default_factory=time.monotonic)
    renewed: float = -math.inf


class Analyzer:
    """`run` until cancelled; the rest answers from memory at once."""

    def __init__(
        self, root: str, config: Config, source: CounterSource, packages: Packages, max_features: int = 1000
    ) -> None:
        self._root = root
        self._config = config
        self._source = source
        self._packages = packages
        self._followed: Settings | None = None
        self._watched: dict[str, _Watched] = {}
        self._troubles = Troubles()
        self._gauges = Gauges(self._known, max_features)

    async def run(self) -> None:
        try:
            while True:
                settings = await self._config.refresh()
                self._troubles.report("config", self._config.problem)
                if settings is not None and settings is not self._followed:
                    self._follow(settings.models)
                    self._followed = settings
                await asyncio.sleep(self._config.period)
        finally:
            tasks = [one.task for one in self._watched.values() if one.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """After `run` ended: let go of connections."""
        await self._packages.close()
        await self._config.close()

    def _follow(self, models: Mapping[str, Model]) -> None:
        gone = [name for name, one in self._watched.items() if _identity(models.get(name)) != one.model.identity]
        for name in gone:
            task = self._watched.pop(name).task
            if task:
                task.cancel()
            event("model_forgotten", deployment=name)
        if gone:
            self._source.forget(set(self._watched))
        for name, model in models.items():
            if name in self._watched:
                self._watched[name].model = model
                continue
            one = self._watched[name] = _Watched(Watch(name, self._root, self._source, self._packages), model)
            one.task = asyncio.create_task(self._loop(one))
            event("model_watched", deployment=name, window=model.window, interval=model.interval)
        self._packages.keep(source for model in models.values() for source in model.revisions.values())

    async def _loop(self, one: _Watched) -> None:
        while True:
            started = time.monotonic()
            problem = ""
            try:
                await one.watch.tick(one.model)
                one.renewed = time.monotonic()
            except Exception as error:  # whatever one model's data provokes must not stop its watch or another's
                problem = f"Cannot renew the evidence: {type(error).__name__}: {error}, {_place(error)}"
            one.watch.report("tick", problem)
            one.watch.report("gauges", self._gauges.problem(one.watch.evidence))
            one.ticked = time.monotonic()
            # At least a tenth of the tick is left to the other models however slow this one is.
            await asyncio.sleep(max(started + one.model.tick - one.ticked, one.model.tick / 10))

    @property
    def problem(self) -> str:
        """Why the analyzer cannot do its job now; "" when it can."""
        if self._config.settings is None:
            return self._config.problem
        now = time.monotonic()
        stuck = [name for name, one in self._watched.items() if now - one.ticked > STUCK_AFTER]
        return f"Cannot renew evidence of {_listed(stuck)}: no tick for {STUCK_AFTER:g} s" if stuck else ""

    @property
    def warning(self) -> str:
        """What is wrong although the job is done: the settings cannot be read now and the last good ones are used."""
        return self._config.problem

    def models(self) -> list[dict[str, object]]:
        return [
            {
                "name": name,
                "namespace": one.model.namespace,
                "deployment": one.model.deployment,
                "champion": one.model.champion,
                "challenger": one.model.challenger,
                "time": one.watch.evidence.time if one.watch.evidence else None,
            }
            for name, one in sorted(self._watched.items())
        ]

    def evidence(self, name: str) -> Evidence:
        """The newest evidence; raises `NotFound` for an unknown model, `Unavailable` before its first evaluation."""
        one = self._watched.get(name)
        if one is None:
            known = _listed(sorted(self._watched)) or "none"
            raise NotFound(f"Cannot find model {name[:100]!r}: the models watched are {known}")
        if one.watch.evidence is None:
            raise Unavailable(f"Cannot tell about model {name!r}: it was not evaluated yet")
        return one.watch.evidence

    def _known(self) -> dict[str, tuple[Model, Evidence | None]]:
        fresh = time.monotonic() - STUCK_AFTER
        return {
            name: (one.model, one.watch.evidence if one.renewed >= fresh else None)
            for name, one in self._watched.items()
        }

    def metrics(self) -> str:
        return self._gauges.text()

    def federate(self) -> str:
        """The last scrape of all monitors and the own gauges in one text."""
        return merge(self._source.texts(), self.metrics())


def _identity(model: Model | None) -> tuple[str, str] | None:
    return model.identity if model else None


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _place(error: Exception) -> str:
    """Where it was raised: an error nobody foresaw is a bug of ours, and one line must be enough to find it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised in {Path(frame.filename).name}:{frame.lineno}"
