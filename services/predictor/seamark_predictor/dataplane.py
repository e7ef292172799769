"""A model with features behind its rules: rows in, answer out, whatever the transport and the protocol.

Who is to blame when something goes wrong decides the status: input that breaks what the model needs is refused with
422; a model that fails on rows which kept every rule is 500.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from seamark.contract import Checker
from seamark.errors import InvalidInput, InvalidPackage
from seamark.package import CATEGORY, Schema
from seamark_predictor.body import refuse_bare_numbers
from seamark_predictor.columns import instances_to_rows, tensors_to_rows
from seamark_predictor.model import Model, ModelError, Output, Spec
from seamark_predictor.package import Package
from seamark_predictor.plane import Recorded, Values
from seamark_predictor.rows import Reader, Rows, show
from seamark_predictor.tensors import BYTES, Tensor, datatype_of

__all__ = ["LARGEST", "Answer", "Dataplane"]

#: The largest number a model is given, either sign: most compute in single precision.
LARGEST = float(np.finfo(np.float32).max)

#: Values from which looking at each costs no more, and a library may use several threads for their sum.
_FEW = 4096
#: Violations told in one message; all of them are counted.
_SHOWN = 5
_BROKEN = {
    "missing": "is missing",
    "nonfinite": "is NaN or infinite",
    "range": "is out of range",
    "category": "has an unknown category",
}

Violation = tuple[str, str, int]


class Answer(msgspec.Struct, frozen=True, eq=False):
    """output: what the model said; logged: rows x len(schema.outputs), as in `Schema.outputs`.

    labels: what `predict` answers for each row: the class itself, or the regression value.
    """

    output: Output
    logged: NDArray[np.float64]
    labels: NDArray[Any] | list[str]


class Dataplane:
    """One model behind its rules. Safe to call from several threads."""

    def __init__(self, package: Package, model: Model, *, name: str, revision: str, reject: bool) -> None:
        self.name = name
        self.revision = revision
        self.digest = package.digest
        self.platform = model.platform
        self.schema = package.manifest.schema
        self.reader = Reader(self.schema)
        self._package = package
        self._model = model
        self._checker = Checker(package.rules, self.schema)
        self._reject = reject
        self._strict = np.array([not f.nullable for f in self.schema.features if f.type != CATEGORY], dtype=np.bool_)
        self._strict_texts = [not f.nullable for f in self.schema.features if f.type == CATEGORY]
        self.label_datatype, self._labels = _labels(self.schema)
        self.is_numeric = not self.schema.categories
        self.inputs = [
            Spec(name, "FP64" if number else BYTES, (-1, 1)) for name, number in self.reader.is_number.items()
        ]
        #: Whether there are probabilities is known once warm.
        self.outputs = [Spec("predict", self.label_datatype, (-1,))]

    def from_tensors(self, tensors: Sequence[Tensor]) -> Rows:
        """One tensor with all features, or one for each."""
        return tensors_to_rows(tensors, self.reader)

    def from_instances(self, key: str, values: Any) -> Rows:
        """Rows as lists or objects by feature name."""
        return instances_to_rows(key, values, self.reader)

    def refuse_bare(self, batch: Rows, complaint: str) -> None:
        """Names the features that held bare NaN or Infinity."""
        refuse_bare_numbers(complaint, batch, self.schema)

    def to_tensors(self, answer: Answer, names: Sequence[str]) -> list[Values]:
        """`predict` and, of classifiers that have them, `predict_proba`."""
        return [self._output(answer, name) for name in names]

    def _output(self, answer: Answer, name: str) -> Values:
        if name == "predict":
            return Values(name, self.label_datatype, (len(answer.labels),), answer.labels)
        probabilities = answer.output.probabilities
        assert probabilities is not None
        values = np.ascontiguousarray(probabilities).reshape(-1)
        return Values(name, datatype_of(values.dtype), probabilities.shape, values)

    def to_document(self, answer: Answer) -> dict[str, Any]:
        """`predictions`, and `scores` with the probability of each class for each row where the model gives them."""
        document: dict[str, Any] = {"predictions": answer.labels}
        if answer.output.probabilities is not None:
            document["scores"] = np.ascontiguousarray(answer.output.probabilities)
        return document

    def recorded(self, batch: Rows, answer: Answer | None) -> Recorded:
        """All of it."""
        return Recorded(batch.numbers.tobytes(), batch.categories, b"" if answer is None else answer.logged.tobytes())

    def _label(self, prediction: NDArray[np.float64]) -> NDArray[Any] | list[str]:
        if self._labels is None:
            return prediction
        places = prediction.astype(np.intp)
        if isinstance(self._labels, np.ndarray):
            return np.asarray(self._labels[places])
        return [self._labels[place] for place in places.tolist()]

    def warm_up(self) -> None:
        """One prediction on a typical row, so that the first user does not wait; raises `InvalidPackage`."""
        try:
            output = self.predict(self.sample(1)).output
        except (ModelError, InvalidInput) as error:
            cause = error.__cause__ or error
            raise InvalidPackage(f"Cannot use the model: it fails on a typical row: {str(cause)[:300]}") from error
        if output.probabilities is not None:
            datatype = datatype_of(output.probabilities.dtype)
            self.outputs.append(Spec("predict_proba", datatype, (-1, len(self.schema.classes))))

    def sample(self, rows: int) -> Rows:
        """A typical row, so often."""
        columns = {column.name: column for column in self._package.profile.features}
        numbers = np.zeros((rows, len(self.schema.numbers)))
        for i, name in enumerate(self.schema.numbers):
            column = columns.get(name)
            if column is not None and column.low is not None:
                numbers[:, i] = column.low
        texts = [columns[name].values if name in columns else () for name in self.schema.categories]
        return Rows(numbers, [[known[0] if known else ""] * rows for known in texts])

    def predict(self, rows: Rows) -> Answer:
        """Raises `InvalidInput` (422, with violations) or `ModelError`."""
        self._values_fit(rows)
        if self._reject:
            self._contract_holds(rows)
        try:
            output = self._model.predict(rows)
        except InvalidInput:
            raise
        except Exception as error:
            # A model may raise anything, also because of its input: an unknown category, say.
            self._blame(rows, np.ones(rows.count, dtype=np.bool_), error)
        self._shape_fits(output, rows.count)
        if not (
            _is_ordinary(output.prediction) and (output.probabilities is None or _is_ordinary(output.probabilities))
        ):
            finite = _finite_rows(output)
            if not finite.all():
                self._blame(rows, ~finite, None)
        return Answer(output, _logged(output, self.schema), self._label(output.prediction))

    def _values_fit(self, rows: Rows) -> None:
        """No infinite or huge number, and nothing missing but where the model takes it."""
        numbers = rows.numbers
        is_fit = _is_ordinary(numbers) or (np.abs(numbers) <= LARGEST).all()
        if is_fit and not any(None in texts for texts in rows.categories):
            return
        violations = self._missing(rows)
        infinite = np.isinf(numbers)
        violations += _by_feature(self.schema.numbers, infinite, "nonfinite")
        violations += _by_feature(self.schema.numbers, (np.abs(numbers) > LARGEST) & ~infinite, "range")
        if violations:
            _refuse("the model cannot take such values", violations)

    def _missing(self, rows: Rows) -> list[Violation]:
        found = _by_feature(self.schema.numbers, np.isnan(rows.numbers) & self._strict, "missing")
        for name, texts, strict in zip(self.schema.categories, rows.categories, self._strict_texts, strict=True):
            count = texts.count(None)
            if strict and count:
                found.append((name, "missing", count))
        return found

    def _contract_holds(self, rows: Rows) -> None:
        broken = self._checker.check(rows.numbers, rows.categories)
        if broken.rows.any():
            _refuse(
                f"{int(broken.rows.sum())} of {rows.count} rows break the contract",
                [(feature, rule, count) for (feature, rule), count in broken.by_rule.items()],
            )

    def _shape_fits(self, output: Output, count: int) -> None:
        shape = None if output.probabilities is None else output.probabilities.shape
        classes = len(self.schema.classes)
        if output.prediction.shape != (count,) or shape not in (None, (count, classes)):
            raise ModelError(f"the model gave {shape} probabilities for {count} rows and {classes} classes")

    def _blame(self, rows: Rows, failed: NDArray[np.bool_], cause: Exception | None) -> NoReturn:
        """422 when every failed row breaks the contract, naming how; else the model's failure."""
        suspects = Rows(
            rows.numbers[failed],
            [[text for text, bad in zip(texts, failed, strict=True) if bad] for texts in rows.categories],
        )
        broken = self._checker.check(suspects.numbers, suspects.categories)
        if broken.rows.all():
            _refuse(
                "the model gives no answer for values so unlike those it was trained on",
                [(feature, rule, count) for (feature, rule), count in broken.by_rule.items()],
            )
        what = "the model raised" if cause else "the model gave NaN or an infinite number"
        raise ModelError(f"{what} for {int(failed.sum())} of {rows.count} rows") from cause


