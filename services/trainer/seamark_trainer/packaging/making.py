"""From a model and a sample to a package, with what was found on the way."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seamark import profile
from seamark.errors import UserError
from seamark.package import Schema
from seamark_trainer.dataset import Dataset
from seamark_trainer.importance import importance
from seamark_trainer.package import Package, write
from seamark_trainer.packaging import describing, missing, target
from seamark_trainer.packaging.asking import categories, complete_rows, original
from seamark_trainer.packaging.choosing import Choice, Original, choose
from seamark_trainer.packaging.estimator import Estimator
from seamark_trainer.packaging.existing import Answers, Existing
from seamark_trainer.packaging.features import dataset, features
from seamark_trainer.packaging.onnx_model import OnnxModel
from seamark_trainer.packaging.opening import Opened, open_model
from seamark_trainer.packaging.sample import read

__all__ = ["Made", "Plan", "make"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to package, and how.

    classes: of an ONNX model that does not tell them; categories: features that are texts although they look like
    numbers; tolerance: see `conversion.TOLERANCE`; min_rows: fewer make no profile.
    """

    model: Path
    data: Path
    output: Path
    name: str
    version: str = "v1"
    label: str | None = None
    format: str = "auto"
    trust_pickle: bool = False
    categories: tuple[str, ...] = ()
    classes: tuple[str | int, ...] = ()
    tolerance: float = 1e-4
    min_rows: int = 50
    force: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    package: Package
    choice: Choice
    rows: int


def make(plan: Plan) -> Made:
    """The package, which appears whole or not at all. Raises `UserError`; says on the log what it is at."""
    target.check(plan.output, force=plan.force)
    log.info("reading %s", plan.model)
    opened = open_model(plan.model, trust_pickle=plan.trust_pickle)
    try:
        return _make(plan, opened)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith("Cannot ") else f"Cannot package {plan.model}: {text}") from error


def _make(plan: Plan, opened: Opened) -> Made:
    existing = _existing(opened, plan.classes)
    log.info("reading %s", plan.data)
    sample = read(plan.data)
    if sample.rows < plan.min_rows:
        raise UserError(f"Cannot use {plan.data}: it has {sample.rows} rows, at least {plan.min_rows} are needed")
    taken = features(existing, sample, plan.label, plan.categories)
    schema = describing.schema(taken, existing.classes, sample, plan.label)
    data = dataset(sample, schema, plan.label)
    asked = original(opened, existing, schema, data)
    choice = choose(asked, plan.format, plan.tolerance, trust_pickle=plan.trust_pickle)
    data = replace(data, schema=_nullable(asked, choice, data, plan.tolerance))
    return Made(_write(plan, opened, data, choice), choice, data.rows)


def _existing(opened: Opened, classes: tuple[str | int, ...]) -> Existing:
    if opened.format == "onnx":
        return OnnxModel(opened.content, classes or None)
    if classes:
        raise UserError("--classes is for ONNX models that do not tell them; this model does")
    return Estimator(opened.estimator, opened.types)


def _nullable(asked: Original, choice: Choice, data: Dataset, tolerance: float) -> Schema:
    """What the sample misses the model has just answered; of other features a try tells."""
    log.info("trying which features may be missing")
    rows = complete_rows(data)
    row = asked.matrix[[rows[0] if rows.size else 0]]
    limit = choice.parity.limit if choice.parity else tolerance
    found = missing.nullable(asked.schema, row, (asked.runner, choice.runner), limit)
    absent = {name for name, values in categories(data) if None in values}
    absent |= {name for i, name in enumerate(data.schema.numbers) if np.isnan(data.numbers[:, i]).any()}
    features = tuple(
        replace(feature, nullable=taken or feature.name in absent)
        for feature, taken in zip(asked.schema.features, found, strict=True)
    )
    return replace(asked.schema, features=features)


# --- the package


def _write(plan: Plan, opened: Opened, data: Dataset, choice: Choice) -> Package:
    log.info("measuring what the model looks at")
    labelled, answers = _labelled(data, choice.answers)
    weights = importance(lambda matrix: choice.runner.answers(matrix).scores(data.schema), labelled, 0)
    labels = None if plan.label is None else data.labels
    outputs = choice.answers.logged(data.schema)
    reference = profile.build(data.schema, data.numbers, data.categories, outputs, labels, weights)
    source = describing.Source(
        name=plan.name,
        version=plan.version,
        opened=opened,
        data=plan.data.name,
        rows=data.rows,
        metrics={} if plan.label is None else describing.metrics(data.schema, answers, labelled.labels),
    )
    manifest = describing.manifest(source, data.schema, choice, reference)
    log.info("writing %s", plan.output)
    try:
        with target.making_room(plan.output, force=plan.force):
            return write(plan.output, manifest, choice.file.content, reference, describing.page(manifest, weights))
    except OSError as error:
        raise UserError(f"Cannot write package {plan.output}: {(error.strerror or str(error)).lower()}") from error


def _labelled(data: Dataset, answers: Answers) -> tuple[Dataset, Answers]:
    """The rows whose label is known; where there are no labels, all, with the model's own predictions as labels."""
    known = np.flatnonzero(np.isfinite(data.labels))
    if not known.size:
        return replace(data, labels=answers.prediction), answers
    probabilities = None if answers.probabilities is None else answers.probabilities[known]
    return data.take(known), Answers(answers.prediction[known], probabilities)
