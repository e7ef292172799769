"""One prediction request over gRPC: whom it is for, what became of it, and what that is called on the wire.

Outcomes are kept as the HTTP statuses that REST would have answered: the monitor's and the counters' language.
"""

from __future__ import annotations

import time

import grpc

from seamark.errors import InvalidInput, Unavailable
from seamark_predictor import logs
from seamark_predictor.intake import prediction_id
from seamark_predictor.plane import NOTHING, Batch
from seamark_predictor.served import Served, rows_of

__all__ = ["LONGEST_DETAILS", "PROTOCOL", "Call"]

#: What records and counters say for `protocol`.
PROTOCOL = "grpc"
#: Characters of an error's text; it travels as a header.
LONGEST_DETAILS = 1000

_CODES = {
    200: grpc.StatusCode.OK,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Call:
    """served: the model it is for; None while that is not known. batch, told: what came and what the monitor gets."""

    def __init__(self, metadata: dict[str, str], served: Served | None) -> None:
        self.id = prediction_id(metadata)
        self.served: Served | None = None
        self.batch: Batch | None = None
        self.told = NOTHING
        self.status = 200
        self._details = ""
        self._retry_after: int | None = None
        self._violations: list[tuple[str, str, int]] = []
        self._arrived, self._started = time.time(), time.perf_counter()
        self.belongs_to(served)

    @property
    def code(self) -> grpc.StatusCode:
        return _CODES.get(self.status, grpc.StatusCode.INVALID_ARGUMENT)

    @property
    def details(self) -> str:
        """What went wrong."""
        return self._details[:LONGEST_DETAILS]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What follows the answer."""
        own = ("x-prediction-id", self.id)
        if self._retry_after is None:
            return (own,)
        return own, ("grpc-retry-pushback-ms", str(1000 * self._retry_after))

    def belongs_to(self, served: Served | None) -> None:
        """Counts the call as in flight for this model and no other."""
        if self.served is not None:
            self.served.counters.ended()
        self.served = served
        if served is not None:
            served.counters.began()

    def failed(self, error: Exception) -> None:
        """Keeps what there is to say of an exception being handled."""
        self._details = str(error)
        if isinstance(error, InvalidInput):
            self.status, self._violations = error.status, list(error.violations)
        elif isinstance(error, Unavailable):
            self.status = getattr(error, "status", 503)
        else:
            self._broke()
        if self.status == 503:
            self._retry_after = getattr(error, "retry_after", 1)

    def _broke(self) -> None:
        """The last line of defence: the client learns nothing but the id, the log has all."""
        logs.failure("prediction_failed", prediction_id=self.id, rows=self._rows)
        self.status, self._details = 500, f"internal error, request id {self.id}"
        if self.served is not None and self.batch is not None:
            self.told = self.served.plane.recorded(self.batch, None)

    @property
    def _rows(self) -> int:
        return rows_of(self.batch, self._violations)

    def ends(self) -> None:
        """Counts it and tells the monitor, unless it was for no model that is served."""
        served = self.served
        if served is None:
            return
        seconds = time.perf_counter() - self._started
        self.belongs_to(None)
        told, violations = self.told, self._violations
        served.tell(PROTOCOL, self.id, self._arrived, seconds, self.status, self._rows, told, violations)
