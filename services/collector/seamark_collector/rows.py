"""From a monitor's batch to the rows of the predictions table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa

from seamark.errors import InvalidInput
from seamark.log import columns
from seamark.records import LogBatch, Prediction
from seamark_collector.names import check_name

__all__ = ["MAX_COLUMNS", "MAX_ROWS", "decode", "to_rows"]

#: One batch. A row of no features still costs an id, so bytes alone do not bound rows.
MAX_ROWS = 1_000_000
MAX_COLUMNS = 10_000
#: Each date is a folder and a file of its own; a spool that waited a year still fits.
MAX_DATES = 400
#: 2000-01-01 to 2200-01-01 in Unix seconds; a time outside is a broken clock.
FIRST_TIME, LAST_TIME = 946_684_800.0, 7_258_118_400.0
_SECONDS_A_DAY = 86_400
_LAST_SEQUENCE = 2**63 - 1

_decoder = msgspec.msgpack.Decoder(LogBatch)


def decode(body: bytes) -> LogBatch:
    """The batch in a request's body, or `InvalidInput` saying what no repeat can mend."""
    try:
        batch = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidInput(f"Cannot read batch: {error}") from error
    check_name("namespace", batch.namespace)
    check_name("deployment", batch.deployment)
    check_name("revision", batch.revision)
    if not 1 <= len(batch.source) <= 256:
        raise InvalidInput(f"source: has {len(batch.source)} characters; 1 to 256 are allowed")
    if not 1 <= batch.sequence <= _LAST_SEQUENCE:
        raise InvalidInput(f"sequence: {batch.sequence} is not between 1 and {_LAST_SEQUENCE}")
    width = len(batch.numbers) + len(batch.categories) + len(batch.outputs)
    if width > MAX_COLUMNS:
        raise InvalidInput(f"Cannot store batch: {width} columns are more than {MAX_COLUMNS}")
    return batch


def to_rows(batch: LogBatch) -> pa.Table:
    """The answered predictions as rows of the predictions table; a missing number is null.

    Refused predictions (another status, or no outputs) are left out: the monitor counts them.
    """
    served = [prediction for prediction in batch.predictions if prediction.status == 200 and prediction.outputs]
    _check(batch, served)
    counts = np.fromiter((prediction.rows for prediction in served), np.int64, len(served))
    if counts.sum() > MAX_ROWS:
        raise InvalidInput(f"Cannot store batch: {counts.sum()} rows are more than {MAX_ROWS}")
    fields = {**_identity(served, counts), "revision": pa.repeat(pa.scalar(batch.revision), int(counts.sum()))}
    features = columns("x", [*batch.numbers, *batch.categories])
    numbers = _block([prediction.numbers for prediction in served], len(batch.numbers))
    fields |= zip(features, numbers, strict=False)
    for i, name in enumerate(features[len(batch.numbers) :]):
        values = [value for prediction in served for value in prediction.categories[i]]
        fields[name] = pa.array(values, pa.string())
    outputs = _block([prediction.outputs for prediction in served], len(batch.outputs))
    fields |= zip(columns("y", batch.outputs), outputs, strict=True)
    return pa.table(fields)


def _check(batch: LogBatch, served: Sequence[Prediction]) -> None:
    width, texts, outputs = 8 * len(batch.numbers), len(batch.categories), 8 * len(batch.outputs)
    for index, prediction in enumerate(served):
        rows = prediction.rows
        if (
            rows >= 1
            and len(prediction.numbers) == rows * width
            and len(prediction.outputs) == rows * outputs
            and len(prediction.categories) == texts
            and all(len(values) == rows for values in prediction.categories)
            and 1 <= len(prediction.prediction_id) <= 128
            and FIRST_TIME <= prediction.time < LAST_TIME
        ):
            continue
        raise InvalidInput(f"predictions[{index}]: {_fault(batch, prediction)}")


def _fault(batch: LogBatch, prediction: Prediction) -> str:
    rows, numbers, outputs = prediction.rows, len(batch.numbers), len(batch.outputs)
    if rows < 1:
        return f"rows is {rows}; at least 1 is needed"
    if not 1 <= len(prediction.prediction_id) <= 128:
        return f"prediction_id has {len(prediction.prediction_id)} characters; 1 to 128 are allowed"
    if not (math.isfinite(prediction.time) and FIRST_TIME <= prediction.time < LAST_TIME):
        return f"time is {prediction.time}; Unix seconds from {FIRST_TIME:.0f} to {LAST_TIME:.0f} are allowed"
    if len(prediction.numbers) != rows * numbers * 8:
        return f"numbers has {len(prediction.numbers)} bytes; {rows} rows of {numbers} values are {rows * numbers * 8}"
    if len(prediction.outputs) != rows * outputs * 8:
        return f"outputs has {len(prediction.outputs)} bytes; {rows} rows of {outputs} values are {rows * outputs * 8}"
    return f"categories does not hold {len(batch.categories)} lists of {rows} values"


def _identity(served: Sequence[Prediction], counts: np.ndarray) -> dict[str, pa.Array]:
    """prediction_id, row, time and date of every row."""
    micros = np.fromiter((round(prediction.time * 1e6) for prediction in served), np.int64, len(served))
    dates = (micros // (_SECONDS_A_DAY * 1_000_000)).astype(np.int32)
    if len(np.unique(dates)) > MAX_DATES:
        raise InvalidInput(f"Cannot store batch: its times span more than {MAX_DATES} dates")
    which = np.repeat(np.arange(len(served)), counts)
    ids = pa.array([prediction.prediction_id for prediction in served], pa.string())
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return {
        "prediction_id": ids.take(pa.array(which)),
        "row": pa.array((np.arange(len(which)) - first).astype(np.int32)),
        "time": pa.array(micros[which]).cast(pa.timestamp("us", tz="UTC")),
        "date": pa.array(dates[which]).cast(pa.date32()),
    }


def _block(parts: Sequence[bytes], width: int) -> list[pa.Array]:
    """Row-major float64 blocks as `width` columns; NaN means missing and becomes null."""
    if not width:
        return []
    values = np.frombuffer(b"".join(parts), dtype="<f8").reshape(-1, width)
    return [pa.array(column, from_pandas=True) for column in np.ascontiguousarray(values.T)]
