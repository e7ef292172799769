"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from seamark_local import status

__all__ = ["Screen"]

PLAIN_INTERVAL = 10.0


class Screen:
    """Prints one line for each event and check; keeps a live table below them where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._waiting = Spinner("dots")
        self._shown = 0.0

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        self._console.print(f"[dim]{self._clock()}[/dim] {escape(text)}", style=style, highlight=False)

    def chapter(self, title: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{escape(title)}[/bold]", align="left")

    def event(self, event: dict[str, Any]) -> None:
        self._console.print(
            f"[dim]{self._clock()}[/dim] [bold cyan]{event['kind']:<18}[/bold cyan] {escape(event['message'])}",
            highlight=False,
        )

    def check(self, claim: str, passed: bool, detail: str) -> None:
        mark = "[bold green]✔[/bold green]" if passed else "[bold red]✖[/bold red]"
        suffix = f" [dim]({escape(detail)})[/dim]" if detail else ""
        self._console.print(f"[dim]{self._clock()}[/dim] {mark} {escape(claim)}{suffix}", highlight=False)

    def waiting(self, claim: str) -> None:
        self._waiting = Spinner("dots", text=Text(f" waiting until {claim}", style="dim"))

    def show(self, summary: dict[str, Any]) -> None:
        if not summary:
            return
        if self._live:
            self._live.update(Group(status.table([summary]), self._waiting))
        elif time.monotonic() - self._shown >= PLAIN_INTERVAL:
            self._shown = time.monotonic()
            self._console.print(status.table([summary]))

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes}:{seconds:02d}"
