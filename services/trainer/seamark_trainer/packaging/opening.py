"""A model's file or MLflow folder, opened: only what may be read is read, and pickles only where they are trusted."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seamark.errors import InvalidPackage
from seamark.skops_types import TRUSTED
from seamark.texts import first_line
from seamark_trainer.packaging import mlflow_folder

__all__ = ["Opened", "open_model", "read_skops"]

log = logging.getLogger(__name__)

_FORMATS = {".onnx": "onnx", ".skops": "skops", ".joblib": "joblib", ".pkl": "joblib", ".pickle": "joblib"}
#: Bytes of a model file.
_LARGEST = 4 * 2**30


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """path: the model file; format: as in `MODEL__FORMATS`; estimator: None for ONNX.

    whole: is the estimator all that the file holds? types: NUMBER or CATEGORY by feature name, in order, where a
    signature beside the model tells.
    """

    path: Path
    format: str
    content: bytes
    estimator: Any = None
    whole: bool = True
    types: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def open_model(path: Path, *, trust_pickle: bool) -> Opened:
    """Raises `InvalidPackage` before anything of a refused file is loaded."""
    found = mlflow_folder.find(path) if path.is_dir() else mlflow_folder.Found(path, _format(path))
    _is_allowed(found.path, found.format, trust_pickle)
    content = _content(found.path)
    if found.format == "onnx":
        return Opened(found.path, found.format, content, types=found.types)
    held = _load(found.path, found.format, content)
    # Of a search only the winner is served.
    estimator = getattr(held, "best_estimator_", held)
    return Opened(found.path, found.format, content, estimator, estimator is held, found.types)


def _format(path: Path) -> str:
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise InvalidPackage(
            f"Cannot open {path}: a model is a {', '.join(_FORMATS)} file or an MLflow folder, as its name says"
        )
    return form


def _is_allowed(path: Path, form: str, trust_pickle: bool) -> None:
    if form != "joblib":
        return
    if not trust_pickle:
        raise InvalidPackage(
            f"Cannot open {path}: it is a pickle, which can run any code when it is read; "
            "say --trust-pickle if you trust whoever made it"
        )
    log.warning("%s is a pickle; reading it runs any code it holds", path.name)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidPackage(f"Cannot open {path}: {(error.strerror or str(error)).lower()}") from error
    if len(content) > _LARGEST:
        raise InvalidPackage(f"Cannot open {path}: it has more than {_LARGEST} bytes")
    return content


def _load(path: Path, form: str, content: bytes) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = read_skops(content) if form == "skops" else _read_pickle(content)
        except InvalidPackage as error:
            raise InvalidPackage(f"Cannot open {path}: {error}") from error
        # skops and pickle raise whatever the damaged file makes them stumble over.
        except Exception as error:
            raise InvalidPackage(f"Cannot open {path}: {type(error).__name__}: {first_line(error)}") from error
    for text in sorted({first_line(warning.message) for warning in caught}):
        log.warning("%s: %s", path.name, text)
    return estimator


def read_skops(content: bytes) -> Any:
    """The object in a skops file; `InvalidPackage` names types that could run code."""
    import skops.io

    untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED)
    if untrusted:
        raise InvalidPackage(f"it holds types that are not trusted: {', '.join(untrusted)[:300]}")
    return skops.io.loads(content, trusted=sorted(TRUSTED))


def _read_pickle(content: bytes) -> Any:
    import joblib

    return joblib.load(io.BytesIO(content))
