"""Real HTTP servers on free ports, a clock that tests move, and the operator's own server on an API in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from seamark_kubernetes import inbox as inboxes
from seamark_kubernetes.api import CONFIG_MAP, Api
from seamark_kubernetes.inbox import NAME, Inbox, Key
from seamark_kubernetes.server import make_app, serve
from seamark_kubernetes.telemetry import Telemetry
from seamark_kubernetes.testing import FakeApi

TOKEN = "correct-horse"
LABELS = {"alertname": "SeamarkDrift", "namespace": "team", "deployment": "churn", "kind": "feature", "feature": "age"}


class Clock:
    """Seconds, moved by tests."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def alert(number: int = 1, **labels: str | None) -> dict[str, Any]:
    """As Alertmanager's webhook sends it; a label of None is left out."""
    kept = {name: value for name, value in {**LABELS, **labels}.items() if value is not None}
    return {
        "status": "firing",
        "labels": kept,
        "annotations": {},
        "startsAt": "2026-11-21T06:21:49.499Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": f"{number:016x}",
    }


def notification(*alerts: Any, **changes: Any) -> dict[str, Any]:
    head = {"receiver": "seamark", "status": "firing", "groupKey": '{}:{kind="feature"}', "version": "4"}
    return {**head, "truncatedAlerts": 0, "alerts": list(alerts), **changes}


@asynccontextmanager
async def site(app: web.Application) -> AsyncIterator[str]:
    """Serves the app; yields its address."""
    runner, port = await serve(app, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class Operator:
    """The server with all it needs. woken: deployments in the order in which they were woken."""

    def __init__(self, api: Api, inbox: Inbox, token_file: Path | None) -> None:
        self.api = api
        self.inbox = inbox
        self.telemetry = Telemetry()
        self.woken: list[Key] = []
        self.known: set[Key] = {("team", "churn")}
        self.content: Mapping[str, Any] = {"models": {}}
        self.age = 0.0
        self.unready = ""
        self.app = make_app(
            inbox=inbox,
            is_known=lambda key: key in self.known,
            wake=self.woken.append,
            watch=lambda: self.content,
            age=lambda: self.age,
            unready=lambda: self.unready,
            telemetry=self.telemetry,
            token_file=token_file,
        )
        self.address = ""
        self.client: aiohttp.ClientSession

    async def post(self, content: Any, token: str | None = TOKEN, **options: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a notification's answer; bytes are sent as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= options.pop("headers", {})
        async with self.client.post(f"{self.address}/v1/alerts", data=body, headers=headers, **options) as answer:
            self.headers = answer.headers
            return answer.status, await answer.json()

    async def get(self, path: str, **headers: str) -> tuple[int, str, Mapping[str, str]]:
        async with self.client.get(self.address + path, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers

    def counted(self, result: str) -> float:
        value = self.telemetry.registry.get_sample_value("seamark_operator_alerts_total", {"result": result})
        assert value is not None
        return value


@asynccontextmanager
async def operator(api: Api, token_file: Path | None) -> AsyncIterator[Operator]:
    inbox = Inbox(api, "seamark-system")
    await inbox.load()
    made = Operator(api, inbox, token_file)
    async with site(made.app) as made.address:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as made.client:
            yield made
    await inbox.close()


def change(path: Path, content: bytes | None) -> None:
    """Replace the file; None removes it."""
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def stored(api: FakeApi) -> dict[str, Any]:
    """The ConfigMap's entries; without one, none."""
    found = [document for document in api.all(CONFIG_MAP) if document["metadata"]["name"] == NAME]
    return {name: json.loads(text) for document in found for name, text in (document.get("data") or {}).items()}


@pytest.fixture
def kit() -> SimpleNamespace:
    return SimpleNamespace(
        Clock=Clock,
        change=change,
        alert=alert,
        notification=notification,
        site=site,
        operator=operator,
        stored=stored,
        token=TOKEN,
    )


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is gathered: for tests of many writes, one after the other."""
    monkeypatch.setattr(inboxes, "GATHER", 0.0)
