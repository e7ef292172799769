"""A name for a model that was given none: made of its package's, its file's or its address's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["model_name"]

_LONGEST_MANIFEST = 16 * 2**20
_LONGEST = 63


def model_name(source: str) -> str:
    """Small letters, digits and hyphens. source: a path or an address as the predictor takes it."""
    return _slug(_package_name(source) or _last_part(source)) or "model"


def _package_name(source: str) -> str:
    path = Path(source.removeprefix("file://")) / "seamark.json"
    try:
        with path.open("rb") as file:
            name = json.loads(file.read(_LONGEST_MANIFEST)).get("name", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) else ""


def _last_part(source: str) -> str:
    """Of models:/NAME/3 and models:/NAME@alias the NAME; else the last part of the path, without what ends it."""
    if source.startswith("models:/"):
        return re.split(r"[/@]", source.removeprefix("models:/").lstrip("/"))[0]
    path = unquote(urlsplit(source).path) if "://" in source else str(Path(source).absolute())
    last = path.rstrip("/").rpartition("/")[2]
    return re.sub(r"\.(onnx|skops|joblib|pkl|pickle|tar|gz|tgz|zip)\b", "", last)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST].strip("-")
