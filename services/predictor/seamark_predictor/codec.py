"""What a protocol is to the transport: bytes to a request, an answer to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from seamark_predictor.plane import AnyPlane, Batch

__all__ = ["Codec", "Request"]


class Request(msgspec.Struct, frozen=True, eq=False):
    """id: the client's, or "". outputs: (name, as binary) in the order wanted; empty means all, as `binary` says."""

    batch: Batch
    id: str = ""
    outputs: Sequence[tuple[str, bool]] = ()
    binary: bool = False


class Codec(Protocol):
    """A protocol; the modules `v1` and `v2` are such. `header_length`: bytes of JSON before binary data, or None."""

    def parse(self, body: bytes, header_length: int | None, plane: AnyPlane) -> Request:
        """Raises `InvalidInput`."""

    def encode(self, request: Request, answer: Any, plane: AnyPlane, prediction_id: str) -> tuple[bytes, int | None]:
        """The body, and how many bytes of it are JSON where binary data follow."""
