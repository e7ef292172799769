"""All watches: follows the config file, runs one loop for each model, and says whether it is well."""

from __future__ import annotations

import asyncio
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from seamark.errors import NotFound, Unavailable
from seamark.evidence import Evidence
from seamark_analyzer.exposition import merge
from seamark_analyzer.gauges import Gauges
from seamark_analyzer.logs import Troubles, event
from seamark_analyzer.scrape import CounterSource
from seamark_analyzer.settings import ConfigFile, Model
from seamark_analyzer.watch import Watch

__all__ = ["Analyzer"]

#: Seconds between two looks at the config file.
CONFIG_PERIOD = 0.25
#: A loop that was silent for this long (seconds) is stuck; a tick's slowest honest part is a first read of a big log.
STUCK_AFTER = 120.0


@dataclass(slots=True)
class _Watched:
    watch: Watch
    model: Model
    task: asyncio.Task[None] | None = None
    ticked: float = field(default_factory=time.monotonic)


class Analyzer:
    """`run` until cancelled; the rest answers from memory at once."""

    def __init__(self, root: str, config: Path, source: CounterSource) -> None:
        self._root = root
        self._config = ConfigFile(config)
        self._source = source
        self._watched: dict[str, _Watched] = {}
        self._troubles = Troubles()
        self._gauges = Gauges(lambda: {name: (one.model, one.watch.evidence) for name, one in self._watched.items()})

    async def run(self) -> None:
        try:
            while True:
                self._follow_config()
                await asyncio.sleep(CONFIG_PERIOD)
        finally:
            tasks = [one.task for one in self._watched.values() if one.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _follow_config(self) -> None:
        settings = self._config.refresh()
        self._troubles.report("config", self._config.problem)
        models = settings.models if settings else {}
        for name in [name for name in self._watched if name not in models]:
            task = self._watched.pop(name).task
            if task:
                task.cancel()
            event("model_forgotten", deployment=name)
            self._source.forget(set(self._watched))
        for name, model in models.items():
            if name in self._watched:
                self._watched[name].model = model
                continue
            one = self._watched[name] = _Watched(Watch(name, self._root, self._source), model)
            one.task = asyncio.create_task(self._loop(one))
            event("model_watched", deployment=name, window=model.window, interval=model.interval)

    async def _loop(self, one: _Watched) -> None:
        while True:
            started = time.monotonic()
            problem = ""
            try:
                await one.watch.tick(one.model)
            except Exception as error:  # whatever one model's data provokes must not stop its watch or another's
                problem = f"Cannot renew the evidence: {type(error).__name__}: {error}, {_place(error)}"
            one.watch.report(problem)
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
        return f"Cannot renew evidence of {', '.join(stuck)}: no tick for {STUCK_AFTER:g} s" if stuck else ""

    @property
    def warning(self) -> str:
        """What is wrong although the job is done: the config file is broken and its last good content is used."""
        return self._config.problem

    def models(self) -> list[dict[str, object]]:
        return [
            {
                "name": name,
                "namespace": one.model.namespace,
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
            known = ", ".join(sorted(self._watched)) or "none"
            raise NotFound(f"Cannot find model {name[:100]!r}: the models watched are {known}")
        if one.watch.evidence is None:
            raise Unavailable(f"Cannot tell about model {name!r}: it was not evaluated yet")
        return one.watch.evidence

    def metrics(self) -> str:
        return self._gauges.text()

    def federate(self) -> str:
        """The last scrape of all monitors and the own gauges in one text."""
        return merge(self._source.texts(), self.metrics())


def _place(error: Exception) -> str:
    """Where it was raised: an error nobody foresaw is a bug of ours, and one line must be enough to find it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised in {Path(frame.filename).name}:{frame.lineno}"
