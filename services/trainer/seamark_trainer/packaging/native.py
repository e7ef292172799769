"""The model in a format of its own, as a predictor will load it."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.package import Schema
from seamark.texts import first_line
from seamark_trainer.packaging.estimator import EstimatorRunner
from seamark_trainer.packaging.existing import Runner
from seamark_trainer.packaging.opening import Opened, read_skops

__all__ = ["File", "native"]

log = logging.getLogger(__name__)

#: Rows that the model must answer alike once it was written and read again.
_ROWS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A model file of a package."""

    name: str
    format: str
    content: bytes


def native(opened: Opened, runner: Runner, schema: Schema, matrix: NDArray[np.generic], *, trust_pickle: bool) -> File:
    """ONNX as it is; else skops, or a pickle where skops cannot hold the model and pickles are trusted."""
    if opened.format == "onnx":
        return File("model.onnx", "onnx", opened.content)
    try:
        content = _skops(opened)
        _answers_alike(read_skops(content), runner, schema, matrix[:_ROWS])
        return File("model.skops", "skops", content)
    # skops raises whatever the objects make it stumble over.
    except Exception as error:
        reason = first_line(error, type(error).__name__)
    if not trust_pickle:
        raise UserError(
            f"skops cannot hold it: {reason}; say --trust-pickle to package a pickle, "
            "which whoever serves it must trust as well"
        )
    log.warning("skops cannot hold it: %s; it is packaged as a pickle, which runs any code it holds", reason)
    return File("model.joblib", "joblib", _pickle(opened))


def _skops(opened: Opened) -> bytes:
    import skops.io

    if opened.format == "skops" and opened.whole:
        return opened.content
    content: bytes = skops.io.dumps(opened.estimator)
    return content


def _answers_alike(estimator: Any, runner: Runner, schema: Schema, matrix: NDArray[np.generic]) -> None:
    got = EstimatorRunner(estimator, schema).answers(matrix)
    if not np.array_equal(got.values(schema), runner.answers(matrix).values(schema), equal_nan=True):
        raise ValueError("read again, it answers otherwise")


def _pickle(opened: Opened) -> bytes:
    import joblib

    if opened.format == "joblib" and opened.whole:
        return opened.content
    content = io.BytesIO()
    joblib.dump(opened.estimator, content)
    return content.getvalue()
