"""A model as transports use it: its plane, its queue, its cache, its counters, and where its records go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from seamark.records import Prediction
from seamark_predictor import joining, pacing
from seamark_predictor.batcher import Batcher, Limits, Model
from seamark_predictor.cache import Cache, rows_key
from seamark_predictor.counters import ModelCounters, ModelInfo
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.explain import Explainer
from seamark_predictor.generic import TensorPlane
from seamark_predictor.plane import AnyPlane, Batch, Recorded
from seamark_predictor.rows import names_text

__all__ = ["Options", "Served", "Sink", "info", "known", "rows_of"]

#: Until a model's runs have been timed: every run by itself, in the thread.
_UNKNOWN = pacing.Pace(joins=False, inline_rows=0, most_rows=1, linger=0.0, crowd=1.0)


class Sink(Protocol):
    """Where records go: `feed.Feed`, or a list in tests."""

    def add(self, prediction: Prediction) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """deadline: seconds that a request may wait and run. cache_bytes: 0 for no cache."""

    deadline: float = 30.0
    queue: Limits = field(default_factory=Limits)
    cache_entries: int = 1_000_000
    cache_bytes: int = 0


class Served:
    """One model, used from the event loop only."""

    def __init__(
        self,
        plane: AnyPlane,
        sink: Sink,
        counters: ModelCounters,
        options: Options | None = None,
        explainer: Explainer | None = None,
    ) -> None:
        options = options or Options()
        self.plane = plane
        self.sink = sink
        self.counters = counters
        #: None for models of free tensors.
        self.explainer = explainer
        #: Seconds that a request may wait and run.
        self.deadline = options.deadline
        model, self._kind = _joined(plane)
        costs = _costs(plane)
        pace = _UNKNOWN if costs is None else pacing.pace(costs)
        per_row = options.deadline if costs is None else costs.one
        self.batcher: Batcher[Any, Any] = Batcher(model, pace, counters, per_row, options.queue)
        self._cache: Cache[Any] | None = None
        if options.cache_bytes and isinstance(plane, Dataplane):
            weigh = joining.answer_bytes
            self._cache = Cache(options.cache_entries, options.cache_bytes, counters, weigh)

    def ask(self, batch: Batch, since: float) -> Any:
        """The answer where nobody gains by waiting, else its future; cancel that when nobody waits for it any more.

        since: when the request came, in the loop's time.
        This or the future raises what `Plane.predict` raises, `Overloaded` and `DeadlineExceeded`.
        """
        if self._cache is None:
            return self._run(batch, since)
        key, size = rows_key(self.plane.digest, batch)  # type: ignore[arg-type]  # only a Dataplane has a cache
        answer = self._cache.get(key)
        if answer is not None:
            return answer
        found = self._run(batch, since)
        if not isinstance(found, asyncio.Future):
            return self._kept(key, size, found)
        found.add_done_callback(lambda done: self._keep_if_good(key, size, done))
        return found

    async def predict(self, batch: Batch, since: float) -> Any:
        """The answer, after its turn; as `ask`."""
        found = self.ask(batch, since)
        return await found if isinstance(found, asyncio.Future) else found

    def _run(self, batch: Batch, since: float) -> Any:
        if self.batcher.is_direct(batch.count):
            return self.batcher.direct(batch)
        return self.batcher.submit(batch, since + self.deadline, self._kind(batch))

    def _kept(self, key: Hashable, size: int, answer: Any) -> Any:
        assert self._cache is not None
        compact = joining.compact_answer(answer)
        self._cache.put(key, size, compact)
        return compact

    def _keep_if_good(self, key: Hashable, size: int, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._kept(key, size, done.result())

    def tell(
        self,
        protocol: str,
        call_id: str,
        arrived: float,
        latency: float,
        status: int,
        rows: int,
        told: Recorded,
        violations: list[tuple[str, str, int]],
    ) -> None:
        """Counts a request that was answered, and hands on its record; see `Prediction` for what is what."""
        self.counters.answered(protocol, status, latency, rows)
        numbers, categories, outputs = told.numbers, told.categories, told.outputs
        self.sink.add(Prediction(call_id, arrived, latency, status, rows, numbers, categories, outputs, violations))


def _joined(plane: AnyPlane) -> tuple[Model[Any, Any], Callable[[Any], Hashable]]:
    """How requests go together, and of what kind each is: see `Batcher.submit`."""
    if not isinstance(plane, TensorPlane):
        return Model(plane.predict, joining.join_rows, joining.split_answer), lambda _: True
    model = Model(plane.predict, joining.join_arrays, joining.split_arrays)
    return model, joining.arrays_kind if plane.batched else lambda _: None


def _costs(plane: AnyPlane) -> pacing.Costs | None:
    """None where the model does not run on made-up rows."""
    try:
        samples = {rows: plane.sample(rows) for rows in (1, pacing.SAMPLE_ROWS)}
        return pacing.measure(lambda rows: plane.predict(samples[rows]))
    except Exception:
        # The model may raise anything; it was warmed up before, and what it cannot take has been told then.
        return None


def info(plane: AnyPlane) -> ModelInfo:
    """What is told about the model at /metrics."""
    return ModelInfo(plane.name, plane.revision, plane.platform, plane.digest)


def known(models: Iterable[Served]) -> str:
    """The models of a server, for those who ask for another."""
    return names_text([f"{served.plane.name}, version {served.plane.revision}" for served in models])


def rows_of(batch: Batch | None, violations: Iterable[tuple[str, str, int]]) -> int:
    """Rows of a request; where it was not understood, as many as are told to be wrong."""
    return batch.count if batch is not None else max((count for _, _, count in violations), default=0)
