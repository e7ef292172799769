"""A CSV file as labelled rows."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seamark.errors import UserError
from seamark.package import CATEGORY, NUMBER, TASKS, Feature, Schema
from seamark_trainer.dataset import Dataset

__all__ = ["MAX_ROWS", "Labelled", "lines", "read"]

MAX_ROWS = 1_000_000
#: A target of numbers with more different values than this is a quantity, not a class.
MAX_CLASSES = 20
MISSING = frozenset({"", "na", "nan", "null", "none"})


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """unlabelled: rows left out because the target was missing."""

    data: Dataset
    unlabelled: int


def read(path: Path, target: str, task: str | None = None) -> Labelled:
    """The file's rows in order. A column whose every value is a number is one; others are categories.

    The first line names the columns. Empty, NA, NaN, null and none mean missing. Raises `UserError`.
    """
    header, rows = lines(path)
    if target not in header:
        raise UserError(f"Cannot read {path}: it has no column {target!r}; it has {', '.join(header)[:300]}")
    kept = [row for row in rows if row[header.index(target)] is not None]
    if not kept:
        raise UserError(f"Cannot read {path}: no row has a value of {target!r}")
    columns = dict(zip(header, zip(*kept, strict=True), strict=True))
    labels = columns.pop(target)
    if not columns:
        raise UserError(f"Cannot read {path}: it has no column but {target!r}")
    numbers = {name: values for name, texts in columns.items() if (values := _numbers(texts)) is not None}
    features = tuple(Feature(name, NUMBER if name in numbers else CATEGORY) for name in columns)
    schema = _schema(path, features, labels, task)
    blocks = [numbers[name] for name in schema.numbers]
    data = Dataset(
        schema,
        np.column_stack(blocks) if blocks else np.empty((len(kept), 0)),
        tuple(tuple(columns[name]) for name in schema.categories),
        np.array([schema.label_value(label) for label in labels], dtype=np.float64),
        np.full(len(kept), np.nan),
    )
    return Labelled(data, len(rows) - len(kept))


def lines(path: Path) -> tuple[list[str], list[list[str | None]]]:
    """(the columns' names, the cells of each row, None where a cell is missing). Raises `UserError`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _header_is_sound(path, header)
            found: list[list[str | None]] = []
            for cells in reader:
                if cells:
                    found.append(_line(path, reader.line_num, cells, len(header)))
                if len(found) > MAX_ROWS:
                    raise UserError(f"Cannot read {path}: it has more than {MAX_ROWS} rows")
            return header, found
    except OSError as error:
        raise UserError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read {path}: {error}") from error


def _header_is_sound(path: Path, header: Sequence[str]) -> None:
    if not header:
        raise UserError(f"Cannot read {path}: it is empty")
    for name in header:
        if not name or header.count(name) > 1:
            raise UserError(f"Cannot read {path}: column {name!r} is {'named twice' if name else 'without a name'}")


def _line(path: Path, number: int, cells: Sequence[str], width: int) -> list[str | None]:
    if len(cells) != width:
        raise UserError(f"Cannot read {path}: line {number} has {len(cells)} cells, the header has {width}")
    return [None if cell.strip().lower() in MISSING else cell.strip() for cell in cells]


def _numbers(texts: Sequence[str | None]) -> list[float] | None:
    """The values, NaN for missing; None if one is not a number or all are missing."""
    if all(text is None for text in texts):
        return None
    try:
        return [math.nan if text is None else float(text) for text in texts]
    except ValueError:
        return None


def _schema(path: Path, features: tuple[Feature, ...], labels: Sequence[str | None], task: str | None) -> Schema:
    values = _numbers(labels)
    if task == "regression" or (task is None and values is not None and _is_quantity(values)):
        if values is None or not np.isfinite(values).all():
            raise UserError(f"Cannot read {path}: the target of a regression holds a value that is not a number")
        return Schema("regression", features)
    classes = _classes(labels, values)
    if len(classes) < 2:
        raise UserError(f"Cannot read {path}: all rows have one class, {classes[0]!r}; at least two are needed")
    found = "binary" if len(classes) == 2 else "multiclass"
    if task not in (None, found):
        raise UserError(f"Cannot read {path}: the target has {len(classes)} classes, which is not {task}")
    assert found in TASKS
    return Schema(found, features, classes)


def _is_quantity(values: Sequence[float]) -> bool:
    return len(set(values)) > MAX_CLASSES or any(not value.is_integer() for value in values)


def _classes(labels: Sequence[str | None], values: list[float] | None) -> tuple[str | int, ...]:
    """Sorted; whole numbers as such."""
    if values is not None and all(value.is_integer() for value in values):
        return tuple(sorted({int(value) for value in values}))
    return tuple(sorted({label for label in labels if label is not None}))
