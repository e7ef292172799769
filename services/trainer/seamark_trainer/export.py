"""From a fitted candidate to the file that is served, checked against the candidate on held-out rows.

ONNX with one float input `features` (rows x features, in the schema's order) if all features are numbers; else one
input (rows x 1) for each feature, of its name. Classifiers answer `probabilities` (rows x classes, in the schema's
order) and no label: the class is the one of highest probability. Regressors answer `variable` (rows x 1).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.package import NUMBER, Schema
from seamark_trainer.candidates import Fitted
from seamark_trainer.converter import convert

__all__ = ["Exported", "export"]

log = logging.getLogger(__name__)

#: ONNX computes in float32. A row may differ from the original by this much (for regression: of the labels' spread).
TOLERANCE = 1e-3
#: Share of rows that may differ by more: values that round to the other side of a tree's split.
STRAY = 0.001
PARITY_ROWS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """A model file's content, and what it answers (as `Fitted.answers`), so that what is tested is what is served."""

    file: str
    format: str
    content: bytes
    answers: Callable[[NDArray[np.generic]], NDArray[np.float64]]


def export(fitted: Fitted, matrix: NDArray[np.generic]) -> Exported:
    """As ONNX if it answers the rows of `matrix` like the original, else as skops."""
    try:
        exported = _onnx(fitted)
        sample = matrix[-PARITY_ROWS:]
        share = _strays(fitted.schema, exported.answers(sample), fitted.answers(sample))
        if share <= STRAY:
            return exported
        log.warning("event=onnx_differs candidate=%s share=%.4f tolerance=%g", fitted.name, share, TOLERANCE)
    # A converter that is missing, or fails in any way of its own, is a reason to use the other format only.
    except Exception as error:
        log.warning("event=onnx_failed candidate=%s error=%r", fitted.name, str(error)[:500])
    return _skops(fitted)


def _strays(schema: Schema, got: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    spread = max(float(np.std(wanted)), 1e-12) if schema.task == "regression" else 1.0
    return float(np.mean(~(np.abs(got - wanted) <= TOLERANCE * spread).all(axis=1)))


def _onnx(fitted: Fitted) -> Exported:
    content = _convert(fitted)
    return Exported("model.onnx", "onnx", content, _runner(fitted.schema, content))


def _convert(fitted: Fitted) -> bytes:
    # Classes are fitted as indices, so a label would be an index where readers expect a class.
    return convert(fitted.estimator, fitted.schema, together=not fitted.schema.categories, labelled=False)


def _runner(schema: Schema, content: bytes) -> Callable[[NDArray[np.generic]], NDArray[np.float64]]:
    # It reports to its maker unless told not to.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = [entry.name for entry in session.get_inputs()]

    def answers(matrix: NDArray[np.generic]) -> NDArray[np.float64]:
        if schema.categories:
            columns = [matrix[:, [i]] for i in range(len(inputs))]
            kinds = [np.float32 if feature.type == NUMBER else object for feature in schema.features]
            feed = {name: column.astype(kind) for name, column, kind in zip(inputs, columns, kinds, strict=True)}
        else:
            feed = {inputs[0]: matrix.astype(np.float32)}
        return np.asarray(session.run(None, feed)[-1], dtype=np.float64)

    return answers


def _skops(fitted: Fitted) -> Exported:
    import skops.io

    classes = fitted.schema.classes
    if classes:
        # scikit-learn looks classes up by bisection.
        if list(classes) != np.unique(classes).tolist():
            raise UserError(f"candidate {fitted.name} fits no format: ONNX failed and its classes are not sorted")
        fitted.estimator.steps[-1][1].classes_ = np.array(classes)
    return Exported("model.skops", "skops", skops.io.dumps(fitted.estimator), fitted.answers)
