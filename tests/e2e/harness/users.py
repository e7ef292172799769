"""Users: a steady stream of requests through the gateway, and the truth about each answer some seconds later."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from seamark_local.demo.traffic import Draw

__all__ = ["Answer", "Platform", "Users"]

TIMEOUT = 40.0
LABEL_DELAY = 2.0
WORKERS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What one user saw. status 0: no answer at all. revision: who answered; user: the x-user-id sent."""

    time: float
    status: int
    seconds: float
    revision: str
    right: bool
    user: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Platform:
    """Where the gateway and the collector are, and the token for feedback."""

    gateway: tuple[str, int]
    collector: tuple[str, int]
    feedback_token: str


class Users:
    """Sends `rate` requests a second to `host` until stopped, and labels of what was answered."""

    def __init__(
        self,
        platform: Platform,
        namespace: str,
        model: str,
        host: str,
        draw: Draw,
        rate: float = 40.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.draw = draw
        self.answers: deque[Answer] = deque(maxlen=200_000)
        self._platform = platform
        self._names = (namespace, model)
        self._headers = {"Host": host, "Content-Type": "application/json", **(headers or {})}
        self._pause = WORKERS / rate
        self._labels: deque[tuple[float, str, str]] = deque(maxlen=100_000)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_all, args=(i,), daemon=True) for i in range(WORKERS)]
        self._threads.append(threading.Thread(target=self._label_all, daemon=True))

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=TIMEOUT + 1)

    # --- what they saw

    def since(self, moment: float = 0.0) -> list[Answer]:
        return [answer for answer in list(self.answers) if answer.time >= moment]

    def shares(self, moment: float = 0.0) -> Counter[str]:
        """Good answers by revision, to requests sent since `moment` (Unix seconds)."""
        return Counter(answer.revision for answer in self.since(moment) if answer.status == 200)

    def failures(self) -> list[Answer]:
        """Requests without an answer, and those that failed through the servers' fault."""
        return [answer for answer in self.since() if answer.status == 0 or answer.status >= 500]

    # --- what they do

    def _send_all(self, worker: int) -> None:
        rng = random.Random(worker)
        connection = http.client.HTTPConnection(*self._platform.gateway, timeout=TIMEOUT)
        due = time.monotonic() + self._pause * worker / WORKERS
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._pause, time.monotonic() - 1.0)
            self._send(connection, rng)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, rng: random.Random) -> None:
        row, label = self.draw(rng)
        user = f"user{rng.randrange(300)}"
        sent = time.time()
        data = {"inputs": [{"name": "input", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}]}
        path, headers = f"/v2/models/{self._names[1]}/infer", {**self._headers, "x-user-id": user}
        try:
            connection.request("POST", path, json.dumps(data), headers)
            response = connection.getresponse()
            status, content = response.status, response.read()
            answer = json.loads(content) if status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            self.answers.append(Answer(sent, 0, time.time() - sent, "", False, user, repr(error)))
            return
        error = "" if status == 200 else content[:200].decode(errors="replace")
        right = status == 200 and str(answer["outputs"][0]["data"][0]) == label
        revision = str(answer.get("model_version", ""))
        self.answers.append(Answer(sent, status, time.time() - sent, revision, right, user, error))
        if status == 200:
            self._labels.append((time.monotonic() + LABEL_DELAY, str(answer.get("id", "")), label))

    def _label_all(self) -> None:
        connection = http.client.HTTPConnection(*self._platform.collector, timeout=TIMEOUT)
        while not self._stop.wait(0.5):
            known = []
            while self._labels and self._labels[0][0] <= time.monotonic():
                _, prediction, label = self._labels.popleft()
                known.append({"prediction_id": prediction, "label": label})
            if known:
                self._tell(connection, known)
        connection.close()

    def _tell(self, connection: http.client.HTTPConnection, labels: list[dict[str, str]]) -> None:
        """Until stored: the same label twice does no harm."""
        namespace, model = self._names
        body: dict[str, Any] = {"namespace": namespace, "deployment": model, "labels": labels}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._platform.feedback_token}"}
        while not self._stop.is_set():
            try:
                connection.request("POST", "/v1/feedback", json.dumps(body), headers)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    return
            except (OSError, http.client.HTTPException):
                connection.close()
            self._stop.wait(0.5)
