"""The model package: what `seamark.json` says.

A package is a folder: the model file, `seamark.json` (this manifest), `profile.json` (see `seamark.profile`)
and optionally `card.md`. The package digest is the SHA-256 of `seamark.json`, which itself holds the digests
of the other files, so one digest pins everything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seamark.errors import InvalidPackage

__all__ = [
    "CATEGORY",
    "MODEL_FORMATS",
    "NUMBER",
    "TASKS",
    "Feature",
    "Manifest",
    "ModelFile",
    "Schema",
    "parse_manifest",
]

_FORMAT = 1
TASKS = ("binary", "multiclass", "regression")
MODEL_FORMATS = ("onnx", "skops", "joblib", "xgboost", "lightgbm")
NUMBER = "number"
CATEGORY = "category"

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
        """A label as logged outputs are: the class index, or the finite number; None when it is neither.

        Accepts the class itself or its text (`1`, `1.0`, `"1"` and `"1.0"` are the same class).
        """
        if self.task == "regression":
            return _finite(label)
        wanted = _canonical(label)
        for index, known in enumerate(self.classes):
            if _canonical(known) == wanted:
                return float(index)
        return None


def _finite(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # the except clause is the type check
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _canonical(label: object) -> str:
    """One text for all ways to write a class; `_` groups digits in Python only, so such a text is no number."""
    text = str(label).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    number = None if "_" in text else _finite(text)
    return text if number is None else repr(number)


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
            "format": _FORMAT,
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
        return _manifest(_Fields(json.loads(content, parse_constant=_refuse, parse_float=_finite_float)))
    except (ValueError, RecursionError) as error:
        raise InvalidPackage(f"Cannot read seamark.json: {error}") from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_show(text)} is too large for a number")
    return value


class _Fields:
    """One JSON object; every mistake is a ValueError that names the path."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{path or 'the document'} is not an object")
        self._value: dict[str, Any] = value
        self._path = path

    def path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def need(self, key: str) -> Any:
        if key not in self._value:
            raise ValueError(f"{self.path(key)} is missing")
        return self._value[key]

    def text(self, key: str, default: str | None = None) -> str:
        """A text, which may be empty only where the default is."""
        value = self.need(key) if default is None else self._value.get(key, default)
        if not isinstance(value, str) or not (value or default == ""):
            raise ValueError(f"{self.path(key)} is {_show(value)}, not a text")
        return value

    def one_of(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in allowed:
            raise ValueError(f"{self.path(key)} is {_show(value)}; allowed: {', '.join(allowed)}")
        return value

    def flag(self, key: str) -> bool:
        value = self._value.get(key, False)
        if not isinstance(value, bool):
            raise ValueError(f"{self.path(key)} is {_show(value)}, not true or false")
        return value

    def digest(self, key: str) -> str:
        value = self.text(key)
        if not _SHA256.fullmatch(value):
            raise ValueError(f"{self.path(key)} is {_show(value)}, not a SHA-256 in 64 lower-case hex digits")
        return value

    def inner(self, key: str) -> _Fields:
        return _Fields(self.need(key), self.path(key))

    def entries(self, key: str) -> list[Any]:
        value = self.need(key)
        if not isinstance(value, list):
            raise ValueError(f"{self.path(key)} is {_show(value)}, not a list")
        return value

    def record(self, key: str) -> dict[str, Any]:
        return _Fields(self._value.get(key, {}), self.path(key))._value


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _manifest(fields: _Fields) -> Manifest:
    if fields.need("format") != _FORMAT:
        raise ValueError(f"format is {_show(fields.need('format'))}; this Seamark reads {_FORMAT}")
    task = fields.one_of("task", TASKS)
    metrics = fields.record("metrics")
    return Manifest(
        name=fields.text("name"),
        version=fields.text("version"),
        model=_model_file(fields.inner("model")),
        schema=Schema(task, _features(fields.entries("features")), _classes(task, fields.entries("classes"))),
        profile_sha256=fields.inner("profile").digest("sha256"),
        framework={name: str(version) for name, version in fields.record("framework").items()},
        lineage=fields.record("lineage"),
        metrics={name: _metric(name, value) for name, value in metrics.items()},
        hyperparameters=fields.record("hyperparameters"),
        created=fields.text("created", ""),
    )


def _model_file(fields: _Fields) -> ModelFile:
    file = fields.text("file")
    if not _FILE.fullmatch(file):
        raise ValueError(f"model.file is {_show(file)}, not a plain file name inside the package")
    return ModelFile(file, fields.one_of("format", MODEL_FORMATS), fields.digest("sha256"))


def _metric(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or _finite(value) is None:
        raise ValueError(f"metrics.{name} is {_show(value)}, not a finite number")
    return value  # as it was written, so that it is written the same again


def _features(entries: Sequence[object]) -> tuple[Feature, ...]:
    if not entries:
        raise ValueError("features names no feature")
    features = []
    names: set[str] = set()
    for i, entry in enumerate(entries):
        fields = _Fields(entry, f"features[{i}]")
        name = fields.text("name")
        if name in names:
            raise ValueError(f"features[{i}].name is {_show(name)}, which is taken")
        names.add(name)
        features.append(Feature(name, fields.one_of("type", (NUMBER, CATEGORY), NUMBER), fields.flag("nullable")))
    return tuple(features)


def _classes(task: str, classes: Sequence[Any]) -> tuple[str | int | float | bool, ...]:
    for i, value in enumerate(classes):
        if not isinstance(value, str | int | float):
            raise ValueError(f"classes[{i}] is {_show(value)}, not a text, number, true or false")
    if len({_canonical(value) for value in classes}) < len(classes):
        raise ValueError("classes holds the same class twice")
    least, most = {"regression": (0, 0), "binary": (2, 2)}.get(task, (2, 10_000))
    if not least <= len(classes) <= most:
        raise ValueError(f"classes has {len(classes)} entries; {task} takes {least}" + (f" to {most}" * (most > least)))
    return tuple(classes)
