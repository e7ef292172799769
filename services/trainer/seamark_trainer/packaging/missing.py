"""Which features may be missing: found by trying, since no model says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seamark.package import NUMBER, Schema
from seamark_trainer.packaging.existing import Answers, Runner

__all__ = ["nullable"]

#: Features tried in one call.
_BLOCK = 100


def nullable(schema: Schema, row: NDArray[np.generic], runners: Sequence[Runner], tolerance: float) -> tuple[bool, ...]:
    """For each feature: do all runners answer `row` (1 x features) without it, and alike?"""
    found: list[bool] = []
    for start in range(0, len(schema.features), _BLOCK):
        places = range(start, min(start + _BLOCK, len(schema.features)))
        block = np.repeat(row, len(places), axis=0)
        for i, place in enumerate(places):
            block[i, place] = np.nan if schema.features[place].type == NUMBER else ""
        found.extend(_answered(schema, block, runners, tolerance))
    return tuple(found)


def _answered(schema: Schema, block: NDArray[np.generic], runners: Sequence[Runner], tolerance: float) -> list[bool]:
    """For each row of the block."""
    answers = [_try(runner, block) for runner in runners]
    complete = [answer for answer in answers if answer is not None]
    if len(complete) == len(answers):
        good = np.ones(len(block), dtype=np.bool_)
        for answer in complete:
            good &= answer.are_finite(schema)
            good &= np.abs(answer.values(schema) - complete[0].values(schema)).max(axis=1) <= tolerance
        return good.tolist()
    # One row that a model refuses spoils the others.
    if len(block) == 1:
        return [False]
    return [_answered(schema, block[[i]], runners, tolerance)[0] for i in range(len(block))]


def _try(runner: Runner, block: NDArray[np.generic]) -> Answers | None:
    try:
        return runner.answers(block)
    # Whatever the model raises, it does not take such rows.
    except Exception:
        return None
