"""Why a model answered what it did: each feature's contribution, for `POST /v1/models/NAME:explain`.

Linear models and trees are explained exactly; what is no such model, or turns out not to add up to its own answers, is
asked about mixtures of the row and reference rows (`explain_permutation`). Every answer says which method was used, in
which unit, and relative to what.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark.package import Schema
from seamark_predictor import logs
from seamark_predictor.explain_background import Background, NoBackground, draw
from seamark_predictor.explain_columns import take_apart
from seamark_predictor.explain_linear import Linear, is_linear
from seamark_predictor.explain_permutation import estimate
from seamark_predictor.explain_terms import Deadline, Floats, Method, TimeOver
from seamark_predictor.explain_tree import Tree, is_tree
from seamark_predictor.explain_units import Unit, unit_of
from seamark_predictor.model import Model, Output
from seamark_predictor.package import Package
from seamark_predictor.rows import Rows

__all__ = ["Explainer", "Explanation", "Limits", "document", "no_features"]

_EXTRA = "pip install 'seamark-predictor[explain]'"


@dataclass(frozen=True, slots=True)
class Limits:
    """rows: in one request; at_once: explanations that may run at the same time; background: reference rows drawn."""

    rows: int = 100
    at_once: int = 2
    background: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """For each row: base value + sum of contributions = output, all in `unit`.

    method: linear, tree or permutation. background: in words, what contributions are relative to. features: in schema
    order. classes: for each row, the class that is explained: of two classes the second, of more the predicted one;
    None for regression. base, outputs: rows; contributions: rows x features. errors: their standard errors, rows x
    features, where they are estimated. additivity_error: the largest difference between what the model answers and
    what the sums say it does.
    """

    method: str
    unit: str
    background: str
    features: tuple[str, ...]
    classes: tuple[str | int | float | bool | None, ...]
    base: Floats
    contributions: Floats
    outputs: Floats
    additivity_error: float
    errors: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """exact: the method of the model's kind. Without a background, `unknown` says why; `missing`: a missing library."""

    exact: Method | None
    background: Background | None
    unknown: str = ""
    missing: str = ""


class Explainer:
    """Explains one model. Safe to call from several threads.

    The first explanation prepares: for scikit-learn's trees it imports shap, which takes a second or more and about
    90 MB. `warm_up` does that ahead.
    """

    def __init__(self, package: Package, model: Model, limits: Limits | None = None) -> None:
        self._profile = package.profile
        self._schema = package.manifest.schema
        self._model = model
        self._limits = limits or Limits()
        self._slots = threading.BoundedSemaphore(self._limits.at_once)
        self._lock = threading.Lock()
        self._preparation: Future[_Prepared] | None = None

    def warm_up(self) -> None:
        """Begins to prepare, in a thread, and returns at once."""
        self._prepare()

    def explain(self, rows: Rows, deadline_seconds: float) -> Explanation:
        """rows: such as the model has just answered. May take a moment longer than the deadline, never much.

        Raises `InvalidInput`: 413 for too many rows; 422 where the model fails on mixtures of these rows and the
        background; 501 where a library or the profile lacks what is needed; 503 where too many explanations run, or
        the first is still being prepared; 504 where the time is over before there is an honest answer.
        """
        if rows.count > self._limits.rows:
            raise InvalidInput(
                f"Cannot explain {rows.count} rows: at most {self._limits.rows} are explained at a time", status=413
            )
        if not self._slots.acquire(blocking=False):
            raise InvalidInput(
                f"Cannot explain: {self._limits.at_once} explanations run already; try again", status=503
            )
        try:
            return self._explain(rows, Deadline.after(deadline_seconds))
        except TimeOver:
            rows_text = "1 row" if rows.count == 1 else f"{rows.count} rows"
            raise InvalidInput(
                f"Cannot explain {rows_text} within {deadline_seconds:g} seconds: send fewer, or allow more time",
                status=504,
            ) from None
        finally:
            self._slots.release()

    def _explain(self, rows: Rows, deadline: Deadline) -> Explanation:
        try:
            prepared = self._prepare().result(deadline.left())
        except TimeoutError:
            raise InvalidInput("Cannot explain yet: explanations are being prepared; try again", status=503) from None
        if prepared.missing:
            raise InvalidInput(f"Cannot explain: {prepared.missing}", status=501)
        served = self._ask(rows)
        if prepared.exact is not None:
            found = self._exactly(prepared.exact, rows, served, deadline)
            if found is not None:
                return found
        if prepared.background is None:
            raise InvalidInput(f"Cannot explain: {prepared.unknown}", status=501)
        return self._estimated(prepared.background, rows, served, deadline)

    def _prepare(self) -> Future[_Prepared]:
        with self._lock:
            if self._preparation is None:
                self._preparation = Future()
                target = self._run_preparation
                threading.Thread(target=target, args=(self._preparation,), name="explain", daemon=True).start()
            return self._preparation

    def _run_preparation(self, future: Future[_Prepared]) -> None:
        try:
            future.set_result(self._prepared())
        except BaseException as error:
            # Whoever waits must hear of it, else every explanation is "being prepared" for ever.
            future.set_exception(error)

    def _prepared(self) -> _Prepared:
        background, unknown, exact, missing = None, "", None, ""
        try:
            background = draw(self._schema, self._profile, self._limits.background)
        except NoBackground as reason:
            unknown = str(reason)
        try:
            exact = _exact_method(self._model, self._schema, background)
        except ImportError as error:
            missing = f"{error.name or 'shap'}, which this model's trees need, is not installed; {_EXTRA}"
        except Exception as error:
            # Libraries raise anything for a model they do not know; mixtures explain every model.
            _not_exact(f"{type(error).__name__}: {error}")
        return _Prepared(exact, background, unknown, missing)

    def _exactly(self, method: Method, rows: Rows, served: Output, deadline: Deadline) -> Explanation | None:
        """None where the method does not reproduce what the model answers."""
        try:
            margins = method.margins(rows, deadline)
        except TimeOver:
            raise
        except Exception as error:
            _not_exact(f"{type(error).__name__}: {error}")
            return None
        unit = unit_of(margins, served, len(self._schema.classes))
        if unit is None:
            _not_exact(f"sums of method {method.name} differ from the model's answers")
            return None
        targets = _targets(served, self._schema)
        places = targets if len(margins.base) > 1 else np.zeros_like(targets)
        chosen = np.take_along_axis(margins.contributions, places[:, None, None], axis=2)[:, :, 0]
        return self._explanation(method.name, unit, method.background, targets, margins.base[places], chosen, None)

    def _estimated(self, background: Background, rows: Rows, served: Output, deadline: Deadline) -> Explanation:
        targets = _targets(served, self._schema)

        def ask(mixtures: Rows) -> Floats:
            return _scores(self._ask(mixtures), self._schema)

        found = estimate(ask, rows, background.rows, targets, self._schema, deadline)
        answers = _scores(served, self._schema)[np.arange(rows.count), targets]
        error = np.abs(found.base + found.contributions.sum(axis=1) - answers).max()
        text = (
            background.text if found.used == background.rows.count else f"the first {found.used} of {background.text}"
        )
        unit = Unit(_estimated_unit(served, self._schema), float(error))
        return self._explanation("permutation", unit, text, targets, found.base, found.contributions, found.errors)

    def _explanation(
        self,
        method: str,
        unit: Unit,
        background: str,
        targets: NDArray[np.intp],
        base: Floats,
        contributions: Floats,
        errors: Floats | None,
    ) -> Explanation:
        classes = self._schema.classes
        return Explanation(
            method=method,
            unit=unit.name,
            background=background,
            features=tuple(feature.name for feature in self._schema.features),
            classes=tuple(classes[target] if classes else None for target in targets.tolist()),
            base=base,
            contributions=contributions,
            outputs=np.asarray(base + contributions.sum(axis=1)),
            additivity_error=unit.error,
            errors=errors,
        )

    def _ask(self, rows: Rows) -> Output:
        """The model's answer; raises `InvalidInput` where it gives none, for it may be asked about rows nobody sent."""
        try:
            output = self._model.predict(rows)
        except InvalidInput:
            raise
        except Exception as error:
            logs.failure("explanation_failed")
            raise InvalidInput(
                "Cannot explain: the model raised for these rows mixed with the background", status=422
            ) from error
        if not np.isfinite(_scores(output, self._schema)).all():
            raise InvalidInput(
                "Cannot explain: the model gives NaN or an infinite number for these rows mixed with the background",
                status=422,
            )
        return output


