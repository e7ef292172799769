"""The layers of docs/architecture.md hold: the core imports nobody, services never import each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def test_import_contracts_are_kept() -> None:
    done = subprocess.run([BIN / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "line", ["import time", "import os", "from datetime import datetime\ndatetime.now()", "import random"]
)
def test_the_core_may_not_look_at_a_clock_or_a_file(line: str) -> None:
    command = [BIN / "ruff", "check", "--select", "TID251", "--stdin-filename", ROOT / "src/seamark/decide.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=f"{line}\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "the core" in done.stdout


def test_importing_the_core_imports_no_third_party_but_numpy_and_scipy() -> None:
    code = (
        "import sys, pkgutil, importlib, seamark\n"
        "[importlib.import_module(f'seamark.{m.name}') for m in pkgutil.iter_modules(seamark.__path__)]\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    third_party = set(done.stdout.split()) & {"msgspec", "httpx", "fastapi", "starlette", "sklearn", "pyarrow", "yaml"}
    assert third_party == set()
