"""What other libraries complain is told in one line."""

from __future__ import annotations

import pytest

from seamark.texts import first_line


@pytest.mark.parametrize(
    ("problem", "most", "line"),
    [
        ("one\ntwo", 300, "one"),
        ("\n  one  ", 300, "one"),
        ("abcdef", 3, "abc"),
        ("abcdef", None, "abcdef"),
        (" \n", 300, "silent"),
        (ValueError("bad"), 300, "bad"),
    ],
)
def test_a_complaint_is_its_first_line(problem: object, most: int | None, line: str) -> None:
    assert first_line(problem, "silent", most) == line