def _is_ordinary(values: NDArray[np.floating[Any]]) -> bool:
    """True only where every value is finite and its square is no more than LARGEST.

    A sum of squares says so in one call, a fraction of a microsecond; whatever else it may be is looked at closely.
    """
    return values.size <= _FEW and bool(np.vdot(values, values) <= LARGEST)


def _finite_rows(output: Output) -> NDArray[np.bool_]:
    finite = np.isfinite(output.prediction)
    if output.probabilities is not None:
        finite &= np.isfinite(output.probabilities).all(axis=1)
    return finite


def _labels(schema: Schema) -> tuple[str, NDArray[Any] | list[str] | None]:
    """The protocol's datatype of the labels, and the classes ready to be looked up; None for regression."""
    if schema.task == "regression":
        return "FP64", None
    kinds = {type(label) for label in schema.classes}
    if kinds == {int}:
        return "INT64", np.array(schema.classes, dtype=np.int64)
    if kinds == {bool}:
        return "BOOL", np.array(schema.classes, dtype=np.bool_)
    if kinds <= {int, float}:
        return "FP64", np.array(schema.classes, dtype=np.float64)
    return "BYTES", [str(label) for label in schema.classes]


def _by_feature(names: Iterable[str], broken: NDArray[np.bool_], rule: str) -> list[Violation]:
    counts = np.count_nonzero(broken, axis=0).tolist()
    return [(name, rule, count) for name, count in zip(names, counts, strict=True) if count]


def _in_words(feature: str, rule: str, count: int) -> str:
    rows = "1 row" if count == 1 else f"{count} rows"
    return f"{show(feature)} {_BROKEN.get(rule, f'breaks the rule {rule}')} in {rows}"


def _refuse(problem: str, violations: list[Violation]) -> NoReturn:
    shown = "; ".join(_in_words(*violation) for violation in violations[:_SHOWN])
    shown += f"; and {len(violations) - _SHOWN} more" if len(violations) > _SHOWN else ""
    raise InvalidInput(f"Cannot predict: {problem}: {shown}", status=422, violations=tuple(violations))


def _logged(output: Output, schema: Schema) -> NDArray[np.float64]:
    if schema.task == "regression":
        return output.prediction.reshape(-1, 1)
    logged = np.empty((len(output.prediction), 2))
    logged[:, 0] = output.prediction
    if output.probabilities is None:
        logged[:, 1] = np.nan
    elif schema.task == "binary":
        logged[:, 1] = output.probabilities[:, 1]
    else:
        logged[:, 1] = output.probabilities.max(axis=1)
    return logged
