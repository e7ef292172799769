"""How long one call for one row takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seamark_trainer.packaging.existing import Runner

__all__ = ["one_row"]

_ROUNDS = 3
_WARM_UP = 5
#: Of one round of one runner.
_SECONDS = 0.15
_CALLS = 1000


def one_row(runners: Sequence[Runner], matrix: NDArray[np.generic]) -> list[float]:
    """Seconds of each runner's median call, in rounds by turns, so that a busy machine slows all alike."""
    rows = [matrix[[i]] for i in range(min(len(matrix), 100))]
    times: list[list[float]] = [[] for _ in runners]
    for _ in range(_ROUNDS):
        for runner, found in zip(runners, times, strict=True):
            found.extend(_round(runner, rows))
    return [statistics.median(found) for found in times]


def _round(runner: Runner, rows: Sequence[NDArray[np.generic]]) -> list[float]:
    for row in rows[:_WARM_UP]:
        runner.answers(row)
    found: list[float] = []
    began = time.perf_counter()
    while not found or (len(found) < _CALLS and time.perf_counter() - began < _SECONDS):
        row = rows[len(found) % len(rows)]
        start = time.perf_counter()
        runner.answers(row)
        found.append(time.perf_counter() - start)
    return found
