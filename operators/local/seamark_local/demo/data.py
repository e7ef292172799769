"""The demo's data: the breast cancer (diagnostic) set that ships inside scikit-learn.

The 569 rows are put in one fixed order and taken as if collected one after the other: the first half trains the first
model, the second half is the world to come. The order was chosen so that the halves are alike: in most orders one half
differs from the other somewhere, and with replayed rows that would be, rightly, drift from the first minute. Live
traffic is drawn from the second half with replacement, so a row is seen many times; retraining therefore meets rows it
will be asked about again, and the demo's accuracies flatter.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECALIBRATED", "TARGET", "World", "load", "write_csv"]

TARGET = "diagnosis"
SEED = 320

#: What the recalibration multiplies. The scanner now reports coarser texture and less smooth outlines.
RECALIBRATED: Mapping[str, float] = {
    "worst smoothness": 1.35,
    "mean smoothness": 1.35,
    "worst texture": 1.35,
    "mean texture": 1.35,
}


@dataclass(frozen=True, slots=True)
class World:
    """names: the 30 features; rows x 30 values and their labels, for training and for the time after."""

    names: tuple[str, ...]
    train: NDArray[np.float64]
    train_labels: tuple[str, ...]
    live: NDArray[np.float64]
    live_labels: tuple[str, ...]

    def recalibrated(self) -> NDArray[np.float64]:
        """The live rows as the scanner reports them after its recalibration."""
        factors = [RECALIBRATED.get(name, 1.0) for name in self.names]
        return np.multiply(self.live, factors)


def load() -> World:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    order = np.random.default_rng(SEED).permutation(len(bunch.target))
    values = np.asarray(bunch.data, dtype=np.float64)[order]
    labels = [str(bunch.target_names[i]) for i in bunch.target[order]]
    half = len(labels) // 2
    return World(
        names=tuple(str(name) for name in bunch.feature_names),
        train=values[:half],
        train_labels=tuple(labels[:half]),
        live=values[half:],
        live_labels=tuple(labels[half:]),
    )


def write_csv(path: Path, names: tuple[str, ...], rows: NDArray[np.float64], labels: tuple[str, ...]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, TARGET])
        writer.writerows([*row, label] for row, label in zip(rows.tolist(), labels, strict=True))
