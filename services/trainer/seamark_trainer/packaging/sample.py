"""A CSV or Parquet file of typical rows, by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark_trainer import table

__all__ = ["Column", "Sample", "parse_number", "read"]

#: Float64 with NaN for missing, or texts with None for missing.
Column = NDArray[np.float64] | tuple[str | None, ...]
#: How pandas names the index of a data frame in Parquet; it is no column of the frame.
_INDEX = "__index_level_"
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """names: the columns in the file's order. columns: `rows` values each; refused: the types of those that are neither
    numbers nor texts."""

    path: Path
    rows: int
    names: tuple[str, ...]
    columns: Mapping[str, Column]
    refused: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> Column:
        if name in self.refused:
            raise self._unfit(name, f"is {self.refused[name]}; numbers and texts are taken")
        return self.columns[name]

    def is_numeric(self, name: str) -> bool:
        """Is every value that is there a number, true or false? Not where all are missing."""
        column = self.column(name)
        if isinstance(column, np.ndarray):
            return True
        present = [text for text in column if text is not None]
        return bool(present) and all(parse_number(text) is not None for text in present)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """rows values, NaN for missing, true and false as 1 and 0; `UserError` names the first that is none."""
        column = self.column(name)
        if isinstance(column, np.ndarray):
            return column
        found = np.full(self.rows, np.nan)
        for i, text in enumerate(column):
            if text is not None:
                number = parse_number(text)
                if number is None:
                    raise self._unfit(name, f"is {text[:60]!r} in row {i + 1}; the model takes numbers there")
                found[i] = number
        return found

    def texts(self, name: str) -> tuple[str | None, ...]:
        """rows values, None for missing."""
        column = self.column(name)
        if not isinstance(column, np.ndarray):
            return column
        return tuple(None if value is None else str(value) for value in _whole(column))

    def _unfit(self, name: str, problem: str) -> UserError:
        return UserError(f"Cannot use {self.path}: column {name!r} {problem}")


def parse_number(text: str) -> float | None:
    """A number, true or false as 1 and 0; None for anything else."""
    try:
        # Underscores group digits in Python only.
        return None if "_" in text else float(text)
    except ValueError:
        return _TRUTH.get(text.lower())


def _whole(column: NDArray[np.float64]) -> list[Any]:
    """Python numbers, whole ones as such, None for NaN."""
    return [None if value != value else int(value) if value.is_integer() else value for value in column.tolist()]


def read(path: Path) -> Sample:
    """Raises `UserError`. The name's end says which kind of file it is: .parquet, else CSV."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return _parquet(path)
    names, rows = table.lines(path)
    cells = zip(*rows, strict=True) if rows else ((),) * len(names)
    return Sample(path, len(rows), tuple(names), dict(zip(names, cells, strict=True)))


def _parquet(path: Path) -> Sample:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > table.MAX_ROWS:
                raise UserError(f"Cannot read {path}: it has more than {table.MAX_ROWS} rows")
            found = file.read()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except pa.ArrowException as error:
        raise UserError(f"Cannot read {path}: {' '.join(str(error).split())[:300]}") from error
    if len(set(found.column_names)) < len(found.column_names):
        raise UserError(f"Cannot read {path}: two columns have one name")
    columns: dict[str, Column] = {}
    refused: dict[str, str] = {}
    names = tuple(name for name in found.column_names if not name.startswith(_INDEX))
    for name in names:
        column = _arrow(found[name])
        if column is None:
            refused[name] = str(found[name].type)
        else:
            columns[name] = column
    return Sample(path, found.num_rows, names, columns, refused)


def _arrow(column: Any) -> Column | None:
    """None for what is neither numbers nor texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.uint8()), pa.uint8()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.fill_null(column.cast(kind).cast(pa.float64(), safe=False), float("nan"))
        return np.asarray(numbers.to_numpy(), dtype=np.float64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        # The empty text is missing, as in a CSV file: ONNX has no other missing text.
        return tuple(value or None for value in column.to_pylist())
    return None
