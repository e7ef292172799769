"""Callers gone wrong: rows with nulls, NaN, texts for numbers, and values no scanner can report."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Burst"]

RATE = 40.0

#: What is sent in which feature, and whether the protocol refuses it. An impossible number is answered and counted.
KINDS = {
    "null": ("mean radius", None, True),
    "NaN": ("mean area", float("nan"), True),
    "text": ("mean texture", "n/a", True),
    "impossible": ("worst area", 1e9, False),
}


class Burst:
    """Sends broken v1 requests at RATE until stopped, and counts the answers by kind and status."""

    def __init__(self, host: str, port: int, model: str, rows: NDArray[np.float64], names: Sequence[str]) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.messages: dict[str, str] = {}
        self._address = (host, port)
        self._path = f"/v1/models/{model}:predict"
        self._rows = rows
        self._names = list(names)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def kept_the_protocol(self) -> bool:
        """Broken rows got a 4xx naming the feature; impossible but well-formed ones were answered and counted."""
        return all(
            any(seen == kind for seen, _ in self.answers)
            and all((400 <= status < 500) == refused for seen, status in self.answers if seen == kind)
            and (not refused or feature in self.messages[kind])
            for kind, (feature, _, refused) in KINDS.items()
        )

    def story(self) -> str:
        counts = ", ".join(f"{kind} {status}: {count}" for (kind, status), count in sorted(self.answers.items()))
        return f"{counts}; e.g. {self.messages.get('null', '')}"

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        for i, kind in enumerate(itertools.cycle(KINDS)):
            if self._stop.wait(1 / RATE):
                break
            try:
                self._send(connection, kind, i)
            except (OSError, http.client.HTTPException):
                connection.close()
                self.answers[kind, 0] += 1
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, kind: str, i: int) -> None:
        row: list[object] = [float(value) for value in self._rows[i % len(self._rows)]]
        feature, value, _ = KINDS[kind]
        row[self._names.index(feature)] = value
        connection.request("POST", self._path, json.dumps({"instances": [row]}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        self.answers[kind, response.status] += 1
        if response.status >= 400:
            self.messages.setdefault(kind, str(json.loads(content).get("error", "")))
