"""What the model looks at: how much worse it gets when one feature is shuffled (Breiman 2001, permutation)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seamark_trainer import scoring
from seamark_trainer.dataset import Dataset

__all__ = ["importance"]

MAX_ROWS = 1000
#: Rows predicted in all; bounds the time for models of very many features.
BUDGET = 200_000
MIN_ROWS = 50
REPEATS = 3


def importance(
    answers: Callable[[NDArray[np.generic]], NDArray[np.float64]], data: Dataset, seed: int
) -> dict[str, float]:
    """Each feature's share of all loss that shuffling adds, 0..1, by name; empty when shuffling adds none."""
    names = [feature.name for feature in data.schema.features]
    rows = max(MIN_ROWS, min(MAX_ROWS, BUDGET // (REPEATS * len(names))))
    random = np.random.default_rng(seed)
    chosen = data.take(np.sort(random.permutation(data.rows)[:rows]))
    matrix, labels = chosen.matrix(), chosen.labels
    base = scoring.loss(data.schema, answers(matrix), labels)
    added = []
    for i in range(len(names)):
        losses = [scoring.loss(data.schema, answers(_shuffled(matrix, i, random)), labels) for _ in range(REPEATS)]
        added.append(max(0.0, float(np.mean(losses)) - base))
    total = sum(added)
    return {name: value / total for name, value in zip(names, added, strict=True)} if total > 0 else {}


def _shuffled(matrix: NDArray[np.generic], column: int, random: np.random.Generator) -> NDArray[np.generic]:
    result = matrix.copy()
    result[:, column] = random.permutation(result[:, column])
    return result
