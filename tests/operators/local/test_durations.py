"""Durations are shown as the manifest has them, in at most two units."""

from __future__ import annotations

import pytest

from seamark import durations, spec


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0.0, "0s", id="nothing"),
        pytest.param(0.25, "250ms", id="below a second"),
        pytest.param(59.9, "59s", id="cut off, not rounded up"),
        pytest.param(60.0, "1m", id="a whole unit alone"),
        pytest.param(5400.0, "1h30m", id="two units"),
        pytest.param(86_400.0 + 59.0, "1d", id="what is below the second unit is left out"),
        pytest.param(604_800.0, "7d", id="a week"),
    ],
)
def test_a_duration_is_shown_as_people_write_it(seconds: float, text: str) -> None:
    assert durations.text(seconds) == text
    assert spec.duration(text, "") <= seconds
