"""Contributions to any model: Shapley values estimated from what it says to mixtures of a row and the background.

For each background row and each explained row the features are switched from one to the other in a random order, then
in the reverse order, and each change of the answer goes to the feature switched. Both orders together are exact for
models in which no more than two features interact. Sampling stops at the deadline with what is there and its standard
error. shap's own permutation explainer compiles for seconds at its first use, knows neither texts nor deadlines, and
uses one order for all background rows, which at the same cost is less exact; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.package import CATEGORY, Schema
from seamark_predictor.explain_terms import Deadline, Floats, TimeOver
from seamark_predictor.rows import Rows

__all__ = ["Ask", "Estimate", "estimate"]

#: Mixtures in one call to the model, and numbers in them: what is between two looks at the clock.
_MIXTURES = 1024
_CELLS = 1_000_000
#: Background rows without which there is no standard error.
_FEWEST = 2

#: What the model says to rows: for each, one number, or one for each class.
Ask = Callable[[Rows], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """base: rows; contributions, errors: rows x features; used: background rows. errors: standard errors."""

    base: Floats
    contributions: Floats
    errors: Floats
    used: int


def estimate(
    ask: Ask, rows: Rows, background: Rows, targets: NDArray[np.intp], schema: Schema, deadline: Deadline
) -> Estimate:
    """Relative to the background rows used. targets: for each row, the place in `ask`'s answer that is explained.

    Raises `TimeOver` when it is over before two background rows are through, and whatever `ask` raises.
    """
    coder = _Coder(rows, background, schema)
    game = _Game(ask, coder, targets, deadline)
    random = np.random.default_rng(0)
    moments = _Moments(rows.count, len(schema.features))
    try:
        for place in range(background.count):
            moments.add(game.play(place, random))
    except TimeOver:
        if moments.count < min(_FEWEST, background.count):
            raise
    base = game.empty[: moments.count].mean(axis=0)
    return Estimate(base, moments.mean, moments.standard_error(), moments.count)


class _Moments:
    """Mean and variance of arrays that come one by one (Welford)."""

    def __init__(self, *shape: int) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(shape)
        self._squares: Floats = np.zeros(shape)

    def add(self, values: Floats) -> None:
        self.count += 1
        distance = values - self.mean
        self.mean = self.mean + distance / self.count
        self._squares = self._squares + distance * (values - self.mean)

    def standard_error(self) -> Floats:
        """0 for a single array, which shows no spread."""
        return np.asarray(np.sqrt(self._squares / max(1, self.count - 1) / self.count))


class _Coder:
    """Rows as one matrix of numbers, rows x features in schema order, so that mixing them is one choice.

    A category is the place of its text in a list of those at hand.
    """

    def __init__(self, rows: Rows, background: Rows, schema: Schema) -> None:
        is_text = np.array([feature.type == CATEGORY for feature in schema.features])
        self._numbers, self._texts = np.flatnonzero(~is_text), np.flatnonzero(is_text)
        pairs = zip(rows.categories, background.categories, strict=True)
        self._known = [sorted({*a, *b}, key=str) for a, b in pairs]
        self.rows, self.background = self._encode(rows), self._encode(background)

    def _encode(self, rows: Rows) -> NDArray[np.float64]:
        codes = np.empty((rows.count, len(self._numbers) + len(self._texts)))
        codes[:, self._numbers] = rows.numbers
        for i, known, texts in zip(self._texts, self._known, rows.categories, strict=True):
            place = {text: code for code, text in enumerate(known)}
            codes[:, i] = [place[text] for text in texts]
        return codes

    def decode(self, codes: NDArray[np.float64]) -> Rows:
        pairs = zip(self._texts, self._known, strict=True)
        texts = [[known[code] for code in codes[:, i].astype(np.intp).tolist()] for i, known in pairs]
        return Rows(np.ascontiguousarray(codes[:, self._numbers]), texts)


class _Game:
    """empty: background rows x rows, the answer to each background row for what is explained of each row."""

    def __init__(self, ask: Ask, coder: _Coder, targets: NDArray[np.intp], deadline: Deadline) -> None:
        self._ask = ask
        self._coder = coder
        self._targets = targets
        self._deadline = deadline
        count, self._features = coder.rows.shape
        full = ask(coder.decode(coder.rows))
        self._full = full[np.arange(count), targets]
        self.empty: Floats = ask(coder.decode(coder.background))[:, targets]

    def play(self, place: int, random: np.random.Generator) -> Floats:
        """rows x features: what each feature changes on the way from background row `place`, mean of two ways."""
        count, features = len(self._full), self._features
        forth = random.permuted(np.tile(np.arange(features), (count, 1)), axis=1)
        # turns[row, way, feature]: when the feature is switched.
        turns = np.stack([forth, features - 1 - forth], axis=1)
        answers = np.empty((count, 2, features + 1))
        answers[:, :, 0] = self.empty[place][:, None]
        answers[:, :, -1] = self._full[:, None]
        answers[:, :, 1:-1] = self._between(turns, self._coder.background[place])
        gains = np.diff(answers, axis=2)
        return np.asarray(np.take_along_axis(gains, turns, axis=2).mean(axis=1))

    def _between(self, turns: NDArray[Any], origin: NDArray[np.float64]) -> Floats:
        """rows x 2 x (features - 1): the answers after one, two, ... features are switched."""
        shape = (len(turns), 2, self._features - 1)
        answers = np.empty(shape)
        flat = answers.reshape(-1)
        size = max(1, min(_MIXTURES, _CELLS // self._features))
        for start in range(0, answers.size, size):
            self._deadline.check()
            at = np.arange(start, min(start + size, answers.size))
            row, way, switched = np.unravel_index(at, shape)
            mixed = np.where(turns[row, way] <= switched[:, None], self._coder.rows[row], origin)
            flat[at] = self._ask(self._coder.decode(mixed))[np.arange(len(at)), self._targets[row]]
        return answers
