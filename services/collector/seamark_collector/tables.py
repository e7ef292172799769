"""One Delta table of the log: opening, appending with its senders' sequences, and keeping it small.

Used by the writer's thread only. Readers need no lock: a commit appears whole or not at all, and the files that
compaction replaces stay until every reader that opened them had `KEEP_HOURS` to finish.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from seamark.errors import InvalidInput
from seamark_collector.durable import drop_torn_commit, flush_commits
from seamark_collector.names import TableName

__all__ = ["Table"]

MIB = 1024 * 1024
#: (file size, count): when this many files are smaller than the size, they are merged into files of about the size.
#: Two sizes, so that a day's file is not written again for every few seconds of traffic.
LEVELS = ((4 * MIB, 64), (64 * MIB, 32))
#: Commits between looks at the files' sizes.
LOOK_EVERY = 16
KEEP_HOURS = 2
VACUUM_SECONDS = 3600.0

_DESCRIPTIONS = {
    "predictions": "Seamark prediction log: one row for each answered row; x_ columns are inputs, y_ columns outputs",
    "labels": "Seamark labels: join by prediction_id and row; of several labels the highest sequence wins",
}
_CONFIGURATION = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 1 days",
    # Statistics of the first columns only (ids, row, time): with hundreds of features commits would outgrow the data.
    "delta.dataSkippingNumIndexedCols": "5",
}
#: An Idempotency-Key is remembered this long. Predictions' sequences are remembered for ever.
_LABELS_CONFIGURATION = {**_CONFIGURATION, "delta.setTransactionRetentionDuration": "interval 7 days"}


class Table:
    """The table at `name` under `root`, or the promise to make it with the first rows."""

    def __init__(self, root: str, name: TableName) -> None:
        self._name = name
        self._address = name.address(root)
        self._folder = None if "://" in root else Path(self._address)
        self._delta = self._open()
        self._columns = _types(self._delta)
        self._commits = 0
        self._vacuumed: float | None = None

    def _open(self) -> DeltaTable | None:
        if self._folder is not None and self._folder.is_dir():
            drop_torn_commit(self._folder)
        return DeltaTable(self._address) if DeltaTable.is_deltatable(self._address) else None

    def last(self, source: str) -> int:
        """The highest sequence stored from this source; 0 if none."""
        return (self._delta.transaction_version(source) or 0) if self._delta else 0

    def check(self, schema: pa.Schema) -> None:
        """Raise `InvalidInput` if a column is already here with another type: no later attempt could store it."""
        for field in schema:
            known = self._columns.get(field.name, field.type)
            if known != field.type:
                raise InvalidInput(f"Cannot store column {field.name}: it holds {field.type}, the log has {known}")

    def expect(self, schema: pa.Schema) -> None:
        """Check further rows against these as well, before they are stored."""
        self._columns = {**{field.name: field.type for field in schema}, **self._columns}

    def append(self, rows: pa.Table, sequences: Mapping[str, int]) -> None:
        """Store the rows and their sources' sequences in one commit; on return they are durable."""
        if self._delta is None:
            self._delta = self._create(rows.schema)
        before = self._delta.version()
        now = int(time.time() * 1000)
        write_deltalake(
            self._delta,
            rows,
            mode="append",
            schema_mode="merge",
            commit_properties=CommitProperties(
                app_transactions=[Transaction(source, sequence, now) for source, sequence in sequences.items()]
            ),
        )
        self._flush(before)
        self._columns = _types(self._delta)
        self._commits += 1

    def _create(self, schema: pa.Schema) -> DeltaTable:
        kind = self._name.kind
        return DeltaTable.create(
            self._address,
            schema,
            mode="ignore",
            partition_by=["date"],
            name=str(self._name),
            description=_DESCRIPTIONS[kind],
            configuration=_LABELS_CONFIGURATION if kind == "labels" else _CONFIGURATION,
        )

    def _flush(self, before: int) -> None:
        if self._folder is not None and self._delta is not None:
            flush_commits(self._folder, range(before, self._delta.version() + 1))

    def maintain(self, now: float) -> None:
        """Merge small files and remove what nobody can be reading any more. `now` is monotonic seconds."""
        if self._delta is None:
            return
        if self._commits % LOOK_EVERY == 0:
            self._merge(self._delta)
        if self._vacuumed is None or now - self._vacuumed >= VACUUM_SECONDS:
            self._vacuumed = now
            # Full: files of commits that a kill interrupted are in no log entry.
            # delta-rs would insist on a week; KEEP_HOURS is longer than any reader of ours takes.
            self._delta.vacuum(KEEP_HOURS, dry_run=False, enforce_retention_duration=False, full=True)

    def _merge(self, delta: DeltaTable) -> None:
        sizes = delta.get_add_actions()["size_bytes"].to_pylist()
        for size, count in LEVELS:
            if sum(found < size for found in sizes) >= count:
                before = delta.version()
                delta.optimize.compact(target_size=size, max_concurrent_tasks=1)
                self._flush(before)


def _types(delta: DeltaTable | None) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in pa.schema(delta.schema())} if delta else {}
