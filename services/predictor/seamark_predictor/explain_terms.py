"""What the ways to explain a model share: their input, their result, and the time they may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seamark_predictor.rows import Rows

__all__ = ["Deadline", "Floats", "Margins", "Method", "TimeOver"]

Floats = NDArray[np.floating[Any]]

#: Seconds: enough for a thread that waits to wake up, and a fifth of what one row of a forest of 100 trees takes.
_PAUSE = 0.00005


class TimeOver(Exception):  # noqa: N818  # a fact; `Explainer` makes the error of it
    """The time for an explanation is over."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """at: on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds, 0 when it is over."""
        return max(0.0, self.at - time.monotonic())

    def check(self) -> None:
        """Raises `TimeOver`, and lets other threads go first.

        Without the pause a thread that answers requests waits for the interpreter's lock each time it wants it: with
        trees explained meanwhile, its 99th percentile was four times as long.
        """
        time.sleep(_PAUSE)
        if time.monotonic() >= self.at:
            raise TimeOver


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """What a model adds up, before any link makes probabilities or values of it.

    base: outputs; contributions: rows x features x outputs. One output, or one for each class.
    """

    base: Floats
    contributions: Floats

    @property
    def total(self) -> Floats:
        """rows x outputs."""
        return np.asarray(self.base + self.contributions.sum(axis=1))


class Method(Protocol):
    """An exact way for one kind of model. Safe to call from several threads.

    background: in words, what a feature's contribution is relative to.
    """

    name: str
    background: str

    def margins(self, rows: Rows, deadline: Deadline) -> Margins:
        """Raises `TimeOver`, and whatever the libraries do where a model is not what it looked like."""
