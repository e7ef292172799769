"""Users and their labels: a steady stream of requests, and the truth about each one some seconds later."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Traffic"]

WORKERS = 4
LABEL_DELAY = 3.0
LABEL_INTERVAL = 0.5
TIMEOUT = 20.0

Draw = Callable[[random.Random], tuple[Sequence[float], str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one user saw. status 0: no answer at all. revision: which model version answered, from the answer."""

    time: float
    status: int
    seconds: float
    revision: str
    right: bool
    prediction_id: str = ""


class Traffic:
    """Sends rows from `draw` to `model` at `rate` requests a second until stopped, and labels after LABEL_DELAY.

    `draw` may be replaced at any time; it returns a row and its true class.
    """

    def __init__(self, host: str, port: int, model: str, rate: float, draw: Draw) -> None:
        self.draw = draw
        self.answers: deque[Answer] = deque(maxlen=200_000)
        self._address = (host, port)
        self._model = model
        self._pause = WORKERS / rate
        self._labels: deque[tuple[float, str, str]] = deque(maxlen=100_000)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_all, args=(i,), daemon=True) for i in range(WORKERS)]
        self._threads.append(threading.Thread(target=self._label_all, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=TIMEOUT + 1)

    def since(self, moment: float) -> list[Answer]:
        """Answers to requests sent at or after `moment`."""
        return [answer for answer in list(self.answers) if answer.time >= moment]

    def _send_all(self, worker: int) -> None:
        rng = random.Random(worker)  # noqa: S311 - replaying rows needs no secrets
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT)
        due = time.monotonic() + self._pause * worker / WORKERS
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._pause, time.monotonic() - 1.0)
            self._send_one(connection, rng)
        connection.close()

    def _send_one(self, connection: http.client.HTTPConnection, rng: random.Random) -> None:
        row, label = self.draw(rng)
        sent = time.time()
        try:
            status, answer = _post(connection, f"/v2/models/{self._model}/infer", _v2(row))
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            self.answers.append(Answer(sent, 0, time.time() - sent, "", right=False))
            return
        seen = _class_of(answer) if status == 200 else None
        revision = str(answer.get("model_version", ""))
        prediction_id = str(answer.get("id", ""))
        self.answers.append(Answer(sent, status, time.time() - sent, revision, seen == label, prediction_id))
        if status == 200:
            self._labels.append((time.monotonic() + LABEL_DELAY, prediction_id, label))

    def _label_all(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT)
        while not self._stop.wait(LABEL_INTERVAL):
            known = []
            while self._labels and self._labels[0][0] <= time.monotonic():
                _, prediction_id, label = self._labels.popleft()
                known.append({"prediction_id": prediction_id, "label": label})
            if known:
                self._post_labels(connection, known)
        connection.close()

    def _post_labels(self, connection: http.client.HTTPConnection, labels: list[dict[str, str]]) -> None:
        """Labels are re-sent until stored: the same label twice does no harm."""
        body = {"deployment": self._model, "labels": labels}
        while not self._stop.is_set():
            try:
                status, _ = _post(connection, "/v1/feedback", body)
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                status = 0
            if status == 200:
                return
            self._stop.wait(0.5)


def _v2(row: Sequence[float]) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}]}


def _post(connection: http.client.HTTPConnection, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    document = json.loads(content) if content else {}
    return response.status, document if isinstance(document, dict) else {}


def _class_of(answer: dict[str, Any]) -> str:
    return str(answer["outputs"][0]["data"][0])
