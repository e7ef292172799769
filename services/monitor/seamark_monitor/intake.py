"""The one way in: predictions from either inlet are checked, counted and spooled here."""

from __future__ import annotations

import msgspec
import numpy as np

from seamark.package import Schema
from seamark.records import Block, Prediction, pack, unpack
from seamark_monitor import logs
from seamark_monitor.counters import Counters
from seamark_monitor.drops import Drops, Senders
from seamark_monitor.received import Received
from seamark_monitor.spool import Spool

__all__ = ["MOST_ROWS", "Intake"]

#: Rows, or requests without any, that are counted together: for few at a time the counting itself would cost most.
_TOGETHER = 1024
#: Rows of one record, or of one prediction, that the log takes.
MOST_ROWS = 500_000
_LONGEST_ID = 128
#: 2000-01-01 to 2200-01-01 in Unix seconds; a time outside is a broken clock.
_FIRST_TIME, _LAST_TIME = 946_684_800.0, 7_258_118_400.0

_encoder = msgspec.msgpack.Encoder()


class Intake:
    """Counts what it gets, and spools what was answered. What is counted is in the counters after `settle`.

    A prediction that does not fit the package is counted as a request and as dropped, and its values ignored.
    """

    def __init__(self, schema: Schema, counters: Counters, spool: Spool, drops: Drops) -> None:
        self._widths = len(schema.numbers), len(schema.categories), len(schema.outputs)
        self._counters = counters
        self._spool = spool
        self._drops = drops
        self._senders = Senders()
        #: Not counted yet, and how much that is.
        self._blocks: list[Block] = []
        self._others: list[Prediction] = []
        self._uncounted = 0

    def take_frame(self, frame: Received) -> None:
        self._drops.add("queue_full", self._senders.growth(frame.sender, frame.dropped))
        if frame.answered.prediction_ids:
            self._take_block(frame.answered, frame.encoded)
        for prediction in frame.others:
            self.take(prediction)

    def _take_block(self, block: Block, encoded: bytes) -> None:
        """As a whole, as a rule: what most of the time would go into is looking at each prediction."""
        count = len(block.prediction_ids)
        if misfit := self._misfit(block):
            self._invalid(misfit, count)
            sound = len(block.latencies) == 8 * count
            latencies = np.frombuffer(block.latencies, "<f8").tolist() if sound else [0.0] * count
            self._others += [Prediction("", 0.0, latency, 200, 0) for latency in latencies]
            self._count(count)
            return
        rows = int(np.frombuffer(block.rows, "<i8").sum())
        if rows > MOST_ROWS or not _is_named_and_timed(block):
            for prediction in unpack(block):
                self.take(prediction)
            return
        self._spool.append(encoded, count)
        self._blocks.append(block)
        self._count(rows)

    def take(self, prediction: Prediction) -> None:
        """One that came by itself."""
        if fault := self._fault(prediction):
            self._invalid(fault, 1)
            prediction = Prediction(prediction.prediction_id, prediction.time, prediction.latency, prediction.status, 0)
        if prediction.is_answered:
            block = pack([prediction])
            if prediction.rows <= MOST_ROWS:
                self._spool.append(_encoder.encode(block), 1)
            else:
                self._drops.add("too_large")
            self._blocks.append(block)
        else:
            self._others.append(prediction)
        self._count(max(1, prediction.rows))

    def _count(self, more: int) -> None:
        self._uncounted += more
        if self._uncounted >= _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Counts what is not counted yet; to be called before the counters are read."""
        blocks, others = self._blocks, self._others
        self._blocks, self._others, self._uncounted = [], [], 0
        self._counters.add(blocks, others)

    def _invalid(self, fault: str, count: int) -> None:
        if not self._drops.by_reason["invalid"]:
            logs.event("prediction_invalid", fault=fault)
        self._drops.add("invalid", count)

    def _misfit(self, block: Block) -> str:
        """Why nobody can tell which values are whose."""
        width, lists, outputs = self._widths
        count = len(block.prediction_ids)
        if not len(block.times) == len(block.latencies) == len(block.rows) == 8 * count:
            return f"times, latencies or rows are not {count}, as the ids are"
        rows = np.frombuffer(block.rows, "<i8")
        if rows.min() < 1 or rows.max() > len(block.outputs):
            return f"rows are {rows.min()} to {rows.max()}, for outputs of {len(block.outputs)} bytes"
        total = int(rows.sum())
        for name, values, columns in (("numbers", block.numbers, width), ("outputs", block.outputs, outputs)):
            if len(values) != 8 * total * columns:
                return f"{name} has {len(values)} bytes; {8 * total * columns} fit the package"
        if [len(texts) for texts in block.categories] != [total] * lists:
            return f"categories does not hold {lists} lists of {total} values"
        if any(not 0 <= place < count for place, *_ in block.violations):
            return f"violations name others than the {count} predictions"
        return ""

    def _fault(self, prediction: Prediction) -> str:
        rows, numbers, categories = prediction.rows, prediction.numbers, prediction.categories
        if rows < 0:
            return f"rows is {rows}"
        width, lists, outputs = self._widths
        carries = prediction.carries_inputs
        if prediction.status == 200 and not (
            carries
            and len(prediction.outputs) == 8 * rows * outputs
            and 1 <= len(prediction.prediction_id) <= _LONGEST_ID
            and _FIRST_TIME <= prediction.time < _LAST_TIME
        ):
            return "an answer without inputs, outputs, id or a sensible time"
        if carries and len(numbers) != 8 * rows * width:
            return f"numbers has {len(numbers)} bytes; {8 * rows * width} fit the package"
        if carries and [len(values) for values in categories] != [rows] * lists:
            return f"categories does not hold {lists} lists of {rows} values"
        return ""


def _is_named_and_timed(block: Block) -> bool:
    """Whether all have an id and a time that the log takes."""
    lengths = set(map(len, block.prediction_ids))
    times = np.frombuffer(block.times, "<f8")
    return min(lengths) >= 1 and max(lengths) <= _LONGEST_ID and times.min() >= _FIRST_TIME and times.max() < _LAST_TIME
