"""`seamark status`: shows a place once, or until Ctrl-C."""

from __future__ import annotations

import sys
import time
from typing import NoReturn

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from seamark.errors import Unavailable
from seamark_local.place import Place
from seamark_local.status import cropped

__all__ = ["console", "show", "watch"]


def console() -> Console:
    # Beyond a terminal there is no width to keep to; 100 is what the tables are made for.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=100)


def show(place: Place, name: str | None) -> None:
    console().print(place.screen(name))


def watch(place: Place, name: str | None) -> NoReturn:
    """Until interrupted. A place that cannot be reached for a while is shown as it was, and says so."""
    out = console()
    look = _Look(place, name)
    if not out.is_terminal:
        while True:
            out.print(look.screen())
            time.sleep(place.interval)
    with Live(cropped(look.screen()), console=out, auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(place.interval)
            live.update(cropped(look.screen()), refresh=True)


class _Look:
    """The newest look at a place. The first one must succeed."""

    def __init__(self, place: Place, name: str | None) -> None:
        self._place = place
        self._name = name
        self._last: tuple[RenderableType, str] | None = None

    def screen(self) -> RenderableType:
        try:
            found = self._place.screen(self._name)
        except Unavailable as error:
            if self._last is None:
                raise
            old, clock = self._last
            return Group(Text(f"{error}; this is what was true at {clock}", "yellow"), old)
        self._last = found, time.strftime("%H:%M:%S")
        return found
