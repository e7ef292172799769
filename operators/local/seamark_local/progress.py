"""What `seamark up` says while it runs: a line for each thing that happens, and how to call a model once it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from seamark_local import probe, status
from seamark_local.example import curl_lines
from seamark_local.home import Home
from seamark_local.ports import LOOPBACK
from seamark_local.store import Store

__all__ = ["Progress", "event_line"]

INTERVAL = 0.5
#: Hosts to listen on that are not addresses to call.
ANY = {"0.0.0.0": LOOPBACK, "::": LOOPBACK, "": LOOPBACK}


def event_line(event: dict[str, Any]) -> str:
    """As `12:03:04 Promoted         churn-1a2b3c4d  all gates hold`."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    return f"{clock} {event['kind']:<18} {event['revision'] or event['name']}  {event['message']}"


class Progress:
    """Follows the store from now on and prints what is new."""

    def __init__(self, console: Console, store: Store, home: Home, host: str, port: int) -> None:
        self._console = console
        self._store = store
        self._home = home
        self._host = ANY.get(host, host)
        self._port = port
        self._last_event = max((event["id"] for event in store.events()), default=0)
        self._problems: dict[str, str] = {}
        self._introduced: set[str] = set()

    def say(self, text: str, style: str = "") -> None:
        self._console.print(escape(text), style=style, highlight=False, soft_wrap=True)

    async def follow(self) -> None:
        """Until cancelled, or until nobody reads the output any more."""
        try:
            while True:
                self._say_events()
                self._say_problems()
                await self._introduce()
                await asyncio.sleep(INTERVAL)
        except OSError:
            return

    def _say_events(self) -> None:
        for event in self._store.events(after=self._last_event):
            self._last_event = event["id"]
            self.say(event_line(event))

    def _say_problems(self) -> None:
        """Each problem once, until it is another one or is over."""
        problems = {trouble.name: trouble.message for trouble in status.troubles(self._store.statuses())}
        for name, message in problems.items():
            if self._problems.get(name) != message:
                self.say(f"{time.strftime('%H:%M:%S')} {'Problem':<18} {name}: {message}", style="yellow")
        self._problems = problems

    async def _introduce(self) -> None:
        """How to call each deployment, once, as soon as it has a champion that answers through the gateway."""
        for manifest in self._store.manifests():
            package = None if manifest.name in self._introduced else self._package(manifest.name)
            if package is None:
                continue
            answer = await probe.ask(self._port, f"/v1/models/{manifest.name}", host=self._host)
            if answer and answer.ready:
                self._say_events()  # it may have become the champion since they were last said
                self._introduced.add(manifest.name)
                self._say_ready(manifest.name, package)

    def _say_ready(self, name: str, package: Path) -> None:
        self.say(f"{time.strftime('%H:%M:%S')} {'Ready':<18} {name}; try:", style="bold green")
        lines: Sequence[str] = curl_lines(self._home, name, package, self._url)
        for line in lines:
            self.say(f"  {line}")

    @property
    def _url(self) -> str:
        return f"http://[{self._host}]:{self._port}" if ":" in self._host else f"http://{self._host}:{self._port}"

    def _package(self, name: str) -> Path | None:
        """The champion's package as it is kept, whatever became of the folder it came from; None before there is one.

        The gateway answers before the operator has written down who the champion is.
        """
        state = self._store.state(name)
        champion = state.revision(state.champion) if state else None
        return self._home.packages / champion.digest if champion else None
