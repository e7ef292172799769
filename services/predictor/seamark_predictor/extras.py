"""Libraries that only some models or sources need; the package's extras install them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from seamark.errors import InvalidPackage

__all__ = ["need"]


def need(module: str, extra: str, what: str) -> Any:
    """The module; `InvalidPackage` says which extra brings it. what: what needs it, as in `load model.ubj`."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InvalidPackage(
            f"Cannot {what}: {module} is not installed; pip install 'seamark-predictor[{extra}]'"
        ) from error
