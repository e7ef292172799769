"""Each core module's `__all__` holds all it defines without an underscore, so an underscore means no promise."""

from __future__ import annotations

import ast
import importlib
from importlib import resources
from pathlib import Path

import pytest

CORE = Path(str(resources.files("seamark")))
MODULES = sorted(path.stem for path in CORE.glob("[!_]*.py"))


def defined_names(source: str) -> set[str]:
    """Names of functions, classes and assignments at the top level of a module."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def names_from_the_core(source: str) -> set[str]:
    imports = (node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom))
    return {alias.name for node in imports if (node.module or "").startswith("seamark") for alias in node.names}


@pytest.mark.parametrize("module", MODULES)
def test_all_is_the_public_names(module: str) -> None:
    exported = importlib.import_module(f"seamark.{module}").__all__
    source = (CORE / f"{module}.py").read_text()
    public = {name for name in defined_names(source) if not name.startswith("_")}
    assert len(set(exported)) == len(exported)
    # A module may pass on another core module's name.
    assert public == set(exported) - names_from_the_core(source)


def test_the_core_is_typed() -> None:
    assert (CORE / "py.typed").is_file()
