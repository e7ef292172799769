"""Feedback: labels as JSON or CSV, checked whole before anything is stored."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from seamark.errors import InvalidInput
from seamark_collector.names import check_name

__all__ = ["MAX_LABELS", "Feedback", "Label", "from_csv", "from_json", "to_rows"]

MAX_LABELS = 100_000
MAX_LABEL_LENGTH = 256
MAX_ROW = 2**31 - 1
FIELDS = ("prediction_id", "row", "label", "time")

_PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?")
_WHOLE = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Label:
    """What turned out to be true of one row. `time` is when, as Unix microseconds; None: when it was received."""

    prediction_id: str
    row: int
    label: str
    time: int | None


@dataclass(frozen=True, slots=True)
class Feedback:
    namespace: str
    deployment: str
    labels: tuple[Label, ...]


def from_json(body: bytes) -> Feedback:
    """Feedback from a JSON document; `InvalidInput` names the first mistake by its path."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidInput(f"Cannot read feedback: {error}") from error
    _fields("feedback", document, allowed=("namespace", "deployment", "labels"), needed=("deployment", "labels"))
    entries = document["labels"]
    if not isinstance(entries, list):
        raise InvalidInput(f"labels: {_show(entries)} is not a list")
    _count(len(entries))
    return Feedback(
        namespace=check_name("namespace", document.get("namespace", "default")),
        deployment=check_name("deployment", document["deployment"]),
        labels=tuple(_from_entry(f"labels[{i}]", entry) for i, entry in enumerate(entries)),
    )


def from_csv(body: bytes, namespace: str, deployment: str) -> Feedback:
    """Feedback from CSV with a header; `InvalidInput` names the first mistake by its line (the header is line 1)."""
    namespace, deployment = check_name("namespace", namespace), check_name("deployment", deployment)
    try:
        labels = tuple(_from_lines(body.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"Cannot read feedback: byte {error.start} is not UTF-8") from error
    except csv.Error as error:
        raise InvalidInput(f"Cannot read feedback: {error}") from error
    _count(len(labels))
    return Feedback(namespace, deployment, labels)


def to_rows(feedback: Feedback, key: str, now: int) -> pa.Table:
    """Rows of the labels table, but for `sequence`, which the writer gives in the order of storing.

    key: the request's Idempotency-Key or "". now: Unix microseconds; `date` is the day of receipt, so that one
    request with labels of many days still makes one file.
    """
    labels, count = feedback.labels, len(feedback.labels)
    times = np.fromiter((now if label.time is None else label.time for label in labels), np.int64, count)
    return pa.table(
        {
            "prediction_id": pa.array([label.prediction_id for label in labels], pa.string()),
            "row": pa.array([label.row for label in labels], pa.int32()),
            "label": pa.array([label.label for label in labels], pa.string()),
            "time": pa.array(times).cast(pa.timestamp("us", tz="UTC")),
            "date": pa.repeat(pa.scalar(now // 86_400_000_000, pa.int32()).cast(pa.date32()), count),
            "source": pa.repeat(pa.scalar(key), count),
        }
    )


def _count(labels: int) -> None:
    if not 1 <= labels <= MAX_LABELS:
        raise InvalidInput(f"Cannot store feedback: it has {labels} labels; 1 to {MAX_LABELS} are allowed")


def _from_entry(path: str, entry: object) -> Label:
    _fields(path, entry, allowed=FIELDS, needed=("prediction_id", "label"))
    assert isinstance(entry, dict)
    return _label(path, entry)


def _from_lines(text: str) -> Iterator[Label]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip() for name in next(reader, [])]
    if sorted(set(header)) != sorted(header):
        raise InvalidInput("line 1: a column is named twice")
    _fields("line 1", dict.fromkeys(header), allowed=FIELDS, needed=("prediction_id", "label"))
    for number, cells in enumerate(reader):
        path = f"line {reader.line_num}"
        if not cells:
            continue
        if number >= MAX_LABELS:
            raise InvalidInput(f"Cannot store feedback: it has more than {MAX_LABELS} labels")
        if len(cells) != len(header):
            raise InvalidInput(f"{path}: has {len(cells)} cells; the header has {len(header)}")
        entry: dict[str, Any] = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        yield _label(path, {name: cell for name, cell in entry.items() if cell or name in ("prediction_id", "label")})


def _fields(path: str, entry: object, *, allowed: tuple[str, ...], needed: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise InvalidInput(f"{path}: {_show(entry)} is not a map of fields")
    for name in entry:
        if name not in allowed:
            raise InvalidInput(f"{path}: field {_show(name)} is unknown; allowed: {', '.join(allowed)}")
    for name in needed:
        if name not in entry:
            raise InvalidInput(f"{path}.{name}: is missing")


def _label(path: str, entry: Mapping[str, Any]) -> Label:
    return Label(
        prediction_id=_prediction_id(f"{path}.prediction_id", entry["prediction_id"]),
        row=_row(f"{path}.row", entry.get("row", 0)),
        label=_text(f"{path}.label", entry["label"]),
        time=_time(f"{path}.time", entry.get("time")),
    )


def _prediction_id(path: str, value: object) -> str:
    if isinstance(value, str) and _PRINTABLE.fullmatch(value):
        return value
    raise InvalidInput(f"{path}: {_show(value)} is not an id of 1 to 128 printable ASCII characters")


def _row(path: str, value: object) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ROW:
        return value
    raise InvalidInput(f"{path}: {_show(value)} is not a whole number from 0 to {MAX_ROW}")


def _text(path: str, value: object) -> str:
    """The label as text: labels of every type share a column."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, str | int | float) else ""
    if text.strip() and len(text) <= MAX_LABEL_LENGTH:
        return text
    raise InvalidInput(f"{path}: {_show(value)} is not a text of 1 to {MAX_LABEL_LENGTH} characters, number or boolean")


def _time(path: str, value: object) -> int | None:
    """Unix microseconds; a time without an offset is UTC."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)  # type: ignore[arg-type]  # the except clause is the type check
        time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{path}: {_show(value)} is not a time as 2026-01-31T10:00:00Z") from error
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
