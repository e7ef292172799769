"""Asks the model about the whole sample, and finds the cause where it does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.package import Schema
from seamark.texts import first_line
from seamark_trainer.dataset import Dataset
from seamark_trainer.packaging.blocks import in_blocks
from seamark_trainer.packaging.choosing import Original
from seamark_trainer.packaging.existing import Existing, Runner
from seamark_trainer.packaging.opening import Opened
from seamark_trainer.packaging.sample import parse_number

__all__ = ["categories", "complete_rows", "original"]

log = logging.getLogger(__name__)

#: Seconds between two words on long work.
_PATIENCE = 2.0


def original(opened: Opened, existing: Existing, schema: Schema, data: Dataset) -> Original:
    """The model's answers to all rows; raises `UserError` that says what about the rows it does not take."""
    runner, matrix = existing.runner(schema), data.matrix()
    log.info("asking the model about %d rows", data.rows)
    try:
        answers = in_blocks(runner, matrix, _telling(data.rows))
    except UserError:
        raise
    # A model raises whatever its libraries raise.
    except Exception as error:
        raise UserError(_why(error, runner, data)) from error
    broken = np.flatnonzero(~answers.are_finite(schema))
    if broken.size:
        raise UserError(
            f"it answers row {broken[0] + 1}, and {broken.size} rows in all, with NaN or none of its classes"
            f"{_with_missing(data)}"
        )
    return Original(opened, schema, runner, matrix, answers)


def _telling(rows: int) -> Callable[[int], None]:
    """Says how far it is, now and then."""
    said = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said
        if done < rows and time.monotonic() - said > _PATIENCE:
            said = time.monotonic()
            log.info("%d of %d rows", done, rows)

    return tell


def _why(error: Exception, runner: Runner, data: Dataset) -> str:
    """What the user can do about a model that fails on the sample."""
    cause = first_line(error, type(error).__name__, 200)
    absent = _with_missing(data)
    if absent and _takes_complete_rows(runner, data):
        return f"it takes no missing values{absent}; leave such rows out, or fill them: {cause}"
    texts = [f"{name!r} holds {_odd(values)}" for name, values in categories(data)]
    if texts:
        return f"it fails on the sample, in which {', '.join(texts[:5])}: {cause}"
    return f"it fails on the sample: {cause}"


def _odd(values: Sequence[str | None]) -> str:
    """Why a column is one of texts: its first value that is no number."""
    found = ((i, value) for i, value in enumerate(values) if value is not None and parse_number(value) is None)
    place, value = next(found, (0, None))
    return "texts" if value is None else f"texts, such as {value[:40]!r} in row {place + 1}"


def categories(data: Dataset) -> Iterable[tuple[str, Sequence[str | None]]]:
    """(feature, its rows texts) of each categorical feature."""
    return zip(data.schema.categories, data.categories, strict=True)


def _with_missing(data: Dataset) -> str:
    """`; the sample misses 'age' in 3 rows`, or nothing."""
    counts = dict(zip(data.schema.numbers, np.isnan(data.numbers).sum(axis=0).tolist(), strict=True))
    counts |= {name: list(values).count(None) for name, values in categories(data)}
    shown = [f"{name!r} in {count}" for name, count in counts.items() if count]
    return f"; the sample misses {', '.join(shown[:5])} of {data.rows} rows" if shown else ""


def complete_rows(data: Dataset) -> NDArray[np.int64]:
    """The rows without a missing value."""
    whole = ~np.isnan(data.numbers).any(axis=1)
    for values in data.categories:
        whole &= np.array([value is not None for value in values])
    return np.flatnonzero(whole)


def _takes_complete_rows(runner: Runner, data: Dataset) -> bool:
    rows = complete_rows(data)[:100]
    try:
        return bool(rows.size) and bool(runner.answers(data.take(rows).matrix()).prediction.size)
    # As above.
    except Exception:
        return False
