"""Where counters come from. The direct source scrapes the monitors itself; a cluster's may ask Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import httpx

from seamark.errors import Unavailable
from seamark_analyzer.exposition import Reader, Series
from seamark_analyzer.fetch import get, make_client
from seamark_analyzer.history import Fleet, Window
from seamark_analyzer.settings import Model

__all__ = ["CounterSource", "DirectSource"]

TIMEOUT = 2.0
#: An idle connection is used again for this long (seconds): shorter than the monitor's own limit, which would close it
#: at the very moment of the next scrape.
KEPT_ALIVE = 2.0
#: Bytes of one exposition.
BODY_LIMIT = 32 * 2**20
#: Scrapes at the same time, over all models.
MOST_AT_ONCE = 64


class CounterSource(Protocol):
    """Tells how much the counters of a revision's monitors grew."""

    async def refresh(self, name: str, model: Model) -> Mapping[str, str]:
        """Learn what is new about the model known as `name`; the answer says what is wrong with each target, "" for
        nothing.
        """

    async def window(self, name: str, revision: str, start: float, end: float) -> Window:
        """The growth from `start` to `end`, summed over targets; empty without data."""

    def forget(self, names: set[str]) -> None:
        """Drop all models but these."""

    def texts(self) -> Mapping[str, str]:
        """The last exposition of each target, for /federate; may be empty."""


class DirectSource:
    """Scrapes each target over HTTP and keeps a bounded history of its counters.

    A failed scrape is no sample: the gap stays a gap. The first sample of a target is its base, so what a process
    counted before it was first seen is left out.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._client = make_client(MOST_AT_ONCE, KEPT_ALIVE)
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._fleets: dict[tuple[str, str], Fleet] = {}
        self._readers: dict[tuple[str, str, str], Reader] = {}
        self._texts: dict[tuple[str, str, str], str] = {}

    async def close(self) -> None:
        await self._client.aclose()

    async def refresh(self, name: str, model: Model) -> Mapping[str, str]:
        self._follow(name, model)
        keys = [(name, revision, url) for revision, source in model.revisions.items() for url in source.targets]
        problems = await asyncio.gather(*(self._scrape(key, model) for key in keys))
        return {url: problem for (_, _, url), problem in zip(keys, problems, strict=True)}

    def _follow(self, name: str, model: Model) -> None:
        now = self._clock()
        for revision, source in model.revisions.items():
            fleet = self._fleets.setdefault((name, revision), Fleet(model.window, model.latest))
            fleet.follow(source.targets, model.window, model.latest, model.since, now)
        targets = {(name, revision, url) for revision, source in model.revisions.items() for url in source.targets}
        self._keep(
            lambda key: key[0] != name or key in targets, lambda key: key[0] != name or key[1] in model.revisions
        )

    def forget(self, names: set[str]) -> None:
        self._keep(lambda key: key[0] in names, lambda key: key[0] in names)

    def _keep(
        self, is_target: Callable[[tuple[str, str, str]], bool], is_fleet: Callable[[tuple[str, str]], bool]
    ) -> None:
        self._readers = {key: reader for key, reader in self._readers.items() if is_target(key)}
        self._texts = {key: text for key, text in self._texts.items() if is_target(key)}
        self._fleets = {key: fleet for key, fleet in self._fleets.items() if is_fleet(key)}

    async def _scrape(self, key: tuple[str, str, str], model: Model) -> str:
        name, revision, url = key
        try:
            async with self._slots:
                text = await self._fetch(url)
            values = self._read(key, model, text)
        except (Unavailable, ValueError) as error:
            return f"Cannot scrape {url}: {error}"
        fleet = self._fleets.get((name, revision))
        if fleet is not None:
            fleet.add(url, self._clock(), values)
            self._texts[key] = text
        return ""

    def _read(self, key: tuple[str, str, str], model: Model, text: str) -> dict[Series, float]:
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = Reader(*model.identity, key[1])
        values = reader.read(text)
        if not values:
            raise ValueError(f"it exports no counter of revision {key[1]}")
        return values

    async def _fetch(self, url: str) -> str:
        headers = {"accept": "text/plain;version=0.0.4"}
        answer = await get(self._client, url, limit=BODY_LIMIT, seconds=TIMEOUT, headers=headers)
        if answer.status != 200:
            raise ValueError(f"it answered {answer.status}")
        return answer.body.decode()

    async def window(self, name: str, revision: str, start: float, end: float) -> Window:
        fleet = self._fleets.get((name, revision))
        return fleet.window(start, end) if fleet else Window()

    def texts(self) -> Mapping[str, str]:
        return {httpx.URL(url).netloc.decode(): text for (_, _, url), text in self._texts.items()}
