"""From a monitor's batch to the rows of the predictions table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark.log import columns
from seamark.records import Block, LogBatch, misfit, strange
from seamark_collector.names import check_name

__all__ = ["MAX_COLUMNS", "MAX_ROWS", "decode", "to_rows"]

#: One batch. A row of no features still costs an id, so bytes alone do not bound rows.
MAX_ROWS = 1_000_000
MAX_COLUMNS = 10_000
#: Each date is a folder and a file of its own; a spool that waited a year still fits.
MAX_DATES = 400
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
    """The batch as rows of the predictions table; a missing number is null."""
    _check(batch)
    blocks = [block for block in batch.blocks if block.prediction_ids]
    counts = np.frombuffer(b"".join([block.rows for block in blocks]), "<i8")
    total = int(counts.sum())
    if total > MAX_ROWS:
        raise InvalidInput(f"Cannot store batch: {total} rows are more than {MAX_ROWS}")
    fields = {**_identity(blocks, counts), "revision": pa.repeat(pa.scalar(batch.revision), total)}
    features = columns("x", [*batch.numbers, *batch.categories])
    fields |= zip(features, _values([block.numbers for block in blocks], len(batch.numbers)), strict=False)
    for i, name in enumerate(features[len(batch.numbers) :]):
        fields[name] = pa.array([text for block in blocks for text in block.categories[i]], pa.string())
    outputs = _values([block.outputs for block in blocks], len(batch.outputs))
    fields |= zip(columns("y", batch.outputs), outputs, strict=True)
    return pa.table(fields)


def _check(batch: LogBatch) -> None:
    widths = len(batch.numbers), len(batch.categories), len(batch.outputs)
    for index, block in enumerate(batch.blocks):
        fault = misfit(block, *widths, MAX_ROWS) or (strange(block) if block.prediction_ids else "")
        if fault:
            raise InvalidInput(f"blocks[{index}]: {fault}")


def _identity(blocks: Sequence[Block], counts: NDArray[np.int64]) -> dict[str, pa.Array]:
    """prediction_id, row, time and date of every row."""
    times = np.frombuffer(b"".join([block.times for block in blocks]), "<f8")
    micros = np.rint(times * 1e6).astype(np.int64)
    dates = (micros // (_SECONDS_A_DAY * 1_000_000)).astype(np.int32)
    if len(np.unique(dates)) > MAX_DATES:
        raise InvalidInput(f"Cannot store batch: its times span more than {MAX_DATES} dates")
    which = np.repeat(np.arange(len(counts)), counts)
    ids = pa.array(list(chain.from_iterable(block.prediction_ids for block in blocks)), pa.string())
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return {
        "prediction_id": ids.take(pa.array(which)),
        "row": pa.array((np.arange(len(which)) - first).astype(np.int32)),
        "time": pa.array(micros[which]).cast(pa.timestamp("us", tz="UTC")),
        "date": pa.array(dates[which]).cast(pa.date32()),
    }


def _values(parts: Sequence[bytes], width: int) -> list[pa.Array]:
    """Row-major float64 blocks as `width` columns; NaN means missing and becomes null."""
    if not width:
        return []
    values = np.frombuffer(b"".join(parts), dtype="<f8").reshape(-1, width)
    return [pa.array(column, from_pandas=True) for column in np.ascontiguousarray(values.T)]
