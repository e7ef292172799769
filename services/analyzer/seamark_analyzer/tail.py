"""Reading what is new in a Delta table: each file once, only the columns that are needed, in bounded batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

__all__ = ["Tail"]

BATCH_ROWS = 65_536


class Tail:
    """Gives the rows of files that came since the last time; compaction gives rows again, so key them.

    columns: what to read; a column that a file lacks is null. newest: about how many rows to read of many: files whose
    newest `time` is oldest are passed over.
    """

    def __init__(self, address: str, columns: pa.Schema, newest: int) -> None:
        self._address = address
        self._columns = columns
        self._newest = newest
        self._table: DeltaTable | None = None
        self._version = -1
        self._read: set[str] = set()
        #: Rows in the table, those passed over included.
        self.total = 0

    def new(self) -> Iterator[pa.RecordBatch]:
        """Rows of new files. A failure midway gives the same files again next time."""
        table = self._refreshed()
        if table is None or table.version() == self._version:
            return
        files = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        present = {file["path"] for file in files}
        missing = [file for file in self._newest_files(files) if file["path"] not in self._read]
        if missing:
            yield from self._batches([file["path"] for file in missing])
        self._read = present
        self._version = table.version()
        self.total = sum(file["num_records"] or 0 for file in files)

    def _refreshed(self) -> DeltaTable | None:
        if self._table is None:
            if not DeltaTable.is_deltatable(self._address):
                return None
            self._table = DeltaTable(self._address)
            return self._table
        try:
            self._table.update_incremental()
        except Exception:
            self._table = None  # opened anew next time: the table may have been replaced
            raise
        return self._table

    def _newest_files(self, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Files in the order of their newest row, oldest first."""
        files = sorted(files, key=lambda file: (file.get("max.time") is not None, file.get("max.time"), file["path"]))
        rows = 0
        for position in range(len(files) - 1, -1, -1):
            rows += files[position]["num_records"] or 0
            if rows >= self._newest:
                return files[position:]
        return files

    def _batches(self, paths: list[str]) -> Iterator[pa.RecordBatch]:
        files = ds.dataset(
            paths,
            schema=self._columns,
            format="parquet",
            filesystem=PyFileSystem(DeltaStorageHandler(self._address)),
        )
        scanner = files.scanner(batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=2, use_threads=False)
        yield from scanner.to_batches()
