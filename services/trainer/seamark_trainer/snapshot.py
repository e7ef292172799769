"""The log at fixed versions: what a training run saw can be named, and seen again while the log keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seamark.log import columns
from seamark.package import Schema
from seamark_trainer.dataset import Dataset
from seamark_trainer.joining import join
from seamark_trainer.source import Source

__all__ = ["Snapshot", "read"]

#: A label can be received before its prediction is stored, but not long before it is made.
EARLY = timedelta(days=7)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
#: Answers to one row that are expected at most: champion and challenger, and those before them.
_ANSWERS = 4
_LABEL_NAMES = ["prediction_id", "row", "label", "sequence"]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Labelled rows of the log. data_version names the tables' versions; unknown counts labels that are no class."""

    data: Dataset
    data_version: str
    labels: int
    unknown: int


def read(source: Source, schema: Schema, *, champion: str, since: float, max_rows: int) -> Snapshot:
    """The newest `max_rows` labelled rows since `since` (Unix seconds); raises `UserError` where there is no log.

    Memory grows with the labels and `max_rows`, not with the predictions.
    """
    start = datetime.fromtimestamp(since, UTC)
    features = columns("x", [*schema.numbers, *schema.categories])
    names = ["prediction_id", "row", "time", "revision", *features, "y_prediction"]
    labels, labels_at = source.read("labels", _LABEL_NAMES, max(_FIRST, start - EARLY), _all)
    labelled, at = source.read("predictions", names, start, partial(_labelled, labels=labels, max_rows=max_rows))
    joined = join(labelled, labels, champion)
    rows = joined.slice(max(0, joined.num_rows - max_rows))
    data, unknown = _dataset(rows, schema, features, champion)
    return Snapshot(data, f"predictions@{at},labels@{labels_at}", rows.num_rows, unknown)


def _all(rows: pa.RecordBatchReader) -> pa.Table:
    return rows.read_all()


def _labelled(predictions: pa.RecordBatchReader, labels: pa.Table, max_rows: int) -> pa.Table:
    """The predictions whose id has a label: the newest, at least `max_rows` of them where there are so many.

    A row has as many answers as revisions saw it, so more are kept than are wanted.
    """
    most = _ANSWERS * max_rows
    ids = pc.unique(labels["prediction_id"].combine_chunks())
    kept = predictions.schema.empty_table()
    for batch in predictions:
        met = batch.filter(pc.is_in(batch["prediction_id"], value_set=ids))
        kept = pa.concat_tables([kept, pa.Table.from_batches([met])])
        if kept.num_rows > 2 * most:
            kept = kept.sort_by([("time", "descending")]).slice(0, most).combine_chunks()
    return kept


def _dataset(rows: pa.Table, schema: Schema, features: Sequence[str], champion: str) -> tuple[Dataset, int]:
    values = [schema.label_value(label) for label in rows["label"].to_pylist()]
    labels = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    answered = pc.if_else(pc.equal(rows["revision"], champion), rows["y_prediction"], None)
    numbers, categories = features[: len(schema.numbers)], features[len(schema.numbers) :]
    data = Dataset(
        schema,
        np.column_stack([_numbers(rows[name]) for name in numbers]) if numbers else np.empty((rows.num_rows, 0)),
        tuple(tuple(rows[name].to_pylist()) for name in categories),
        labels,
        _numbers(answered),
    )
    known = np.isfinite(labels)
    return data.take(np.flatnonzero(known)), int(np.count_nonzero(~known))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Float64 with NaN for null."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(), dtype=np.float64)
