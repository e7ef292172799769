"""What travels from predictor to monitor to collector: predictions, in blocks, off the hot path.

The services encode these dataclasses as MessagePack maps; a reader ignores fields it does not know.
Blocks are little-endian float64, row-major, so that nothing is boxed on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Frame", "LogBatch", "Prediction"]


@dataclass(slots=True)
class Prediction:
    """One request of `rows` rows, answered or refused.

    prediction_id: the gateway's `x-request-id`, so that champion and shadow answer under one id.
    time: Unix seconds at arrival. latency: seconds inside the server. status: HTTP status sent.
    numbers: rows x len(schema.numbers) values, NaN for missing; empty when the request was not understood.
    categories: one list per categorical feature in schema order, each of `rows` texts or None.
    outputs: rows x len(schema.outputs) values; empty when refused.
    violations: (feature, rule, rows) found while parsing; value checks are the monitor's.
    unsent: outputs that a foreign server's answer did not carry; their values are NaN and count as nothing.
    """

    prediction_id: str
    time: float
    latency: float
    status: int
    rows: int
    protocol: str = "v2"
    numbers: bytes = b""
    categories: list[list[str | None]] = field(default_factory=list)
    outputs: bytes = b""
    violations: list[tuple[str, str, int]] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Frame:
    """One message on the local socket. `dropped` counts the predictions this sender ever dropped."""

    sender: str
    dropped: int
    predictions: list[Prediction]


@dataclass(slots=True)
class LogBatch:
    """What a monitor posts to the collector; `source` and `sequence` make a repeat harmless.

    source: one name per spool, for its whole life; sequence: 1, 2, 3... within the source.
    Columns are named so that the collector needs no package: values follow these names' order.
    """

    source: str
    sequence: int
    namespace: str
    deployment: str
    revision: str
    numbers: list[str]
    categories: list[str]
    outputs: list[str]
    predictions: list[Prediction]
