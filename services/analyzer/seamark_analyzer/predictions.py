"""The prediction log as the analyzer remembers it: the newest rows of each revision and the labels."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from seamark.log import columns, table
from seamark.package import Schema
from seamark_analyzer.joins import Floats, Labels, Rows, keys
from seamark_analyzer.logs import event
from seamark_analyzer.tail import Tail

__all__ = ["MOST_LABELS", "MOST_ROWS", "PredictionLog"]

#: Rows remembered of one revision, newest first, and labels of one deployment: some 15 MB in all.
MOST_ROWS = 200_000
MOST_LABELS = 400_000
#: Revisions remembered that the config does not name (yet).
MOST_STRANGERS = 4
#: Different label texts whose meaning is remembered.
MOST_TEXTS = 10_000

_KEY = [("prediction_id", pa.string()), ("row", pa.int64())]


class PredictionLog:
    """Follows one deployment's tables. `refresh` blocks on I/O: call it in a thread, one call at a time.

    The schema gives predictions and labels their common meaning: the champion's.
    """

    def __init__(self, root: str, namespace: str, deployment: str, schema: Schema) -> None:
        self.schema = schema
        self._outputs = columns("y", schema.outputs)
        values = [("time", pa.timestamp("us", tz="UTC")), ("revision", pa.string())]
        values += [(name, pa.float64()) for name in self._outputs]
        self._predictions = Tail(
            table(root, "predictions", namespace, deployment), pa.schema(_KEY + values), 4 * MOST_ROWS
        )
        self._received = Tail(
            table(root, "labels", namespace, deployment),
            pa.schema([*_KEY, ("label", pa.string()), ("sequence", pa.int64())]),
            2 * MOST_LABELS,
        )
        self._deployment = deployment
        self._meanings: dict[str, float] = {}
        self._capped: set[str] = set()
        #: Why some of the labels that came last count for nothing; "" if all do.
        self.unusable = ""
        self.rows: Mapping[str, Rows] = {}
        self.labels = Labels()

    @property
    def labels_total(self) -> int:
        return self._received.total

    def refresh(self, revisions: Collection[str]) -> None:
        """Take in what is new. Revisions that are not named are remembered only while there are few of them."""
        for batch in self._received.new():
            self._add_labels(batch)
        for batch in self._predictions.new():
            self._add_predictions(batch)
        strangers = [name for name in self.rows if name not in revisions]
        strangers.sort(key=lambda name: float(self.rows[name].time.max(initial=-math.inf)))
        gone = set(strangers[: max(0, len(strangers) - MOST_STRANGERS)])
        if gone:
            self.rows = {name: rows for name, rows in self.rows.items() if name not in gone}

    def _add_labels(self, batch: pa.RecordBatch) -> None:
        texts = batch.column("label").to_pylist()
        sequence = batch.column("sequence").fill_null(0).to_numpy(zero_copy_only=False)
        value = np.fromiter((self._meaning(text) for text in texts), np.float64, len(texts))
        strange = [text or "" for text, known in zip(texts, value, strict=True) if math.isnan(known)]
        self.unusable = self._complaint(strange, len(texts)) if strange else ""
        new = Labels(_keys_of(batch), sequence, value)
        self.labels = self.labels.merge(new, MOST_LABELS)
        if len(self.labels) == MOST_LABELS:
            self._say_capped("labels", MOST_LABELS)

    def _complaint(self, strange: Sequence[str], came: int) -> str:
        more = f", nor {len(strange) - 1} more of {came}" if len(strange) > 1 else ""
        classes = ", ".join(repr(name) for name in self.schema.classes[:10])
        needed = f"the classes are {classes}" if classes else "a finite number is needed"
        return f"Cannot use label {strange[0][:60]!r}{more}: {needed}"

    def _meaning(self, text: str | None) -> float:
        known = self._meanings.get(text or "")
        if known is None:
            value = self.schema.label_value(text) if text else None
            known = math.nan if value is None else value
            if len(self._meanings) < MOST_TEXTS:
                self._meanings[text or ""] = known
        return known

    def _add_predictions(self, batch: pa.RecordBatch) -> None:
        revisions = batch.column("revision").dictionary_encode()
        time = batch.column("time").cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
        codes = revisions.indices.to_numpy(zero_copy_only=False)
        outputs = [_floats(batch.column(name)) for name in self._outputs]
        for code, revision in enumerate(revisions.dictionary.to_pylist()):
            known = self.rows.get(revision, Rows())
            # A full memory takes nothing older than it holds: compaction repeats whole days.
            oldest = float(known.time.min()) if len(known) >= MOST_ROWS else -math.inf
            at = np.flatnonzero((codes == code) & (time >= oldest))
            if len(at):
                self._add_rows(revision, known, batch.take(pa.array(at)), [time[at], *(part[at] for part in outputs)])

    def _add_rows(self, revision: str, known: Rows, batch: pa.RecordBatch, values: list[Floats]) -> None:
        time, prediction, *score = values
        new = Rows(_keys_of(batch), time, prediction, score[0] if score else np.full(len(time), np.nan))
        rows = known.merge(new, MOST_ROWS)
        self.rows = {**self.rows, revision: rows}
        if len(rows) == MOST_ROWS:
            self._say_capped(revision, MOST_ROWS)

    def _say_capped(self, what: str, limit: int) -> None:
        if what not in self._capped:
            self._capped.add(what)
            event("log_capped", deployment=self._deployment, of=what, newest_rows_used=limit)


def _keys_of(batch: pa.RecordBatch) -> np.typing.NDArray[np.int64]:
    return keys(batch.column("prediction_id").to_pylist(), batch.column("row").to_pylist())


def _floats(column: pa.Array) -> Floats:
    """Nulls as NaN."""
    values: Floats = column.to_numpy(zero_copy_only=False)
    return values.astype(np.float64)
