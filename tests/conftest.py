"""What holds for all tests."""

from __future__ import annotations

import pytest


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are no part of a test's name: those of an archive differ by the second, and workers must agree on names."""
    return argname if isinstance(val, bytes) else None
