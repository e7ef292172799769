"""What travels from predictor to monitor to collector: predictions, in blocks, off the hot path.

The services encode these dataclasses as MessagePack maps; a reader ignores fields it does not know.
Bytes of numbers are little-endian, float64 where nothing else is said, so that nothing is boxed on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Block", "Frame", "LogBatch", "Prediction", "misfit", "pack", "strange", "unpack"]

#: Characters of a prediction's id.
_LONGEST_ID = 128
#: 2000-01-01 to 2200-01-01 in Unix seconds; a time outside is a broken clock.
_FIRST_TIME, _LAST_TIME = 946_684_800.0, 7_258_118_400.0


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
    numbers: bytes = b""
    categories: list[list[str | None]] = field(default_factory=list)
    outputs: bytes = b""
    violations: list[tuple[str, str, int]] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)

    @property
    def carries_inputs(self) -> bool:
        """Whether the request was understood so far that its values are here."""
        return self.rows > 0 and bool(self.numbers or self.categories)

    @property
    def is_answered(self) -> bool:
        """Whether it is one for the prediction log: with inputs and outputs."""
        return self.status == 200 and bool(self.outputs) and self.carries_inputs


@dataclass(slots=True)
class Block:
    """Answered predictions of one model, column by column: who counts or stores them need not touch each.

    times, latencies: one value for each prediction. rows: one int64 for each.
    numbers, categories, outputs: of all their rows, one after the other.
    violations: (place in `prediction_ids`, feature, rule, rows). unsent: the same for all.
    """

    prediction_ids: list[str] = field(default_factory=list)
    times: bytes = b""
    latencies: bytes = b""
    rows: bytes = b""
    numbers: bytes = b""
    categories: list[list[str | None]] = field(default_factory=list)
    outputs: bytes = b""
    violations: list[tuple[int, str, str, int]] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)


def pack(predictions: Sequence[Prediction]) -> Block:
    """One block of predictions of one model, with inputs and the same `unsent`; statuses are left out."""
    if not predictions:
        return Block()
    return Block(
        [each.prediction_id for each in predictions],
        _floats(each.time for each in predictions),
        _floats(each.latency for each in predictions),
        np.fromiter((each.rows for each in predictions), "<i8", len(predictions)).tobytes(),
        b"".join([each.numbers for each in predictions]),
        [[text for each in predictions for text in each.categories[i]] for i in range(len(predictions[0].categories))],
        b"".join([each.outputs for each in predictions]),
        [(i, *violation) for i, each in enumerate(predictions) if each.violations for violation in each.violations],
        predictions[0].unsent,
    )


def _floats(values: Iterable[float]) -> bytes:
    return np.fromiter(values, "<f8").tobytes()


def unpack(block: Block) -> list[Prediction]:
    """The predictions of a block whose columns fit each other, with status 200."""
    rows = np.frombuffer(block.rows, "<i8").tolist()
    ends = np.cumsum([0, *rows]).tolist()
    width, outputs = (len(values) // max(1, ends[-1]) for values in (block.numbers, block.outputs))
    predictions = [
        Prediction(
            prediction_id,
            time,
            latency,
            200,
            end - start,
            block.numbers[start * width : end * width],
            [texts[start:end] for texts in block.categories],
            block.outputs[start * outputs : end * outputs],
            unsent=list(block.unsent),
        )
        for prediction_id, time, latency, start, end in zip(
            block.prediction_ids,
            np.frombuffer(block.times, "<f8").tolist(),
            np.frombuffer(block.latencies, "<f8").tolist(),
            ends[:-1],
            ends[1:],
            strict=True,
        )
    ]
    for place, feature, rule, count in block.violations:
        predictions[place].violations.append((feature, rule, count))
    return predictions


def misfit(block: Block, numbers: int, categories: int, outputs: int, most_rows: int) -> str:
    """Why nobody can tell which values are whose, or "".

    numbers, categories, outputs: how many of each a row has. most_rows: of one prediction.
    """
    count = len(block.prediction_ids)
    if not len(block.times) == len(block.latencies) == len(block.rows) == 8 * count:
        return f"times, latencies or rows are not {count}, as the ids are"
    if not count:
        return ""
    rows = np.frombuffer(block.rows, "<i8")
    if rows.min() < 1 or rows.max() > most_rows:
        return f"rows are {rows.min()} to {rows.max()}; 1 to {most_rows} are allowed"
    total = int(rows.sum())
    for name, values, width in (("numbers", block.numbers, numbers), ("outputs", block.outputs, outputs)):
        if len(values) != 8 * total * width:
            return f"{name} has {len(values)} bytes; {total} rows of {width} values are {8 * total * width}"
    if [len(texts) for texts in block.categories] != [total] * categories:
        return f"categories does not hold {categories} lists of {total} values"
    return ""


def strange(block: Block) -> str:
    """Which ids or times no prediction log takes, of a block that has any; or ""."""
    lengths = set(map(len, block.prediction_ids))
    if not 1 <= min(lengths) <= max(lengths) <= _LONGEST_ID:
        return f"prediction_ids have {min(lengths)} to {max(lengths)} characters; 1 to {_LONGEST_ID} are allowed"
    times = np.frombuffer(block.times, "<f8")
    if not (times.min() >= _FIRST_TIME and times.max() < _LAST_TIME):
        allowed = f"Unix seconds from {_FIRST_TIME:.0f} to {_LAST_TIME:.0f} are allowed"
        return f"times are {times.min()} to {times.max()}; {allowed}"
    return ""


@dataclass(slots=True)
class Frame:
    """One message on the local socket. `dropped` counts the predictions this sender ever dropped.

    answered: at most 512 predictions and 1 MiB, or one. others: what was refused or failed.
    """

    sender: str
    dropped: int
    answered: Block = field(default_factory=Block)
    others: list[Prediction] = field(default_factory=list)

    @classmethod
    def of(cls, sender: str, dropped: int, predictions: Sequence[Prediction]) -> Frame:
        """The predictions of one model, parted."""
        answered = [each for each in predictions if each.is_answered]
        # As a rule all were, and a second look at each is spared.
        others = [] if len(answered) == len(predictions) else [each for each in predictions if not each.is_answered]
        return cls(sender, dropped, pack(answered), others)


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
    blocks: list[Block]
