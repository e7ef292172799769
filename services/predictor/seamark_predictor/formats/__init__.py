"""One module per model format: `read` turns checked bytes into the library's own object, `serve` that into a `Model`.

Belongs here: turning verified bytes into a `Model`, refusing what could run code or read other files.
Does not belong here: reading folders (`package`, `opening`), making up schemas (`bare`), judging input (`dataplane`).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from seamark.errors import InvalidPackage
from seamark_predictor import logs
from seamark_predictor.model import Model
from seamark_predictor.package import Package

__all__ = ["SUFFIXES", "admit", "load", "module"]

# From 1.29 on ONNX Runtime reports what it loads to its maker unless told otherwise before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: The format of a model file without a package, by the end of its name.
SUFFIXES = {
    ".onnx": "onnx",
    ".skops": "skops",
    ".joblib": "joblib",
    ".pkl": "joblib",
    ".pickle": "joblib",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".xgb": "xgboost",
    ".txt": "lightgbm",
    ".lgb": "lightgbm",
}
#: The first bytes of a file of each format. Protobuf has no magic number; a model begins with its IR version.
_MAGIC = {
    "onnx": (b"\x08",),
    "skops": (b"PK\x03\x04",),
    "joblib": (b"\x80", b"x", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"]\x00\x00"),
    "xgboost": (b"{",),
    "lightgbm": (b"tree\n", b"tree\r\n"),
}
_MODULES = {
    "onnx": "onnx",
    "skops": "sklearn",
    "joblib": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
}


def load(package: Package, *, trust_pickle: bool) -> Model:
    """The package's model; raises `InvalidPackage` before anything of a refused file is loaded."""
    file, form = package.manifest.model.file, package.manifest.model.format
    admit(package.model, file, form, trust_pickle=trust_pickle)
    reader = module(form)
    model: Model = reader.serve(reader.read(package.model, file, form), package.manifest.schema, file, form)
    return model


def admit(content: bytes, file: str, form: str, *, trust_pickle: bool) -> None:
    """Lets pass what begins as its format does and, where loading can run code, is trusted; else `InvalidPackage`."""
    if not content.startswith(_MAGIC[form]):
        begins = content[:4].hex(" ") or "nothing"
        raise InvalidPackage(f"Cannot load {file}: it is not a {form} file (it begins with {begins})")
    if form == "joblib":
        _pickle_is_trusted(file, trust_pickle)


def module(form: str) -> Any:
    """The module of a format, imported only now."""
    return import_module(f"{__name__}.{_MODULES[form]}")


def _pickle_is_trusted(file: str, trusted: bool) -> None:
    if not trusted:
        raise InvalidPackage(
            f"Cannot load {file}: joblib files are pickles, which can run any code; "
            "use format skops or onnx, or say --trust-pickle"
        )
    logs.event("pickle_trusted", level=30, file=file, warning="loading it runs any code it holds")
