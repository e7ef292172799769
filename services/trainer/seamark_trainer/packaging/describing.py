"""What a package says of its model: schema, manifest, metrics, card."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.profile import Profile
from seamark_trainer import card, scoring
from seamark_trainer.packaging.choosing import Choice
from seamark_trainer.packaging.estimator import last_step
from seamark_trainer.packaging.existing import Answers
from seamark_trainer.packaging.opening import Opened
from seamark_trainer.packaging.sample import Sample

__all__ = ["Source", "manifest", "metrics", "page", "schema"]

#: More different values than this in a label are no classes.
_MOST_CLASSES = 100
_LIBRARIES = {"onnx": ("onnxruntime", "onnx"), "skops": ("skops",), "joblib": ("joblib",)}
#: Characters of a hyperparameter that is a text.
_LONGEST = 200


def schema(features: tuple[Feature, ...], classes: Sequence[Any] | None, sample: Sample, label: str | None) -> Schema:
    """classes: () for regression; None where the model does not tell, then those of the label's column, sorted."""
    if classes is None:
        classes = _classes_of(sample, label)
    task = {0: "regression", 2: "binary"}.get(len(classes), "multiclass")
    return Schema(task, features, tuple(classes))


def _classes_of(sample: Sample, label: str | None) -> tuple[str | int, ...]:
    found = set() if label is None else {text for text in sample.texts(label) if text is not None}
    if not 2 <= len(found) <= _MOST_CLASSES:
        raise UserError(
            "it does not tell its classes; name them in the order of its probabilities with --classes A,B,..., "
            "or the column with labels with --label"
        )
    numbers = [_whole(text) for text in found]
    whole = [number for number in numbers if number is not None]
    return tuple(sorted(whole)) if len(whole) == len(found) else tuple(sorted(found))


def _whole(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def metrics(schema: Schema, answers: Answers, labels: NDArray[np.float64]) -> dict[str, float]:
    """As `scoring.measure`, of a model whose label need not be its highest class; and how many rows have a label."""
    rows = {"rows": float(len(labels))}
    if schema.task == "regression":
        return {**scoring.measure(schema, answers.scores(schema), labels), **rows}
    found = {"accuracy": float(np.mean(answers.prediction == labels))}
    if answers.probabilities is not None:
        found["logLoss"] = scoring.loss(schema, answers.probabilities, labels)
    return {**found, **rows}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a package is made of. data: the sample's file name; metrics: none without labels."""

    name: str
    version: str
    opened: Opened
    data: str
    rows: int
    metrics: Mapping[str, float]


def manifest(source: Source, schema: Schema, choice: Choice, profile: Profile) -> Manifest:
    file = choice.file
    return Manifest(
        name=source.name,
        version=source.version,
        model=ModelFile(file.name, file.format, hashlib.sha256(file.content).hexdigest()),
        schema=schema,
        profile_sha256=hashlib.sha256(profile.to_json()).hexdigest(),
        framework=_framework(source.opened, choice),
        lineage=_lineage(source, choice),
        metrics=source.metrics,
        hyperparameters=_hyperparameters(source.opened.estimator),
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def _framework(opened: Opened, choice: Choice) -> dict[str, str]:
    libraries = [*_LIBRARIES[choice.file.format], "numpy"]
    if opened.estimator is None:
        return {"name": "onnx", **_versions(libraries)}
    libraries += ["scikit-learn", type(last_step(opened.estimator)).__module__.partition(".")[0]]
    return {"name": "scikit-learn", **_versions(libraries + ["skl2onnx"] * bool(choice.parity))}


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found: dict[str, str] = {}
    for library in libraries:
        with suppress(PackageNotFoundError):
            found[library] = installed(library)
    return found


def _lineage(source: Source, choice: Choice) -> dict[str, Any]:
    opened = source.opened
    found: dict[str, Any] = {
        "model": opened.path.name,
        "modelSha256": opened.sha256,
        "data": source.data,
        "rows": source.rows,
    }
    if choice.parity:
        found |= {
            "convertedFrom": opened.format,
            "largestDifference": choice.parity.difference,
            "allowedDifference": choice.parity.limit,
            "differingLabels": choice.parity.labels,
        }
    return found


def _hyperparameters(estimator: Any) -> dict[str, Any]:
    """Of the step that predicts, those that JSON can hold."""
    if estimator is None:
        return {}
    step = last_step(estimator)
    found = step.get_params(deep=False) if hasattr(step, "get_params") else {}
    kept = {name: value for name, value in found.items() if _is_plain(value)}
    return {"estimator": type(step).__name__, **kept}


def _is_plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and len(str(value)) <= _LONGEST


def page(manifest: Manifest, weights: Mapping[str, float]) -> str:
    """The package's card."""
    return card.card(manifest, weights, {}, measured="Measured on the sample, which it may have been fitted on")
