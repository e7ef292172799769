"""The platform under the demo: `seamark up` as a child, seen through its store and its gateway."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from seamark_local.store import Store

__all__ = ["Platform", "PlatformFailed"]


class PlatformFailed(Exception):  # noqa: N818 - names what happened
    """`seamark up` ended; the message is what it said."""


class Platform:
    """Starts `seamark up` for a manifest in `home`, and ends it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.host = "127.0.0.1"
        self.port = _free_port()
        self.events: list[dict[str, Any]] = []
        self._manifest = home / "scanner.yaml"
        self._log = home / "up.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._store: Store | None = None

    def start(self, document: Mapping[str, Any]) -> None:
        """Returns when the store is there; raises `PlatformFailed` when it does not come up."""
        self._write(document)
        command = ["up", "-f", str(self._manifest), "--home", str(self.home), "--port", str(self.port)]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(_seamark(*command), stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 30
        while not (self.home / "state.db").exists():
            self.check()
            if time.monotonic() > deadline:
                raise PlatformFailed("no state after 30 s")
            time.sleep(0.05)
        self._store = Store(self.home / "state.db")

    def apply(self, document: Mapping[str, Any]) -> None:
        self._write(document)
        done = subprocess.run(
            _seamark("apply", "-f", str(self._manifest), "--home", str(self.home)),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PlatformFailed(done.stderr.strip())

    def stop(self) -> None:
        if self._store:
            self._store.close()
        if self._child and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def check(self) -> None:
        """Raises `PlatformFailed` when `seamark up` has ended."""
        if self._child and self._child.poll() is not None:
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise PlatformFailed(said[-1] if said else f"seamark up ended with status {self._child.returncode}")

    def refresh(self) -> list[dict[str, Any]]:
        """The events that are new since the last call, oldest first."""
        assert self._store
        new = self._store.events(after=self.events[-1]["id"] if self.events else 0)
        self.events += new
        return new

    def summary(self, name: str) -> dict[str, Any]:
        assert self._store
        return self._store.summary(name)

    def evidence(self, name: str) -> dict[str, Any]:
        """The analyzer's evidence through the gateway; empty while there is none."""
        try:
            with urllib.request.urlopen(self._url(f"/v1/models/{name}/evidence"), timeout=2) as answer:  # noqa: S310 - loopback
                document = json.load(answer)
        except (OSError, ValueError, urllib.error.URLError):
            return {}
        return document if isinstance(document, dict) else {}

    def _url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"

    def _write(self, document: Mapping[str, Any]) -> None:
        self._manifest.write_text(yaml.safe_dump(dict(document), sort_keys=False))


def _seamark(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "seamark_local.cli", *arguments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
