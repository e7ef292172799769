"""An MLflow model folder: which file holds the model, and what its signature says of the features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER

__all__ = ["Found", "find"]

#: Bytes of an MLmodel file; a real one has a few thousand.
MAX_DESCRIPTION = 2**20
#: Of each flavour that is taken: the key that names its file.
_FLAVOURS = {"onnx": "data", "sklearn": "pickled_model"}
_TYPES = {
    **dict.fromkeys(("boolean", "integer", "long", "float", "double"), NUMBER),
    "string": CATEGORY,
}


@dataclass(frozen=True, slots=True)
class Found:
    """path: the model file; format: as in `MODEL_FORMATS`; types: NUMBER or CATEGORY by feature name, in order."""

    path: Path
    format: str
    types: Mapping[str, str] = field(default_factory=dict)


def find(folder: Path) -> Found:
    """Raises `InvalidPackage`. Nothing but the description is read."""
    described = _description(folder)
    flavours = described.get("flavors")
    if not isinstance(flavours, dict):
        raise InvalidPackage(f"Cannot open {folder}: its MLmodel names no flavours")
    for flavour, key in _FLAVOURS.items():
        if isinstance(flavours.get(flavour), dict):
            path = _inside(folder, flavours[flavour].get(key))
            is_skops = path.suffix == ".skops" or flavours[flavour].get("serialization_format") == "skops"
            form = "onnx" if flavour == "onnx" else "skops" if is_skops else "joblib"
            return Found(path, form, _types(described))
    raise InvalidPackage(
        f"Cannot open {folder}: its flavours are {', '.join(map(str, flavours))[:200]}; allowed: {', '.join(_FLAVOURS)}"
    )


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "MLmodel"
    if not path.is_file():
        is_ours = (folder / "seamark.json").is_file()
        cause = "it is a Seamark package already" if is_ours else "it is a folder without an MLmodel file"
        raise InvalidPackage(f"Cannot open {folder}: {cause}")
    yaml = _yaml(folder)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DESCRIPTION + 1)
        if len(content) > MAX_DESCRIPTION:
            raise InvalidPackage(f"Cannot open {path}: it has more than {MAX_DESCRIPTION} bytes")
        described = yaml.safe_load(content)
    except OSError as error:
        raise InvalidPackage(f"Cannot open {path}: {(error.strerror or str(error)).lower()}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidPackage(f"Cannot open {path}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(described, dict):
        raise InvalidPackage(f"Cannot open {path}: it is no mapping")
    return described


def _yaml(folder: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise InvalidPackage(
            f"Cannot open {folder}: MLflow folders need pip install 'seamark-trainer[mlflow]'"
        ) from error
    return yaml


def _inside(folder: Path, name: object) -> Path:
    if not isinstance(name, str) or not name:
        raise InvalidPackage(f"Cannot open {folder}: its MLmodel names no model file")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidPackage(f"Cannot open {folder}: its MLmodel names {name[:100]!r}, which is outside of it")
    return path


def _types(described: Mapping[str, Any]) -> dict[str, str]:
    """Of a signature by columns; none for one of tensors, for types that are neither, or where it is broken."""
    try:
        columns = json.loads(described["signature"]["inputs"])
        return {str(column["name"]): _TYPES[column["type"]] for column in columns}
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
