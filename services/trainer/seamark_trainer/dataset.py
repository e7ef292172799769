"""Labelled rows, in the order they were seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamark import contract
from seamark.package import NUMBER, Schema
from seamark.profile import Profile

__all__ = ["Dataset", "keeps_contract", "split"]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """`rows` labelled rows, oldest first.

    numbers: rows x len(schema.numbers), NaN for missing; categories: one tuple of rows texts (or None) for each
    categorical feature; labels and champion: rows values as logged (see `Schema`). champion is what the champion
    answered, NaN where it is not known.
    """

    schema: Schema
    numbers: NDArray[np.float64]
    categories: tuple[tuple[str | None, ...], ...]
    labels: NDArray[np.float64]
    champion: NDArray[np.float64]

    @property
    def rows(self) -> int:
        return len(self.labels)

    def take(self, which: NDArray[np.int64]) -> Dataset:
        """Only these rows, in this order."""
        return Dataset(
            self.schema,
            self.numbers[which],
            tuple(tuple(values[i] for i in which) for values in self.categories),
            self.labels[which],
            self.champion[which],
        )

    def matrix(self) -> NDArray[np.generic]:
        """rows x features in schema order, as estimators take it: float64, or objects if there are categories.

        A missing category is the empty text: ONNX has no missing text, and both formats must mean the same.
        """
        if not self.categories:
            return self.numbers
        result = np.empty((self.rows, len(self.schema.features)), dtype=object)
        numbers, categories = iter(self.numbers.T), iter(self.categories)
        for i, feature in enumerate(self.schema.features):
            if feature.type == NUMBER:
                result[:, i] = next(numbers)
            else:
                result[:, i] = [value or "" for value in next(categories)]
        return result


def split(data: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """(the older rows to fit on, the newest `share` of rows to test on)."""
    cut = data.rows - round(data.rows * share)
    order = np.arange(data.rows)
    return data.take(order[:cut]), data.take(order[cut:])


def keeps_contract(data: Dataset, profile: Profile) -> NDArray[np.bool_]:
    """Which rows are fit to learn from: no broken pipeline must teach the model.

    Unknown categories are let in: new ones are part of how a world drifts. Ranges are wide, so that drift is within.
    """
    rules = [rule for rule in contract.infer(data.schema, profile) if rule.rule != "category"]
    broken = contract.check(rules, data.schema, data.numbers, data.categories).rows
    return ~broken & ~np.isinf(data.numbers).any(axis=1)
