"""Watching outlives an outage, and a first look that fails is an error."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from seamark.errors import Unavailable
from seamark_local import looking


class Place:
    """Shows one of these after the other; an error is raised."""

    interval = 7.0

    def __init__(self, *looks: str | Exception) -> None:
        self._looks = iter(looks)

    def screen(self, name: str | None) -> str:
        look = next(self._looks)
        if isinstance(look, Exception):
            raise look
        return f"{name} {look}"


def watched(monkeypatch: pytest.MonkeyPatch, place: Any, *, terminal: bool) -> str:
    """What is printed until the looks are used up."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, height=10)
    slept: list[float] = []
    monkeypatch.setattr(looking, "console", lambda: console)
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(StopIteration):
        looking.watch(place, "churn")
    assert set(slept) == {7.0}
    return out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_each_look_is_shown(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    said = watched(monkeypatch, Place("is new", "is old"), terminal=terminal)
    assert said.index("churn is new") < said.index("churn is old")


@pytest.mark.parametrize("terminal", [True, False])
def test_an_outage_shows_the_last_look_and_since_when(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    place = Place("works", Unavailable("Cannot reach it"), "works again")
    said = watched(monkeypatch, place, terminal=terminal)
    assert "Cannot reach it; this is what was true at " in said
    assert said.rindex("churn works again") > said.index("Cannot reach it")
    assert said.index("churn works", said.index("Cannot reach it")) < said.rindex("churn works again")


def test_a_first_look_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "console", lambda: Console(file=io.StringIO()))
    with pytest.raises(Unavailable):
        looking.watch(Place(Unavailable("x")), None)


def test_a_mistake_found_while_watching_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "console", lambda: Console(file=io.StringIO()))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(LookupError):
        looking.watch(Place("works", LookupError("gone")), None)
