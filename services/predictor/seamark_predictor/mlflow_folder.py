"""MLflow model folders, read without MLflow: the file `MLmodel`, the model file of a flavour, and the signature.

An ONNX model is served with its own inputs and outputs; every other flavour with features by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Feature
from seamark_predictor import bare, formats
from seamark_predictor.bare import BareModel
from seamark_predictor.files import Folder
from seamark_predictor.model import Model, TensorModel
from seamark_predictor.package import Package

__all__ = ["load"]

_LONGEST = 1024 * 1024
_TYPES = {
    "boolean": NUMBER,
    "integer": NUMBER,
    "long": NUMBER,
    "float": NUMBER,
    "double": NUMBER,
    "string": CATEGORY,
}
#: Of LightGBM's scikit-learn wrapper: they hold the model's text and plain values. MLflow trusts the same.
_LIGHTGBM_TYPES = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
    }
)

Loaded = tuple[Package | None, Model | TensorModel]


@dataclass(frozen=True, slots=True)
class _Request:
    """A flavour of a folder, and how it is wanted."""

    folder: Folder
    flavour: Mapping[str, Any]
    columns: tuple[Feature, ...]
    name: str
    trust_pickle: bool

    def file(self, key: str) -> str:
        value = self.flavour.get(key)
        if not isinstance(value, str):
            raise _mistake(self.folder, f"its flavour has no {key}")
        return value

    def bare(self, file: str, form: str) -> BareModel:
        """The model's bytes, let pass."""
        content = self.folder.read(file)
        formats.admit(content, file, form, trust_pickle=self.trust_pickle)
        return BareModel(content, file, form, self.folder.digest_of(file), self.columns)

    def tabular(self, file: str, form: str) -> Loaded:
        return bare.tabular(self.bare(file, form), name=self.name, digest=self.folder.digest)


def load(folder: Folder, *, name: str, trust_pickle: bool) -> Loaded:
    """The model, and its package unless it serves tensors; raises `InvalidPackage`."""
    document = _document(folder)
    flavours = document.get("flavors")
    if not isinstance(flavours, dict):
        raise _mistake(folder, "it has no flavors")
    served = [flavour for flavour in _FLAVOURS if isinstance(flavours.get(flavour), dict)]
    if not served:
        found = ", ".join(map(str, flavours))[:200] or "none"
        raise InvalidPackage(
            f"Cannot use MLflow model {folder.path}: its flavours are {found}; served: {', '.join(_FLAVOURS)}"
        )
    flavour = served[0]
    columns = () if flavour == "onnx" else _columns(folder, document.get("signature"))
    return _FLAVOURS[flavour](_Request(folder, flavours[flavour], columns, name, trust_pickle))


def _mistake(folder: Folder, problem: str) -> InvalidPackage:
    return InvalidPackage(f"Cannot read {folder.path / 'MLmodel'}: {problem}")


def _document(folder: Folder) -> dict[str, Any]:
    content = folder.read("MLmodel")
    if len(content) > _LONGEST:
        raise _mistake(folder, f"{len(content)} bytes are more than {_LONGEST}")
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _mistake(folder, f"it is not YAML: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise _mistake(folder, "it is not a mapping")
    return document


def _columns(folder: Folder, signature: object) -> tuple[Feature, ...]:
    """The features that the signature names; none for a signature of tensors, or where there is no signature."""
    text = signature.get("inputs") if isinstance(signature, dict) else None
    if text is None:
        return ()
    try:
        entries = json.loads(text)
        if all(entry["type"] == "tensor" for entry in entries):
            return ()
        columns = tuple(_column(folder, i, entry) for i, entry in enumerate(entries))
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise _mistake(folder, f"its signature cannot be read: {type(error).__name__}: {str(error)[:100]}") from error
    if len({column.name for column in columns}) < len(columns):
        raise _mistake(folder, "its signature names a column twice")
    return columns


def _column(folder: Folder, i: int, entry: Mapping[str, Any]) -> Feature:
    name, kind = entry.get("name", f"x{i}"), entry["type"]
    if not isinstance(name, str) or kind not in _TYPES:
        raise _mistake(folder, f"column {str(name)[:60]!r} is {str(kind)[:60]}; allowed: {', '.join(_TYPES)}")
    return Feature(name, _TYPES[kind])


def _sklearn(request: _Request) -> Loaded:
    return request.tabular(request.file("pickled_model"), _serialization(request))


def _serialization(request: _Request) -> str:
    return "skops" if request.flavour.get("serialization_format") == "skops" else "joblib"


def _onnx(request: _Request) -> Loaded:
    found = request.bare(request.file("data"), "onnx")
    return None, bare.tensors(found.content, found.file)


def _xgboost(request: _Request) -> Loaded:
    return request.tabular(request.file("data"), "xgboost")


def _lightgbm(request: _Request) -> Loaded:
    file = request.file("data")
    if str(request.flavour.get("model_class", "")).endswith(".Booster"):
        return request.tabular(file, "lightgbm")
    form = _serialization(request)
    if form == "joblib":
        return request.tabular(file, form)
    from seamark_predictor.formats import lightgbm, sklearn

    found = request.bare(file, form)
    trees = lightgbm.unwrap(sklearn.read_skops(found.content, file, sklearn.TRUSTED | _LIGHTGBM_TYPES), file)
    return bare.around(trees, lightgbm, found, name=request.name, digest=request.folder.digest)


_FLAVOURS: dict[str, Callable[[_Request], Loaded]] = {
    "sklearn": _sklearn,
    "onnx": _onnx,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
}
