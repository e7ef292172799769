"""The one way in: predictions from either inlet are checked, counted and spooled here."""

from __future__ import annotations

import msgspec
import numpy as np

from seamark.package import Schema
from seamark.records import Block, Frame, Prediction, misfit, pack, strange, unpack
from seamark_monitor import logs
from seamark_monitor.counters import Counters
from seamark_monitor.drops import Drops, Senders
from seamark_monitor.spool import Spool

__all__ = ["MOST_ROWS", "Intake"]

#: Rows, or requests without any, that are counted together: for few at a time the counting itself would cost most.
_TOGETHER = 1024
#: Rows of one record, or of one prediction, that the log takes.
MOST_ROWS = 500_000

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

    def take_frame(self, frame: Frame) -> None:
        self._drops.add("queue_full", self._senders.growth(frame.sender, frame.dropped))
        if frame.answered.prediction_ids:
            self._take_block(frame.answered)
        for prediction in frame.others:
            self.take(prediction)

    def _take_block(self, block: Block) -> None:
        """As a whole, as a rule: what most of the time would go into is looking at each prediction."""
        if fault := self._misfit(block):
            self._take_invalid(block, fault)
            return
        count = len(block.prediction_ids)
        rows = int(np.frombuffer(block.rows, "<i8").sum())
        fault = strange(block)
        if count > 1 and (fault or rows > MOST_ROWS):
            for prediction in unpack(block):
                self._take_block(pack([prediction]))
            return
        if fault:
            self._take_invalid(block, fault)
            return
        if rows <= MOST_ROWS:
            self._spool.append(_encoder.encode(block), count)
        else:
            self._drops.add("too_large")
        self._blocks.append(block)
        self._count(rows)

    def _take_invalid(self, block: Block, fault: str) -> None:
        count = len(block.prediction_ids)
        self._invalid(fault, count)
        whole = len(block.latencies) == 8 * count
        latencies = np.frombuffer(block.latencies, "<f8").tolist() if whole else [0.0] * count
        self._others += [Prediction("", 0.0, latency, 200, 0) for latency in latencies]
        self._count(count)

    def take(self, prediction: Prediction) -> None:
        """One that came by itself."""
        # More rows than bytes are nonsense, and may be more than a block can say.
        if prediction.is_answered and prediction.rows <= len(prediction.outputs):
            self._take_block(pack([prediction]))
            return
        if fault := self._fault(prediction):
            self._invalid(fault, 1)
            prediction = Prediction(prediction.prediction_id, prediction.time, prediction.latency, prediction.status, 0)
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
        """As `records.misfit`, and whether violations are of those in the block."""
        count = len(block.prediction_ids)
        if any(not 0 <= place < count for place, *_ in block.violations):
            return f"violations name others than the {count} predictions"
        return misfit(block, *self._widths, most_rows=len(block.outputs))

    def _fault(self, prediction: Prediction) -> str:
        """Of one that was not answered."""
        rows, numbers, categories = prediction.rows, prediction.numbers, prediction.categories
        if rows < 0:
            return f"rows is {rows}"
        if prediction.status == 200:
            return "an answer without inputs or outputs"
        width, lists, _ = self._widths
        if prediction.carries_inputs and len(numbers) != 8 * rows * width:
            return f"numbers has {len(numbers)} bytes; {8 * rows * width} fit the package"
        if prediction.carries_inputs and [len(values) for values in categories] != [rows] * lists:
            return f"categories does not hold {lists} lists of {rows} values"
        return ""
