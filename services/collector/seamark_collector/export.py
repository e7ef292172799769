"""Reading a table for somebody else: which rows, which columns, at which version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast, get_args

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from seamark.errors import InvalidInput, NotFound
from seamark_collector.names import Kind, TableName, check_name
from seamark_collector.overview import exists

__all__ = ["Export", "find"]

#: Year 9999; later times have no date.
_LAST_TIME = 253_402_300_799
#: One file after the other: readers share the machine with the writer, and memory is one file's columns.
_SESSION = {"datafusion.execution.target_partitions": "1"}


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """Rows of a table at a fixed version."""

    name: TableName
    version: int
    schema: pa.Schema
    _delta: DeltaTable
    _query: str

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a few thousand at a time; memory does not grow with the table."""
        rows = QueryBuilder(_SESSION).register("rows", self._delta).execute(self._query)
        for batch in pa.RecordBatchReader.from_stream(rows):
            # The engine has its own text type, which few readers know.
            yield batch.cast(self.schema)


def find(root: str, namespace: str, deployment: str, kind: str, columns: str | None, since: str | None) -> Export:
    """What is asked for: columns by comma (None: all), since in Unix seconds (None: ever).

    Predictions are those made since then, labels those received since that day. Raises `InvalidInput` for what
    cannot be asked, `NotFound` where there is no such table.
    """
    name = TableName(_kind(kind), check_name("namespace", namespace), check_name("deployment", deployment))
    start = None if since is None else _start(since)
    if not exists(name.address(root)):
        raise NotFound(f"Cannot find table {name}: nothing was stored yet")
    delta = DeltaTable(name.address(root))
    schema = _select(name, pa.schema(delta.schema()), columns)
    names = ", ".join(_quoted(field.name) for field in schema)
    query = f"SELECT {names} FROM rows{_condition(name.kind, start)}"  # noqa: S608  # names are the schema's, quoted
    return Export(name, delta.version(), schema, delta, query)


def _kind(kind: str) -> Kind:
    if kind in get_args(Kind):
        return cast(Kind, kind)
    raise NotFound(f"Cannot find table {kind[:80]!r}; there are predictions and labels")


def _start(since: str) -> datetime:
    try:
        seconds = float(since)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LAST_TIME:
        raise InvalidInput(f"since: {since[:80]!r} is not a time in Unix seconds from 0 to {_LAST_TIME}")
    return datetime.fromtimestamp(seconds, UTC)


def _select(name: TableName, schema: pa.Schema, columns: str | None) -> pa.Schema:
    if columns is None:
        return schema
    wanted = columns.split(",")
    _are_different(wanted)
    known = set(schema.names)
    for column in wanted:
        if column not in known:
            raise InvalidInput(f"columns: table {name} has no column {column[:80]!r}")
    return pa.schema([schema.field(column) for column in wanted])


def _are_different(columns: Sequence[str]) -> None:
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise InvalidInput(f"columns: {column[:80]!r} is named twice")
        seen.add(column)


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _condition(kind: Kind, start: datetime | None) -> str:
    """The date is the partition: whole files are left out by it."""
    if start is None:
        return ""
    condition = f" WHERE date >= DATE '{start:%Y-%m-%d}'"
    if kind == "predictions":
        condition += f" AND time >= TIMESTAMP '{start:%Y-%m-%dT%H:%M:%S.%fZ}'"
    return condition