def _not_exact(reason: str) -> None:
    logs.event("explanation_not_exact", level=30, reason=reason)


def _exact_method(model: Model, schema: Schema, background: Background | None) -> Method | None:
    structure = take_apart(model, schema)
    if structure is None:
        return None
    if is_tree(structure.estimator):
        return Tree(structure)
    if is_linear(structure.estimator) and background is not None:
        return Linear(structure, background)
    return None


def _targets(served: Output, schema: Schema) -> NDArray[np.intp]:
    """For each row, the class that is explained; 0 for regression."""
    if schema.task == "multiclass":
        return served.prediction.astype(np.intp)
    return np.full(len(served.prediction), len(schema.classes) // 2, dtype=np.intp)


def _scores(output: Output, schema: Schema) -> Floats:
    """rows x classes: probabilities, else 1 for the predicted class; rows x 1 for regression."""
    if not schema.classes:
        return output.prediction.reshape(-1, 1)
    if output.probabilities is not None:
        return np.asarray(output.probabilities, dtype=np.float64)
    return np.asarray(output.prediction[:, None] == np.arange(len(schema.classes)), dtype=np.float64)


def _estimated_unit(served: Output, schema: Schema) -> str:
    if not schema.classes:
        return "value"
    return "probability" if served.probabilities is not None else "decision"


def no_features(name: str) -> InvalidInput:
    """The refusal for a model that takes tensors and names no features."""
    return InvalidInput(
        f"Cannot explain model {name!r}: it takes tensors, and no schema says what features are in them", status=501
    )


def document(explanation: Explanation, name: str, revision: str, call_id: str) -> dict[str, Any]:
    """The JSON answer; a row's features come in order of their contribution, largest first, whatever its sign."""
    return {
        "model_name": name,
        "model_version": revision,
        "id": call_id,
        "method": explanation.method,
        "unit": explanation.unit,
        "background": explanation.background,
        "additivity_error": explanation.additivity_error,
        "explanations": [_row_document(explanation, row) for row in range(len(explanation.base))],
    }


def _row_document(explanation: Explanation, row: int) -> dict[str, Any]:
    order = np.argsort(-np.abs(explanation.contributions[row]), kind="stable").tolist()
    names = [explanation.features[i] for i in order]

    def by_name(values: Floats) -> dict[str, float]:
        return dict(zip(names, values[row, order].tolist(), strict=True))

    content: dict[str, Any] = {
        "output": float(explanation.outputs[row]),
        "base_value": float(explanation.base[row]),
        "contributions": by_name(explanation.contributions),
    }
    if explanation.classes[row] is not None:
        content = {"class": explanation.classes[row], **content}
    if explanation.errors is not None:
        content["standard_errors"] = by_name(explanation.errors)
    return content
