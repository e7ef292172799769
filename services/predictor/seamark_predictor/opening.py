"""From a path to a loaded model: a package folder, an MLflow model folder, or a bare model file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from seamark.errors import InvalidPackage
from seamark_predictor import bare, formats, package
from seamark_predictor.files import Folder, read_file
from seamark_predictor.model import Model, TensorModel
from seamark_predictor.package import Package

__all__ = ["Opened", "open_model"]

_ALLOWED = f"a package folder (seamark.json), an MLflow folder (MLmodel), or a file: {', '.join(formats.SUFFIXES)}"
#: In a folder without a manifest, these could be anything else as well.
_VAGUE = (".json", ".txt")


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A loaded model.

    digest: SHA-256 of seamark.json, of the bare file, or of a folder's sorted names and file digests.
    package: what the dataplane needs to serve features, without the model file's bytes; None for a `TensorModel`.
    """

    digest: str
    package: Package | None
    model: Model | TensorModel


def open_model(path: Path, *, name: str, trust_pickle: bool, digest: str | None) -> Opened:
    """Raises `InvalidPackage`, before anything is loaded where the digest is not the given one.

    name: for models that bring none.
    """
    try:
        is_folder = path.is_dir()
        exists = is_folder or path.exists()
    except OSError as error:
        raise InvalidPackage(f"Cannot open {path}: {error.strerror}") from error
    if not exists:
        raise InvalidPackage(f"Cannot open {path}: it does not exist")
    if not is_folder:
        return _open_file(path, name, trust_pickle, digest)
    if (path / "seamark.json").exists():
        return _open_package(path, trust_pickle, digest)
    if (path / "MLmodel").exists():
        return _open_mlflow(path, name, trust_pickle, digest)
    return _open_file(_only_model(path), name, trust_pickle, digest)


def _only_model(folder: Path) -> Path:
    """The one model file of a folder, as storage initializers leave it."""
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in formats.SUFFIXES)
    except OSError as error:
        raise InvalidPackage(f"Cannot open {folder}: {error.strerror}") from error
    found = [file for file in files if file.suffix.lower() not in _VAGUE or file.stem == "model"]
    if len(found) == 1:
        return found[0]
    what = f"it holds {len(found)} model files" if found else "it holds no model"
    raise InvalidPackage(f"Cannot open {folder}: {what}; allowed: {_ALLOWED}")


def _open_package(folder: Path, trust_pickle: bool, digest: str | None) -> Opened:
    content = package.read(folder, digest)
    model = formats.load(content, trust_pickle=trust_pickle)
    # The file's bytes are as large as the model, and nobody needs them any more.
    return Opened(content.digest, replace(content, model=b""), model)


def _open_mlflow(path: Path, name: str, trust_pickle: bool, digest: str | None) -> Opened:
    # Only now: reading YAML is of no use to other models.
    from seamark_predictor import mlflow_folder

    folder = Folder(path)
    _digest_is(path, folder.digest, digest)
    found, model = mlflow_folder.load(folder, name=name, trust_pickle=trust_pickle)
    return Opened(folder.digest, found, model)


def _open_file(path: Path, name: str, trust_pickle: bool, digest: str | None) -> Opened:
    form = formats.SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise InvalidPackage(f"Cannot open {path}: its name ends with {path.suffix[:20]!r}; allowed: {_ALLOWED}")
    content = read_file(path)
    found = hashlib.sha256(content).hexdigest()
    _digest_is(path, found, digest)
    formats.admit(content, path.name, form, trust_pickle=trust_pickle)
    if form == "onnx":
        return Opened(found, None, bare.tensors(content, path.name))
    made, model = bare.tabular(bare.BareModel(content, path.name, form, found), name=name, digest=found)
    return Opened(found, made, model)


def _digest_is(path: Path, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted.lower():
        raise InvalidPackage(f"Cannot use {path}: its digest is {found}, --digest says {wanted[:64]}")
