"""What was measured, and medians and ratios of it. Ratios are taken within a round, then their median."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["FIGURES", "Key", "Measurement", "Measurements", "parse_key"]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What one figure is of: rows in each request, over `connections` at once."""

    server: str
    model: str
    wire: str
    rows: int
    connections: int

    def __str__(self) -> str:
        return f"{self.server} {self.model} {self.wire} {self.rows}x{self.connections}"


def parse_key(text: str) -> Key:
    """The key that `str` wrote; raises `ValueError`."""
    try:
        server, model, wire, load = text.split()
        rows, connections = load.split("x")
        return Key(server, model, wire, int(rows), int(connections))
    except ValueError as error:
        raise ValueError(f"Cannot read {text!r}: SERVER MODEL WIRE ROWSxCONNECTIONS is needed") from error


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of the load generator against one server.

    seconds: of the run. p50, p99: seconds. cpu, sidecar_cpu: seconds of the server's and the monitor's processes during
    the run. foreign: cores that other programs kept busy meanwhile. memory, sidecar_memory: bytes (PSS) after it.
    start: seconds from starting the server to its first correct answer. busy: the load generator's share of its core.
    watched: share of the rows that the monitor counted, None where there is no monitor.
    """

    key: Key
    round: int
    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    sidecar_cpu: float
    foreign: float
    memory: int
    sidecar_memory: int
    start: float
    busy: float
    watched: float | None

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Measurement:
        """What `dataclasses.asdict` made of it."""
        return cls(**{**document, "key": Key(**document["key"])})


#: name -> what it is of a measurement: per second, seconds, CPU seconds per 1,000 requests, or bytes.
FIGURES: Mapping[str, Callable[[Measurement], float]] = MappingProxyType(
    {
        "requests": lambda m: m.requests / m.seconds,
        "rows": lambda m: m.requests * m.key.rows / m.seconds,
        "p50": lambda m: m.p50,
        "p99": lambda m: m.p99,
        "cpu": lambda m: m.cpu * 1000 / m.requests,
        "sidecar_cpu": lambda m: m.sidecar_cpu * 1000 / m.requests,
        "memory": lambda m: float(m.memory),
        "sidecar_memory": lambda m: float(m.sidecar_memory),
        "start": lambda m: m.start,
        "busy": lambda m: m.busy,
        "foreign": lambda m: m.foreign,
        "watched": lambda m: 1.0 if m.watched is None else m.watched,
    }
)


class Measurements:
    """All measurements of a benchmark."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._found: dict[Key, dict[int, Measurement]] = {}
        for measurement in measurements:
            self._found.setdefault(measurement.key, {})[measurement.round] = measurement

    def keys(self) -> list[Key]:
        """In the order in which they were first measured."""
        return list(self._found)

    def median(self, key: Key, figure: str) -> float | None:
        """Of all rounds; None where nothing was measured."""
        found = self._found.get(key, {}).values()
        return statistics.median(map(FIGURES[figure], found)) if found else None

    def ratio(self, key: Key, against: Key, figure: str) -> float | None:
        """The median of the ratios within each round that has both; None where no round does."""
        ours, theirs = self._found.get(key, {}), self._found.get(against, {})
        of = FIGURES[figure]
        ratios = [of(ours[n]) / of(theirs[n]) for n in ours.keys() & theirs.keys() if of(theirs[n])]
        return statistics.median(ratios) if ratios else None
