"""The one crash-safe place: an SQLite file in WAL mode with full synchronisation.

The supervisor, the operator and the command line are separate processes and meet only here. Each method is one
transaction, so a kill at any point leaves either all of it or nothing.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from seamark.actions import Notify
from seamark.seen import Command, Verb
from seamark.state import State

__all__ = ["Manifest", "Process", "Status", "Store"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS manifests (name TEXT PRIMARY KEY, generation INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS states (name TEXT PRIMARY KEY, state TEXT NOT NULL, summary TEXT NOT NULL,
  updated REAL NOT NULL);
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, time REAL NOT NULL,
  kind TEXT NOT NULL, revision TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, evidence TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, time REAL NOT NULL,
  spec TEXT NOT NULL, before TEXT NOT NULL, seen TEXT NOT NULL, decision TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS commands (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, verb TEXT NOT NULL,
  by TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS processes (name TEXT PRIMARY KEY, process TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS statuses (name TEXT PRIMARY KEY, status TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

#: Seconds to wait for another process's write.
PATIENCE = 10.0
#: Newest rows kept of tables that grow for ever.
KEPT = {"events": 10_000, "audit": 2_000, "commands": 10_000}

Phase = Literal["starting", "running", "ready", "backoff", "succeeded", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Process:
    """A process that should exist. `{port}` in argv and env is replaced by the port the supervisor finds.

    kind service: restarted for ever, with backoff. kind job: run once; after a failure again, `retries` times; killed
    after `deadline` seconds; its result is what it wrote to the file named in SEAMARK_TERMINATION_LOG.
    ready: path that answers 200 when ready, asked on its port; "" means ready when running. port 0: any free one.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["service", "job"] = "service"
    port: int = 0
    ready: str = ""
    deadline: float = 3600.0
    retries: int = 0
    stop_after: float = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a process. `result` is a job's termination message; `log` is a path."""

    name: str
    phase: Phase
    pid: int = 0
    port: int = 0
    restarts: int = 0
    started: float = 0.0
    finished: float | None = None
    exit_status: int | None = None
    message: str = ""
    result: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    name: str
    generation: int
    document: Mapping[str, Any]


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        _use_wal(db)
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection) -> None:
    """SQLite refuses this one at once, without waiting, while another process does the same to a new file."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class Store:
    """Opens (and makes) the database at `path`. Safe for several processes; one instance per thread."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error, naming the file, when it is no database or the disk is full."""
        try:
            self._db = _connect(path)
        except sqlite3.Error as error:
            raise type(error)(f"{path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # --- manifests: what the user wants

    def apply(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Take up these manifests, all or none; a changed one gets the next generation, an equal one keeps its own."""
        with self._write() as db:
            for name, document in documents.items():
                text = json.dumps(document, sort_keys=True)
                db.execute(
                    "INSERT INTO manifests VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET"
                    " generation = generation + 1, document = excluded.document WHERE document != excluded.document",
                    (name, text),
                )

    def forget(self, name: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM manifests WHERE name = ?", (name,))

    def manifests(self) -> list[Manifest]:
        rows = self._db.execute("SELECT name, generation, document FROM manifests ORDER BY name")
        return [Manifest(name, generation, json.loads(text)) for name, generation, text in rows]

    # --- decisions

    def state(self, name: str) -> State | None:
        row = self._db.execute("SELECT state FROM states WHERE name = ?", (name,)).fetchone()
        return msgspec.json.decode(row[0], type=State) if row else None

    def summary(self, name: str) -> dict[str, Any]:
        """What the operator last reported for people: see `operator.summarise`."""
        row = self._db.execute("SELECT summary FROM states WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else {}

    def commit(
        self,
        name: str,
        now: float,
        state: State,
        events: Sequence[Notify] = (),
        summary: Mapping[str, Any] | None = None,
        audit: tuple[bytes, bytes, bytes, bytes] | None = None,
    ) -> None:
        """One decision, whole: memory, events, what people are shown, and (spec, before, seen, decision) as JSON."""
        with self._write() as db:
            db.execute(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)",
                (name, msgspec.json.encode(state).decode(), json.dumps(summary or {}), now),
            )
            for event in events:
                db.execute(
                    "INSERT INTO events (name, time, kind, revision, reason, message, evidence) VALUES (?,?,?,?,?,?,?)",
                    (name, now, event.kind, event.revision, event.reason, event.message, json.dumps(event.evidence)),
                )
            if audit:
                db.execute(
                    "INSERT INTO audit (name, time, spec, before, seen, decision) VALUES (?,?,?,?,?,?)",
                    (name, now, *(part.decode() for part in audit)),
                )
            for table, kept in KEPT.items():
                oldest = f"(SELECT max(id) FROM {table}) - ?"  # noqa: S608 - table names are KEPT's own
                db.execute(f"DELETE FROM {table} WHERE id <= {oldest}", (kept,))  # noqa: S608 - the same

    def events(self, after: int = 0, name: str | None = None) -> list[dict[str, Any]]:
        """Events with a higher id, oldest first: {id, name, time, kind, revision, reason, message, evidence}."""
        cursor = self._db.execute(
            "SELECT id, name, time, kind, revision, reason, message, evidence FROM events"
            " WHERE id > ? AND (? IS NULL OR name = ?) ORDER BY id",
            (after, name, name),
        )
        keys = [column[0] for column in cursor.description]
        rows = [dict(zip(keys, row, strict=True)) for row in cursor]
        return [{**row, "evidence": json.loads(row["evidence"])} for row in rows]

    def audit(self, name: str) -> list[tuple[float, bytes, bytes, bytes, bytes]]:
        """(time, spec, before, seen, decision) of each decision that changed something, oldest first."""
        rows = self._db.execute(
            "SELECT time, spec, before, seen, decision FROM audit WHERE name = ? ORDER BY id", (name,)
        )
        return [(time, *(part.encode() for part in parts)) for time, *parts in rows]

    # --- people's commands

    def command(self, name: str, verb: Verb, by: str = "", reason: str = "") -> int:
        with self._write() as db:
            cursor = db.execute(
                "INSERT INTO commands (name, verb, by, reason) VALUES (?,?,?,?)", (name, verb, by, reason)
            )
            return int(cursor.lastrowid or 0)

    def commands(self, name: str, after: int) -> tuple[Command, ...]:
        rows = self._db.execute(
            "SELECT id, verb, by, reason FROM commands WHERE name = ? AND id > ? ORDER BY id", (name, after)
        )
        return tuple(Command(*row) for row in rows)

    # --- processes: the operator wants, the supervisor reports

    def desire(self, processes: Iterable[Process]) -> None:
        """These should run; a changed definition restarts its process."""
        with self._write() as db:
            for process in processes:
                text = json.dumps(asdict(process), sort_keys=True)
                db.execute(
                    "INSERT INTO processes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET process = excluded.process"
                    " WHERE process != excluded.process",
                    (process.name, text),
                )

    def undesire(self, names: Iterable[str]) -> None:
        """These should not run; the supervisor stops them."""
        with self._write() as db:
            db.executemany("DELETE FROM processes WHERE name = ?", [(name,) for name in names])

    def desired(self) -> list[Process]:
        rows = self._db.execute("SELECT process FROM processes ORDER BY name")
        return [msgspec.json.decode(text, type=Process) for (text,) in rows]

    def report(self, statuses: Iterable[Status]) -> None:
        with self._write() as db:
            for status in statuses:
                text = msgspec.json.encode(status).decode()
                db.execute("INSERT OR REPLACE INTO statuses VALUES (?, ?)", (status.name, text))

    def statuses(self) -> dict[str, Status]:
        """By process name. Jobs that ended stay; services that were stopped do not."""
        rows = self._db.execute("SELECT name, status FROM statuses")
        return {name: msgspec.json.decode(text, type=Status) for name, text in rows}

    def remove_status(self, name: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM statuses WHERE name = ?", (name,))

    # --- small facts, as the gateway's port

    def fact(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_fact(self, key: str, value: Any) -> None:
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))
