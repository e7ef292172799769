"""A model as transports use it: its plane, its queue, its cache, its counters, and where its records go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
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
from seamark_predictor.plane import AnyPlane, Batch

__all__ = ["Options", "Served", "Sink", "info"]

#: Until a model's runs have been timed: every run by itself, in the thread.
_UNKNOWN = pacing.Pace(joins=False, inline_rows=0, most_rows=1, linger=0.0)


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
        self._deadline = options.deadline
        self._joined = _joined(plane)
        costs = _costs(plane)
        pace = _UNKNOWN if costs is None else pacing.pace(costs)
        per_row = options.deadline if costs is None else costs.one
        self.batcher: Batcher[Any, Any] = Batcher(self._joined.model, pace, counters, per_row, options.queue)
        self._cache: Cache[Any] | None = None
        if options.cache_bytes and isinstance(plane, Dataplane):
            weigh = joining.answer_bytes
            self._cache = Cache(options.cache_entries, options.cache_bytes, counters, weigh)

    @property
    def deadline(self) -> float:
        """Seconds that a request may wait and run."""
        return self._deadline

    def at_once(self, batch: Batch) -> Any:
        """The answer, where nobody gains by waiting; else None. Raises what `Plane.predict` raises."""
        if self._cache is None and self.batcher.is_direct(batch.count):
            return self.batcher.direct(batch)
        return None

    async def predict(self, batch: Batch, since: float, gone: Callable[[], Awaitable[None]] | None = None) -> Any:
        """The answer, after its turn.

        since: when the request came, in the loop's time. gone: returns when nobody waits for the answer any more.
        Raises what `Plane.predict` raises, `Overloaded`, `DeadlineExceeded`, and `CancelledError` once `gone`.
        """
        if self._cache is None:
            return await self._run(batch, since, gone)
        key, size = rows_key(self.plane.digest, batch)  # type: ignore[arg-type]  # only a Dataplane has a cache
        answer = self._cache.get(key)
        if answer is None:
            answer = joining.compact_answer(await self._run(batch, since, gone))
            self._cache.put(key, size, answer)
        return answer

    async def _run(self, batch: Batch, since: float, gone: Callable[[], Awaitable[None]] | None) -> Any:
        if self.batcher.is_direct(batch.count):
            return self.batcher.direct(batch)
        future = self.batcher.submit(batch, since + self._deadline, self._joined.kind(batch))
        if gone is None or self.batcher.is_short(batch.count):
            return await future
        watch = asyncio.ensure_future(gone())
        watch.add_done_callback(lambda _: future.cancel())
        try:
            return await future
        finally:
            watch.cancel()


class _Joined:
    """How requests to a plane go together."""

    def __init__(self, model: Model[Any, Any]) -> None:
        self.model = model

    def kind(self, batch: Any) -> Hashable:  # noqa: ARG002  # rows of features are all of one kind
        """Batches of one kind are joined; None with no other."""
        return True


class _JoinedArrays(_Joined):
    def kind(self, batch: Any) -> Hashable:
        return joining.arrays_kind(batch)


class _Single(_Joined):
    def kind(self, batch: Any) -> Hashable:  # noqa: ARG002  # what the rows of such a model are, nobody knows
        return None


def _joined(plane: AnyPlane) -> _Joined:
    if isinstance(plane, TensorPlane):
        model = Model(plane.predict, joining.join_arrays, joining.split_arrays)
        return _JoinedArrays(model) if plane.batched else _Single(model)
    return _Joined(Model(plane.predict, joining.join_rows, joining.split_answer))


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
