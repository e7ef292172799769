"""One request at a time: is the server there, and are its answers scikit-learn's?"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.serving.models import SavedModel
from benchmarks.serving.wires import Wire

__all__ = ["BATCH", "AnswerError", "Client"]

BATCH = 100
#: Single rows and batches that are compared before anything is measured.
_SINGLES, _BATCHES = 20, 5
_TIMEOUT = 30.0
#: Seconds between attempts to reach a server that starts: small against every start.
_PAUSE = 0.005


class AnswerError(Exception):
    """An answer that is not scikit-learn's, or none."""


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """Asks one server for one model over one wire."""

    port: int
    wire: Wire
    model: SavedModel

    def wait(self, has_ended: Callable[[], bool], seconds: float) -> None:
        """Until the first answer, which must be right; raises `AnswerError`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.check(0, 1)
            except (OSError, http.client.HTTPException, _NotYetError) as error:
                if has_ended():
                    raise AnswerError("Cannot reach the server: it has ended") from error
                if time.monotonic() > deadline:
                    raise AnswerError(f"Cannot reach the server within {seconds:g} seconds: {error}") from error
                time.sleep(_PAUSE)
            else:
                return

    def check_all(self) -> None:
        """Single rows and batches; raises `AnswerError`."""
        try:
            for first in range(_SINGLES):
                self.check(first, 1)
            for first in range(0, _BATCHES * BATCH, BATCH):
                self.check(first, BATCH)
        except (OSError, http.client.HTTPException, _NotYetError) as error:
            raise AnswerError(f"Cannot check the answers: {error}") from error

    def check(self, first: int, count: int) -> None:
        """Rows [first, first + count) in one request; raises `AnswerError`, or what kept it from answering."""
        part = slice(first, first + count)
        request = self.wire.write(self.model.numbers[part])
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT)
        try:
            connection.request("POST", self.wire.path, request.body, dict(request.headers))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise _NotYetError(f"status {response.status}: {body[:200]!r}")
        if self.wire.read is None:
            return
        try:
            answer = self.wire.read(body, {name.lower(): value for name, value in response.getheaders()})
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise AnswerError(f"Cannot read the answer {body[:200]!r}: {error!r}") from error
        if not answer.equals(self.model.classes[part], self.model.scores[part]):
            raise AnswerError(
                f"The answer for rows {first} to {first + count - 1} is not scikit-learn's: {body[:200]!r}"
            )


class _NotYetError(Exception):
    """An answer other than 200: right for a server that still loads, wrong later."""
