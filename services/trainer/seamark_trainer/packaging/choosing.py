"""Which format goes into the package: ONNX where it answers like the original, else the model's own."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.package import Schema
from seamark_trainer.packaging import timing
from seamark_trainer.packaging.conversion import Converted, Failed, Parity, to_onnx
from seamark_trainer.packaging.existing import Answers, Runner
from seamark_trainer.packaging.native import File, native
from seamark_trainer.packaging.opening import Opened

__all__ = ["Choice", "Original", "Speed", "choose"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of one call for one row."""

    native: float
    onnx: float


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What is packaged, and its answers to the sample.

    parity, speed: of a model that was converted, else None. kept: why one that might have been was not, else "".
    """

    file: File
    runner: Runner
    answers: Answers
    parity: Parity | None = None
    speed: Speed | None = None
    kept: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """The model as it came, and its answers to `matrix`, the rows of the sample."""

    opened: Opened
    schema: Schema
    runner: Runner
    matrix: NDArray[np.generic]
    answers: Answers


def choose(original: Original, form: str, tolerance: float, *, trust_pickle: bool) -> Choice:
    """form: auto, onnx or native. Raises `UserError` where the model cannot be packaged so."""
    kept = ""
    if form != "native" and original.opened.format != "onnx":
        try:
            made = _converted(original, tolerance)
            if form == "onnx" or made.speed.onnx < made.speed.native:
                return made.choice()
            kept = "as ONNX it is no faster for one row"
        except Failed as error:
            kept = str(error)
            if form == "onnx":
                raise UserError(kept) from error
        log.warning("kept as it is: %s", kept)
    file = native(original.opened, original.runner, original.schema, original.matrix, trust_pickle=trust_pickle)
    return Choice(file, original.runner, original.answers, kept=kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Offer:
    """A model converted that answers like the original."""

    converted: Converted
    speed: Speed

    def choice(self) -> Choice:
        made = self.converted
        return Choice(File("model.onnx", "onnx", made.content), made.runner, made.answers, made.parity, self.speed)


def _converted(original: Original, tolerance: float) -> _Offer:
    """Raises `Failed`."""
    log.info("converting to ONNX and comparing on %d rows", len(original.matrix))
    try:
        made = to_onnx(original.opened.estimator, original.schema, original.matrix, original.answers, tolerance)
    except Failed as error:
        raise Failed(f"it cannot be converted to ONNX: {error}") from error
    if not made.parity.holds:
        raise Failed(f"as ONNX it answers otherwise: {made.parity.text()}; --tolerance allows more")
    log.info("timing one call for one row")
    return _Offer(made, Speed(*timing.one_row((original.runner, made.runner), original.matrix)))
