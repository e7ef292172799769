"""A whole sample's answers, block by block, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seamark_trainer.packaging.existing import Answers, Runner

__all__ = ["in_blocks"]

_ROWS = 10_000


def in_blocks(runner: Runner, matrix: NDArray[np.generic], seen: Callable[[int], None] = lambda _: None) -> Answers:
    """The answers to all rows. seen: told how many rows are answered, after each block."""
    found: list[Answers] = []
    for start in range(0, len(matrix), _ROWS):
        found.append(runner.answers(matrix[start : start + _ROWS]))
        seen(min(start + _ROWS, len(matrix)))
    probabilities = [answer.probabilities for answer in found if answer.probabilities is not None]
    return Answers(
        np.concatenate([answer.prediction for answer in found]),
        np.concatenate(probabilities) if probabilities else None,
    )
