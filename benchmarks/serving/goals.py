"""The goals of `goals.toml`, held against what was measured."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.figures import FIGURES, Key, Measurements, parse_key

__all__ = ["FILE", "Goal", "read"]

FILE = Path(__file__).with_name("goals.toml")


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a figure of one key, or for its ratio to another's.

    limit: in the figure's unit, or a plain ratio. at_least: whether more is better.
    """

    text: str
    figure: str
    of: Key
    against: Key | None
    limit: float
    at_least: bool

    def value(self, measurements: Measurements) -> float | None:
        """The figure or ratio reached; None where it was not measured."""
        if self.against is None:
            return measurements.median(self.of, self.figure)
        return measurements.ratio(self.of, self.against, self.figure)

    def is_reached(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def read(path: Path = FILE) -> list[Goal]:
    """Raises `ValueError` for a goal that cannot be read."""
    return [_goal(entry) for entry in tomllib.loads(path.read_text())["goal"]]


def _goal(entry: dict[str, Any]) -> Goal:
    text = entry.get("text", "")
    known = {"text", "figure", "of", "against", "at_least", "at_most"}
    if entry.keys() - known or ("at_least" in entry) == ("at_most" in entry) or entry.get("figure") not in FIGURES:
        raise ValueError(f"Cannot read goal {text!r}: it needs a known figure, of, and either at_least or at_most")
    against = parse_key(entry["against"]) if "against" in entry else None
    limit = float(entry["at_least"] if "at_least" in entry else entry["at_most"])
    return Goal(text, entry["figure"], parse_key(entry["of"]), against, limit, "at_least" in entry)
