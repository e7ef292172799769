"""Labels meet predictions: by prediction id and row, each row once, whichever came first."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["join"]

KEYS = ["prediction_id", "row"]


def join(predictions: pa.Table, labels: pa.Table, champion: str) -> pa.Table:
    """The labelled predictions, oldest first: the predictions' columns and `label`.

    predictions: prediction_id, row, time, revision and any others. Where several revisions answered a row, the
    champion's answer is kept, else the oldest. labels: prediction_id, row, label, sequence; the highest sequence wins.
    """
    merged = _one_answer(predictions, champion).join(_last_label(labels), KEYS, join_type="inner", use_threads=False)
    return merged.sort_by([("time", "ascending"), ("prediction_id", "ascending"), ("row", "ascending")])


def _one_answer(predictions: pa.Table, champion: str) -> pa.Table:
    rank = pc.cast(pc.not_equal(predictions["revision"], champion), pa.int8())
    ranked = predictions.append_column("rank", rank).append_column(
        "at", pa.array(range(predictions.num_rows), pa.int64())
    )
    order = [("rank", "ascending"), ("time", "ascending"), ("revision", "ascending")]
    first = ranked.sort_by(order).group_by(KEYS, use_threads=False).aggregate([("at", "first")])
    return predictions.take(first["at_first"])


def _last_label(labels: pa.Table) -> pa.Table:
    ordered = labels.sort_by("sequence")
    last = ordered.group_by(KEYS, use_threads=False).aggregate([("label", "last")])
    return last.rename_columns({"label_last": "label"})
