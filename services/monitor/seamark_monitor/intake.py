"""The one way in: predictions from either inlet are checked, counted and spooled here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from seamark.package import Schema
from seamark.records import Frame, Prediction
from seamark_monitor import logs
from seamark_monitor.counters import Counters, carries_inputs
from seamark_monitor.drops import Drops, Senders
from seamark_monitor.spool import Spool

__all__ = ["Intake"]

#: A record on disk holds at most so many predictions and about so many bytes: what one damaged place can cost.
_RECORD_PREDICTIONS = 500
_RECORD_BYTES = 1024 * 1024
#: Predictions, or rows, that are counted together: for few at a time the counting itself would cost most.
_TOGETHER, _TOGETHER_ROWS = 512, 1024
#: Rows of one prediction that the log takes.
MOST_ROWS = 500_000
_LONGEST_ID = 128
#: 2000-01-01 to 2200-01-01 in Unix seconds; a time outside is a broken clock.
_FIRST_TIME, _LAST_TIME = 946_684_800.0, 7_258_118_400.0

_encoder = msgspec.msgpack.Encoder()


class Intake:
    """Counts what it gets, and spools what was answered. What is counted is in the counters after `settle`."""

    def __init__(self, schema: Schema, counters: Counters, spool: Spool, drops: Drops) -> None:
        self._widths = len(schema.numbers), len(schema.categories), len(schema.outputs)
        self._counters = counters
        self._spool = spool
        self._drops = drops
        self._senders = Senders()
        #: Not counted yet, and their rows.
        self._uncounted: list[Prediction] = []
        self._rows = 0

    def take_frame(self, frame: Frame) -> None:
        self._drops.add("queue_full", self._senders.growth(frame.sender, frame.dropped))
        self.take(frame.predictions)

    def take(self, predictions: Sequence[Prediction]) -> None:
        """A prediction that does not fit the package is counted as a request and as dropped, and its values ignored."""
        sound = [
            self._emptied(prediction, fault) if (fault := self._fault(prediction)) else prediction
            for prediction in predictions
        ]
        answered = [prediction for prediction in sound if prediction.status == 200 and prediction.outputs]
        logged = [prediction for prediction in answered if prediction.rows <= MOST_ROWS]
        self._drops.add("too_large", len(answered) - len(logged))
        for payload, count in _records(logged):
            self._spool.append(payload, count)
        self._count(sound)

    def _count(self, predictions: Sequence[Prediction]) -> None:
        self._uncounted += predictions
        self._rows += sum([prediction.rows for prediction in predictions])
        if len(self._uncounted) >= _TOGETHER or self._rows >= _TOGETHER_ROWS:
            self.settle()

    def settle(self) -> None:
        """Counts what is not counted yet; to be called before the counters are read."""
        uncounted, self._uncounted, self._rows = self._uncounted, [], 0
        self._counters.add(uncounted)

    def _emptied(self, prediction: Prediction, fault: str) -> Prediction:
        if not self._drops.by_reason["invalid"]:
            logs.event("prediction_invalid", fault=fault)
        self._drops.add("invalid")
        return Prediction(
            prediction.prediction_id, prediction.time, prediction.latency, prediction.status, 0, prediction.protocol
        )

    def _fault(self, prediction: Prediction) -> str:
        """In one piece, because most of its time would go into calls: every prediction comes by."""
        rows, numbers, categories = prediction.rows, prediction.numbers, prediction.categories
        if rows < 0:
            return f"rows is {rows}"
        width, lists, outputs = self._widths
        carries = carries_inputs(prediction)
        if prediction.status == 200 and not (
            carries
            and len(prediction.outputs) == 8 * rows * outputs
            and 1 <= len(prediction.prediction_id) <= _LONGEST_ID
            and _FIRST_TIME <= prediction.time < _LAST_TIME
        ):
            return "an answer without inputs, outputs, id or a sensible time"
        if carries and len(numbers) != 8 * rows * width:
            return f"numbers has {len(numbers)} bytes; {8 * rows * width} fit the package"
        if carries and (categories or lists) and [len(values) for values in categories] != [rows] * lists:
            return f"categories does not hold {lists} lists of {rows} values"
        return ""


def _records(predictions: Sequence[Prediction]) -> Iterator[tuple[bytes, int]]:
    """The predictions as payloads of spool records, each with its number of predictions."""
    group: list[Prediction] = []
    size = 0
    for prediction in predictions:
        weight = _weight(prediction)
        if group and (len(group) == _RECORD_PREDICTIONS or size + weight > _RECORD_BYTES):
            yield _encoder.encode(group), len(group)
            group, size = [], 0
        group.append(prediction)
        size += weight
    if group:
        yield _encoder.encode(group), len(group)


def _weight(prediction: Prediction) -> int:
    """About how many bytes it takes; texts are taken for 16 bytes each."""
    return len(prediction.numbers) + len(prediction.outputs) + 16 * prediction.rows * len(prediction.categories)
