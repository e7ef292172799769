"""The serving benchmark's pure parts, importable from the root of the repository; no server is installed or started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.serving.figures import Measurement, parse_key


@pytest.fixture
def measured() -> Callable[..., Measurement]:
    """A measurement of `key` in `round`: 1,000 requests in a second, but for what is given."""

    def make(key: str, number: int = 1, **given: Any) -> Measurement:
        values: dict[str, Any] = {
            "requests": 1000,
            "seconds": 1.0,
            "p50": 0.001,
            "p99": 0.002,
            "cpu": 0.5,
            "sidecar_cpu": 0.0,
            "foreign": 0.0,
            "memory": 80_000_000,
            "sidecar_memory": 0,
            "start": 0.5,
            "busy": 0.3,
            "watched": None,
        }
        return Measurement(key=parse_key(key), round=number, **{**values, **given})

    return make
