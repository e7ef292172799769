"""The one writer: gathers what waits for a table into one commit, then tells every sender.

Commits cost milliseconds each and a file each, whatever their size, so waiting a moment is what makes many small
batches cheap.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seamark.errors import SeamarkError, Unavailable
from seamark_collector.names import TableName
from seamark_collector.tables import Table

__all__ = ["Append", "Stored", "Writer"]

log = logging.getLogger(__name__)

#: Seconds between commits: what a sender waits at most, half of it on average.
INTERVAL = 0.25
MAX_WAITING = 1000
PROBLEM_SECONDS = 10.0
#: Tables kept open; one more is a fresh look at the disk, a few milliseconds.
MAX_OPEN = 256
#: The labels table's own source: its sequence is the last label's.
LABELS = "seamark-labels"


@dataclass(frozen=True, slots=True)
class Stored:
    """rows is 0 when the same (source, sequence) was stored before."""

    rows: int
    repeated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Append:
    """Rows for a table. With a source, nothing is stored if the table has this sequence or a higher one of it."""

    table: TableName
    rows: pa.Table
    source: str
    sequence: int
    done: Future[Stored] = field(default_factory=Future)


class Writer:
    """Owns every table under `root`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._tables: dict[TableName, Table] = {}
        self._waiting: deque[Append] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._problem: tuple[float, str] | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def problem(self) -> str:
        """Why the last commit failed; "" after a good one, or a while later.

        It must fade: whoever waits for readiness before sending again would otherwise wait for ever.
        """
        problem = self._problem
        return problem[1] if problem and time.monotonic() - problem[0] < PROBLEM_SECONDS else ""

    def submit(self, append: Append) -> None:
        """Queue it; `append.done` tells when it is durable, or raises why not."""
        with self._changed:
            if self._stopping or len(self._waiting) >= MAX_WAITING:
                raise Unavailable("Cannot store now: " + ("stopping" if self._stopping else "too many requests wait"))
            self._waiting.append(append)
            self._changed.notify()

    def _run(self) -> None:
        while appends := self._take():
            started = time.monotonic()
            for name in dict.fromkeys(append.table for append in appends):
                self._store(name, [append for append in appends if append.table == name])
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, timeout=started + INTERVAL - time.monotonic())

    def _take(self) -> list[Append]:
        """Everything that waits, as soon as anything does; nothing once stopped and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            appends = list(self._waiting)
            self._waiting.clear()
            return appends

    def _store(self, name: TableName, appends: Sequence[Append]) -> None:
        try:
            table = self._table(name)
            fresh = _select(table, appends)
            if fresh:
                _append(table, name, fresh)
        except Exception as error:
            self._fail(name, appends, error)
            return
        self._problem = None
        for append in appends:
            if not append.done.done():
                new = append in fresh
                append.done.set_result(Stored(append.rows.num_rows if new else 0, repeated=not new))
        self._maintain(name, table)

    def _table(self, name: TableName) -> Table:
        if name not in self._tables:
            while len(self._tables) >= MAX_OPEN:
                del self._tables[next(iter(self._tables))]
            self._tables[name] = Table(self._root, name)
        return self._tables[name]

    def _fail(self, name: TableName, appends: Sequence[Append], error: Exception) -> None:
        # Whether the commit happened is unknown now; the next attempt reads the table anew.
        self._tables.pop(name, None)
        self._problem = (time.monotonic(), f"Cannot write {name}: {' '.join(str(error).split())[:300]}")
        log.error("event=commit_failed table=%s requests=%d error=%r", name, len(appends), str(error)[:1000])
        for append in appends:
            if not append.done.done():
                append.done.set_exception(Unavailable("Cannot store now: the log cannot be written; /readyz says why"))

    def _maintain(self, name: TableName, table: Table) -> None:
        try:
            table.maintain(time.monotonic())
        except Exception as error:
            # What was acknowledged is safe; the table only stays larger until the next look.
            self._tables.pop(name, None)
            log.warning("event=maintenance_failed table=%s error=%r", name, str(error)[:1000])


def _select(table: Table, appends: Sequence[Append]) -> list[Append]:
    """Those not stored before, in order of sequence. One that can never be stored gets its error here."""
    fresh: list[Append] = []
    highest: dict[str, int] = {}
    for append in sorted(appends, key=lambda append: append.sequence):
        try:
            table.check(append.rows.schema)
        except SeamarkError as error:
            append.done.set_exception(error)
            continue
        source = append.source
        if source:
            if append.sequence <= highest.get(source, table.last(source)):
                continue
            highest[source] = append.sequence
        table.expect(append.rows.schema)
        fresh.append(append)
    return fresh


def _append(table: Table, name: TableName, fresh: Sequence[Append]) -> None:
    rows = pa.concat_tables([append.rows for append in fresh], promote_options="default")
    sequences = {append.source: append.sequence for append in fresh if append.source}
    if name.kind == "labels":
        last = max(table.last(LABELS), time.time_ns() // 1000) + rows.num_rows
        rows = rows.append_column("sequence", _sequences(last, rows.num_rows))
        sequences[LABELS] = last
    table.append(rows, sequences)


def _sequences(last: int, count: int) -> pa.Array:
    """Labels' order of receipt: microseconds of the clock, but never at or before the label stored last."""
    return pa.array(np.arange(last - count + 1, last + 1, dtype=np.int64))
