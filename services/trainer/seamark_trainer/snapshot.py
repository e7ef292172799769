"""The log at fixed versions: what a training run saw can be named, and seen again while the log keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.log import columns, table
from seamark.package import Schema
from seamark_trainer.dataset import Dataset
from seamark_trainer.joining import join

__all__ = ["Snapshot", "read"]

#: A label can be received before its prediction is stored, but not long before it is made.
EARLY = timedelta(days=7)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Labelled rows of the log. data_version names the tables' versions; unknown counts labels that are no class."""

    data: Dataset
    data_version: str
    labels: int
    unknown: int


def read(
    root: str, namespace: str, deployment: str, schema: Schema, *, champion: str, since: float, max_rows: int
) -> Snapshot:
    """The newest `max_rows` labelled rows since `since` (Unix seconds); raises `UserError` where there is no log."""
    start = datetime.fromtimestamp(since, UTC)
    features = columns("x", [*schema.numbers, *schema.categories])
    predictions, at = _table(
        table(root, "predictions", namespace, deployment),
        ["prediction_id", "row", "time", "revision", *features, "y_prediction"],
        [("date", ">=", start.date()), ("time", ">=", start)],
    )
    labels, labels_at = _table(
        table(root, "labels", namespace, deployment),
        ["prediction_id", "row", "label", "sequence"],
        [("date", ">=", (start - EARLY).date())],
    )
    joined = join(predictions, labels, champion)
    rows = joined.slice(max(0, joined.num_rows - max_rows))
    data, unknown = _dataset(rows, schema, features, champion)
    return Snapshot(data, f"predictions@{at},labels@{labels_at}", joined.num_rows, unknown)


def _table(address: str, names: Sequence[str], filters: list[tuple[str, str, Any]]) -> tuple[pa.Table, int]:
    from deltalake import DeltaTable

    # Asking delta-rs about a folder that is not there makes the folder.
    missing = "://" not in address and not Path(address).is_dir()
    if missing or not DeltaTable.is_deltatable(address):
        raise UserError(f"the log has no table {address}")
    try:
        delta = DeltaTable(address)
        known = {field.name for field in delta.schema().fields}
        for name in names:
            if name not in known:
                raise UserError(f"the log's table {address} has no column {name}")
        return delta.to_pyarrow_table(columns=list(names), filters=filters), delta.version()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"cannot read the log's table {address}: {error}") from error


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
