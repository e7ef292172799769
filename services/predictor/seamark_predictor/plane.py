"""What one served model is to every transport and protocol, whether it takes features or free tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from numpy.typing import NDArray

from seamark_predictor.model import Spec
from seamark_predictor.tensors import Tensor

__all__ = ["NOTHING", "AnyPlane", "Batch", "Plane", "Recorded", "Values"]


class Batch(Protocol):
    """The input of one request, checked. count: its rows."""

    @property
    def count(self) -> int: ...


class Values(msgspec.Struct, frozen=True, eq=False):
    """One output tensor: row-major values, or texts."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | list[str]


class Recorded(msgspec.Struct, frozen=True, eq=False):
    """What the monitor is told of a request; the fields of `seamark.records.Prediction`."""

    numbers: bytes
    categories: list[list[str | None]]
    outputs: bytes


#: Of a request that was not understood.
NOTHING = Recorded(b"", [], b"")

B = TypeVar("B", bound=Batch)
A = TypeVar("A")


class Plane(Protocol[B, A]):
    """Safe to call from several threads. Everything that reads raises `InvalidInput`."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def is_numeric(self) -> bool:
        """Whether it takes rows of numbers only; then rows and data may come as arrays of float64."""

    @property
    def inputs(self) -> Sequence[Spec]: ...
    @property
    def outputs(self) -> Sequence[Spec]: ...

    def from_tensors(self, tensors: Sequence[Tensor]) -> B:
        """The tensors of a v2 request, at least one."""

    def from_instances(self, key: str, values: Any) -> B:
        """What a v1 request holds under `key`: instances or inputs."""

    def refuse_bare(self, batch: B, complaint: str) -> None:
        """Refuses JSON that held bare NaN or Infinity (read as infinity); complaint: the reader's."""

    def sample(self, rows: int) -> B:
        """So many typical rows, to warm up and to measure."""

    def predict(self, batch: B) -> A:
        """Raises `InvalidInput`, or `ModelError` when the model is to blame."""

    def to_tensors(self, answer: A, names: Sequence[str]) -> list[Values]:
        """The outputs of these names, in this order."""

    def to_document(self, answer: A) -> dict[str, Any]:
        """What a v1 answer holds: `predictions`, and more where there is more."""

    def recorded(self, batch: B, answer: A | None) -> Recorded:
        """answer: None where there was none."""


AnyPlane = Plane[Any, Any]
