"""KServe's payload logger: CloudEvents in binary mode, a request and a response that share an id, in either order."""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from seamark.errors import InvalidInput
from seamark.package import Schema
from seamark.records import Prediction
from seamark_monitor import logs
from seamark_monitor.drops import Drops
from seamark_monitor.payload import Inputs, Outputs, read_request, read_response

__all__ = ["Pairing"]

_TYPE = "org.kubeflow.serving.inference."
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,128}")
_LONGEST_METADATA = 16 * 1024
#: Go writes nanoseconds, Python reads microseconds.
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


@dataclass(frozen=True, slots=True)
class _Half:
    """One event, parsed. time: Unix seconds of `ce-time` or None. id: x-request-id, where the event has it."""

    arrived: float
    time: float | None
    id: str
    content: Inputs | Outputs

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        if isinstance(self.content, Outputs):
            return 1_000 + len(self.content.outputs)
        return 1_000 + len(self.content.numbers) + 64 * self.content.rows * len(self.content.categories)


class Pairing:
    """Joins halves into predictions. Halves wait at most `WAIT` seconds, and only so many of so many bytes."""

    WAIT = 60.0
    #: Seconds without an event that mean that none will come.
    MOMENT = 1.0
    MOST = 10_000
    MOST_BYTES = 32 * 1024 * 1024

    def __init__(self, schema: Schema, drops: Drops, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """clock: seconds that never step back; wall: Unix seconds."""
        self._schema = schema
        self._drops = drops
        self._clock = clock
        self._wall = wall
        self._waiting: OrderedDict[tuple[str, str], _Half] = OrderedDict()
        self._bytes = 0
        self._last = -math.inf

    def add(self, headers: Mapping[str, str], body: bytes) -> Prediction | None:
        """The prediction that this event completes, None while its other half is missing, or `InvalidInput`.

        headers: names in lower case.
        """
        self._last = self._clock()
        try:
            kind, event = _kind(headers), _event_id(headers)
            read = read_request if kind == "request" else read_response
            half = _Half(self._clock(), _time(headers), _request_id(headers), read(body, self._schema))
        except InvalidInput:
            self._drops.add("bad_event")
            raise
        self.expire()
        other = self._pop(("response" if kind == "request" else "request", event))
        if other is None:
            self._keep((kind, event), half)
            return None
        request, response = (half, other) if kind == "request" else (other, half)
        return self._joined(event, request, response)

    @property
    def busy(self) -> bool:
        """Whether more events are to be expected: a half waits for its other half, or one came a moment ago."""
        return bool(self._waiting) or self._clock() - self._last < self.MOMENT

    def _keep(self, key: tuple[str, str], half: _Half) -> None:
        """An id used twice replaces the half that waited under it."""
        if self._pop(key) is not None:
            self._drops.add("unpaired")
        self._waiting[key] = half
        self._bytes += half.size
        while len(self._waiting) > self.MOST or (self._bytes > self.MOST_BYTES and len(self._waiting) > 1):
            self._drop_oldest()

    def _pop(self, key: tuple[str, str]) -> _Half | None:
        half = self._waiting.pop(key, None)
        if half is not None:
            self._bytes -= half.size
        return half

    def expire(self) -> None:
        """Gives up the halves that waited too long."""
        oldest_allowed = self._clock() - self.WAIT
        while self._waiting and next(iter(self._waiting.values())).arrived < oldest_allowed:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._pop(next(iter(self._waiting)))
        if not self._drops.by_reason["unpaired"]:
            logs.event("event_unpaired", waited=self.WAIT)
        self._drops.add("unpaired")

    def _joined(self, event: str, request: _Half, response: _Half) -> Prediction:
        inputs, outputs = request.content, response.content
        assert isinstance(inputs, Inputs)
        assert isinstance(outputs, Outputs)
        if inputs.rows != outputs.rows:
            self._drops.add("bad_event")
            raise InvalidInput(f"Cannot join event {event!r}: {inputs.rows} rows asked, {outputs.rows} answered")
        latency = 0.0
        if request.time is not None and response.time is not None:
            latency = max(0.0, response.time - request.time)
        return Prediction(
            request.id or response.id or event,
            self._wall() if request.time is None else request.time,
            latency,
            200,
            inputs.rows,
            inputs.numbers,
            inputs.categories,
            outputs.outputs,
            inputs.violations,
            list(outputs.unsent),
        )


def _kind(headers: Mapping[str, str]) -> str:
    kind = headers.get("ce-type", "")
    if kind not in (f"{_TYPE}request", f"{_TYPE}response"):
        raise InvalidInput(f"Cannot read event: ce-type is {kind[:80]!r}; allowed: {_TYPE}request, {_TYPE}response")
    return kind.removeprefix(_TYPE)


def _event_id(headers: Mapping[str, str]) -> str:
    event = headers.get("ce-id", "")
    if not _PRINTABLE.fullmatch(event):
        raise InvalidInput(f"Cannot read event: ce-id is {event[:80]!r}; allowed: 1 to 128 printable ASCII characters")
    return event


def _time(headers: Mapping[str, str]) -> float | None:
    try:
        return _unix(_NANOSECONDS.sub(r"\1", headers["ce-time"]))
    except (KeyError, ValueError, OverflowError):
        return None


def _unix(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is no moment")
    seconds = moment.timestamp()
    return seconds if math.isfinite(seconds) else 0.0


def _request_id(headers: Mapping[str, str]) -> str:
    """The x-request-id in `ce-metadata`, a JSON object of headers; "" where there is none to use."""
    text = headers.get("ce-metadata", "")[:_LONGEST_METADATA]
    # CloudEvents asks for percent-encoding in headers; KServe's logger does not always do it.
    document = _json(text) or _json(unquote(text))
    if not isinstance(document, dict):
        return ""
    for name, value in document.items():
        if name.lower() == "x-request-id":
            first = value[0] if isinstance(value, list) and value else value
            return first if isinstance(first, str) and _PRINTABLE.fullmatch(first) else ""
    return ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
