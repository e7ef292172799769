"""Prometheus's own tool, which checks what Prometheus will run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Promtool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Runs promtool; without one the tests fail."""
    named = os.environ.get("PROMTOOL")
    places = [named] if named else [str(ROOT / ".tools" / "promtool"), "promtool"]
    program = next(filter(None, map(shutil.which, places)), None)
    if program is None:
        pytest.fail(f"Cannot check rules: there is no {places[0]}; make test fetches it, or name one in PROMTOOL")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    return run
