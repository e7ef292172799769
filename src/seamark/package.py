"""The model package: what `seamark.json` says.

A package is a folder: the model file, `seamark.json` (this manifest), `profile.json` (see `seamark.profile`)
and optionally `card.md`. The package digest is the SHA-256 of `seamark.json`, which itself holds the digests
of the other files, so one digest pins everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seamark.errors import InvalidPackage

__all__ = ["CATEGORY", "NUMBER", "TASKS", "Feature", "Manifest", "ModelFile", "Schema", "parse_manifest"]

FORMAT = 1
TASKS = ("binary", "multiclass", "regression")
MODEL_FORMATS = ("onnx", "skops", "joblib")
NUMBER = "number"
CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column. `nullable` says whether the model itself can take a missing value."""

    name: str
    type: str = NUMBER
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """The inputs in the model's own order, and the classes (empty for regression) in score order.

    Outputs of one row, as logged: `prediction` (the class index, or the value for regression) and, for
    classification, `score` (binary: probability of `classes[1]`; multiclass: of the predicted class).
    """

    task: str
    features: tuple[Feature, ...]
    classes: tuple[str | int | float | bool, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("prediction",) if self.task == "regression" else ("prediction", "score")

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features if feature.type == NUMBER)

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features if feature.type == CATEGORY)

    def label_value(self, label: object) -> float | None:
        """A label as logged outputs are: the class index, or the number; None when it is neither.

        Accepts the class itself or its text (`1`, `1.0`, `"1"` and `"1.0"` are the same class).
        """
        if self.task == "regression":
            try:
                return float(label)  # type: ignore[arg-type]  # the except clause is the type check
            except (TypeError, ValueError):
                return None
        wanted = _canonical(label)
        for index, known in enumerate(self.classes):
            if _canonical(known) == wanted:
                return float(index)
        return None


def _canonical(label: object) -> str:
    text = str(label).strip().lower() if isinstance(label, bool) else str(label).strip()
    try:
        return repr(float(text))
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class ModelFile:
    file: str
    format: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`seamark.json`, parsed. `profile_sha256` pins `profile.json`; the mappings are free-form records."""

    name: str
    version: str
    model: ModelFile
    schema: Schema
    profile_sha256: str
    framework: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""

    def to_json(self) -> bytes:
        """The bytes of `seamark.json`; equal manifests give equal bytes."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "task": self.schema.task,
            "classes": list(self.schema.classes),
            "features": [{"name": f.name, "type": f.type, "nullable": f.nullable} for f in self.schema.features],
            "model": {"file": self.model.file, "format": self.model.format, "sha256": self.model.sha256},
            "profile": {"file": "profile.json", "sha256": self.profile_sha256},
            "framework": dict(self.framework),
            "lineage": dict(self.lineage),
            "metrics": dict(self.metrics),
            "hyperparameters": dict(self.hyperparameters),
        }
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()


def parse_manifest(content: bytes) -> Manifest:
    """The manifest of a package, or `InvalidPackage` saying what is wrong with it."""
    try:
        document = json.loads(content)
        return _manifest(document)
    except (ValueError, RecursionError) as error:
        raise InvalidPackage(f"Cannot read seamark.json: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidPackage(f"Cannot read seamark.json: missing or wrong field {error}") from error


def _manifest(document: Mapping[str, Any]) -> Manifest:
    if document["format"] != FORMAT:
        raise InvalidPackage(f"seamark.json has format {document['format']!r}; this Seamark reads {FORMAT}")
    if document["task"] not in TASKS:
        raise InvalidPackage(f"task is {document['task']!r}; allowed: {', '.join(TASKS)}")
    model = ModelFile(**{key: str(document["model"][key]) for key in ("file", "format", "sha256")})
    if model.format not in MODEL_FORMATS:
        raise InvalidPackage(f"model format is {model.format!r}; allowed: {', '.join(MODEL_FORMATS)}")
    if "/" in model.file or "\\" in model.file or model.file.startswith("."):
        raise InvalidPackage(f"model file {model.file!r} is not a plain file name inside the package")
    features = tuple(
        Feature(str(f["name"]), str(f.get("type", NUMBER)), bool(f.get("nullable", False)))
        for f in document["features"]
    )
    _features_are_sound(features)
    return Manifest(
        name=str(document["name"]),
        version=str(document["version"]),
        model=model,
        schema=Schema(document["task"], features, tuple(document["classes"])),
        profile_sha256=str(document["profile"]["sha256"]),
        framework=document.get("framework", {}),
        lineage=document.get("lineage", {}),
        metrics=document.get("metrics", {}),
        hyperparameters=document.get("hyperparameters", {}),
        created=str(document.get("created", "")),
    )


def _features_are_sound(features: Sequence[Feature]) -> None:
    if not features:
        raise InvalidPackage("the schema names no feature")
    names = [feature.name for feature in features]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidPackage(f"feature {twice!r} is named twice")
    for feature in features:
        if feature.type not in (NUMBER, CATEGORY):
            raise InvalidPackage(f"feature {feature.name!r} has type {feature.type!r}; allowed: number, category")
