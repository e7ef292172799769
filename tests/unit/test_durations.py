"""Durations are shown as the manifest has them, in at most two units, and never longer than they are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark import durations, spec


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0.0, "0s", id="nothing"),
        pytest.param(0.001, "1ms", id="the shortest"),
        pytest.param(0.25, "250ms", id="below a second"),
        pytest.param(1.0, "1s", id="a second"),
        pytest.param(59.9, "59s", id="cut off, not rounded up"),
        pytest.param(60.0, "1m", id="a whole unit alone"),
        pytest.param(61.0, "1m1s", id="the two smallest units"),
        pytest.param(5400.0, "1h30m", id="two units"),
        pytest.param(3605.0, "1h", id="no unit is skipped to fill up to two"),
        pytest.param(86_399.0, "23h59m", id="what is below the second unit is cut off"),
        pytest.param(86_400.0 + 59.0, "1d", id="a second unit of zero is left out"),
        pytest.param(604_800.0, "7d", id="a week"),
    ],
)
def test_a_duration_is_shown_as_people_write_it(seconds: float, text: str) -> None:
    assert durations.text(seconds) == text
    assert spec.duration(text, "") <= seconds


@given(st.floats(1.0, 3650 * 86_400.0))
def test_what_is_shown_can_be_written_in_a_manifest_and_is_short_of_the_truth_by_less_than_its_last_unit(
    seconds: float,
) -> None:
    text = durations.text(seconds)
    units = re.findall(r"[dhms]", text)
    assert len(units) <= 2
    # A second unit of zero is left out: what is cut off is below the unit after the first one.
    last = {"d": "h", "h": "m", "m": "s", "s": "s"}[units[0]]
    assert 0 <= seconds - spec.duration(text, "") < spec.duration(f"1{last}", "")


@given(st.integers(1, 999))
def test_whole_milliseconds_are_shown_as_they_are(milliseconds: int) -> None:
    assert durations.text(milliseconds / 1000) == f"{milliseconds}ms"
