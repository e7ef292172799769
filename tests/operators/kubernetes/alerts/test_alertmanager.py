"""What Alertmanager's API says counts: read seldom, bounded in time and size, and believed for a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from seamark.seen import Alerts
from seamark_kubernetes import alertmanager as module
from seamark_kubernetes.alertmanager import BELIEVED, PERIOD, AlertManager

NOW = 1_795_242_000.0  # 2026-11-21T06:20:00Z


@dataclass
class Server:
    """Answers as Alertmanager 0.25 does. requests: all that came. answer: what to say instead of the alerts."""

    alerts: list[Any] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    answer: Callable[[], Awaitable[web.StreamResponse]] | None = None

    def app(self) -> web.Application:
        async def alerts(request: web.Request) -> web.StreamResponse:
            self.requests.append(request)
            return await self.answer() if self.answer else web.json_response(self.alerts)

        app = web.Application()
        app.router.add_get("/prefix/api/v2/alerts", alerts)
        return app


def gettable(
    kit: SimpleNamespace, ends: str | None = "2026-11-21T06:24:00.000Z", **labels: str | None
) -> dict[str, Any]:
    """An alert as the API lists it."""
    made = kit.alert(**labels)
    status = {"inhibitedBy": [], "silencedBy": [], "state": "active"}
    changed = {"status": status, "receivers": [{"name": "seamark"}], "updatedAt": made["startsAt"], "endsAt": ends}
    return {name: value for name, value in {**made, **changed}.items() if value is not None}


@asynccontextmanager
async def scene(
    kit: SimpleNamespace, server: Server, token_file: Path | None = None, on_ignored: Any = None
) -> AsyncIterator[tuple[AlertManager, Any]]:
    """The reader in front of the server, and the clock that it goes by."""
    clock = kit.Clock()
    async with kit.site(server.app()) as address:
        reader = AlertManager(f"{address}/prefix/", token_file, on_ignored=on_ignored, clock=clock, now=kit.Clock(NOW))
        try:
            yield reader, clock
        finally:
            await reader.close()


def test_firing_alerts_are_told_by_deployment_kind_and_feature(kit: SimpleNamespace) -> None:
    async def run() -> None:
        server = Server(
            [
                gettable(kit),
                gettable(kit, feature="income"),
                gettable(kit, kind="concept", feature=None),  # Prometheus drops empty labels
                gettable(kit, kind="label", feature=""),
                gettable(kit, deployment="fraud"),
            ]
        )
        async with scene(kit, server) as (reader, _):
            churn = {("feature", "age"), ("feature", "income"), ("concept", ""), ("label", "")}
            assert await reader.alerts("team", "churn") == Alerts(frozenset(churn))
            assert await reader.alerts("team", "fraud") == Alerts(frozenset({("feature", "age")}))
            assert await reader.alerts("other", "churn") == Alerts(frozenset())

    asyncio.run(run())


def test_silenced_and_inhibited_alerts_are_not_asked_for(kit: SimpleNamespace) -> None:
    async def run() -> None:
        server = Server()
        async with scene(kit, server) as (reader, _):
            await reader.alerts("team", "churn")
        assert dict(server.requests[0].query) == {
            "active": "true",
            "silenced": "false",
            "inhibited": "false",
            "filter": 'alertname="SeamarkDrift"',
        }

    asyncio.run(run())


def test_alerts_without_their_labels_are_ignored_and_counted(
    kit: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        ignored: list[int] = []
        bad = [gettable(kit, namespace=None), gettable(kit, deployment=""), gettable(kit, kind=None)]
        server = Server([*bad, gettable(kit), gettable(kit, alertname="Other", kind=None)])
        async with scene(kit, server, on_ignored=ignored.append) as (reader, clock):
            assert await reader.alerts("team", "churn") == Alerts(frozenset({("feature", "age")}))
            clock.now += PERIOD
            await reader.alerts("team", "churn")
            server.alerts, clock.now = [], clock.now + PERIOD
            await reader.alerts("team", "churn")
        assert ignored == [3, 3, 0]

    with caplog.at_level(logging.WARNING, "seamark.operator"):
        asyncio.run(run())
    assert caplog.text.count("event=alerts_ignored count=3") == 1


@pytest.mark.parametrize(
    ("ends", "fires"),
    [
        ("2026-11-21T06:20:00Z", False),
        ("2026-11-21T06:19:59.999999999Z", False),
        ("2026-11-21T06:20:00.001Z", True),
        ("2026-11-21T07:20:00.001+01:00", True),
        (None, True),
    ],
)
def test_an_alert_that_has_ended_does_not_fire(kit: SimpleNamespace, ends: str | None, fires: bool) -> None:
    async def run() -> None:
        async with scene(kit, Server([gettable(kit, ends)])) as (reader, _):
            assert bool((await reader.alerts("team", "churn")).firing) == fires

    asyncio.run(run())


def test_one_question_serves_everybody_for_two_seconds(kit: SimpleNamespace) -> None:
    async def run() -> None:
        server = Server([gettable(kit)])
        async with scene(kit, server) as (reader, clock):
            answers = await asyncio.gather(*(reader.alerts("team", "churn") for _ in range(100)))
            assert set(answers) == {Alerts(frozenset({("feature", "age")}))}
            clock.now += PERIOD - 0.01
            await reader.alerts("team", "fraud")
            assert len(server.requests) == 1
            clock.now += 0.01
            await reader.alerts("team", "fraud")
            assert len(server.requests) == 2

    asyncio.run(run())


def test_an_answer_is_believed_for_a_minute_and_then_nothing_is_known(kit: SimpleNamespace) -> None:
    async def run() -> None:
        async def broken() -> web.StreamResponse:
            return web.Response(status=503)

        server = Server([gettable(kit)])
        async with scene(kit, server) as (reader, clock):
            assert (await reader.alerts("team", "churn")).firing
            server.answer = broken
            clock.now += BELIEVED
            assert (await reader.alerts("team", "churn")).firing
            clock.now += 0.1
            assert await reader.alerts("team", "churn") == Alerts(None)
            assert await reader.alerts("team", "fraud") == Alerts(None)
            server.answer, clock.now = None, clock.now + PERIOD
            assert (await reader.alerts("team", "churn")).firing

    asyncio.run(run())


def test_a_restarted_alertmanager_that_knows_of_nothing_ends_the_alert(kit: SimpleNamespace) -> None:
    """That it is over is never told then: it must be seen."""

    async def run() -> None:
        server = Server([gettable(kit)])
        async with scene(kit, server) as (reader, clock):
            assert (await reader.alerts("team", "churn")).firing
            server.alerts, clock.now = [], clock.now + PERIOD
            assert await reader.alerts("team", "churn") == Alerts(frozenset())

    asyncio.run(run())


def text(body: bytes | str, status: int = 200) -> Callable[[], Awaitable[web.StreamResponse]]:
    async def answer() -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type="application/json")

    return answer


async def redirect() -> web.StreamResponse:
    raise web.HTTPFound("/prefix/api/v2/alerts")


BAD = {
    "an error": text('"no"', 500),
    "not allowed": text("", 401),
    "no content": text("", 204),
    "no JSON": text("<html>"),
    "cut off": text("["),
    "a map": text("{}"),
    "no labels": text("[{}]"),
    "labels of another kind": text('[{"labels": {"a": 1}}]'),
    "a time without zone": text('[{"labels": {}, "endsAt": "2026-11-21T06:20:00"}]'),
    "invalid UTF-8": text(b'[{"labels": {"a": "\xff"}}]'),
    "nested too deep": text("[" * 100_000),
    "another address": redirect,
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_an_answer_that_is_no_good_is_no_answer(
    kit: SimpleNamespace, answer: Callable[[], Awaitable[web.StreamResponse]]
) -> None:
    async def run() -> None:
        async with scene(kit, Server(answer=answer)) as (reader, _):
            assert await reader.alerts("team", "churn") == Alerts(None)
            assert await reader.refresh() == float("-inf")

    asyncio.run(run())


def test_an_endless_answer_is_not_read_to_its_end(kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 100_000)

    async def run() -> None:
        server = Server([gettable(kit, feature="x" * 40_000)])
        async with scene(kit, server) as (reader, clock):
            assert (await reader.alerts("team", "churn")).firing
            server.alerts, clock.now = [gettable(kit, feature="x" * 110_000)], clock.now + BELIEVED + 1
            assert await reader.alerts("team", "churn") == Alerts(None)

    asyncio.run(run())


def test_nobody_there_is_told_once_and_its_return_once(kit: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        server = Server(answer=text("", 503))
        async with scene(kit, server) as (reader, clock):
            for _ in range(3):
                await reader.alerts("team", "churn")
                clock.now += PERIOD
            server.answer = None
            await reader.alerts("team", "churn")

    with caplog.at_level(logging.WARNING, "seamark.operator"):
        asyncio.run(run())
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "api/v2/alerts: status 503" in lines[0]
    assert lines[1] == "event=alertmanager problem=''"


def test_a_turn_does_not_wait_for_an_alertmanager_that_hangs(
    kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def run() -> None:
        go = asyncio.Event()

        async def hang() -> web.StreamResponse:
            await go.wait()
            return web.json_response([gettable(kit)])

        server = Server(answer=hang)
        async with scene(kit, server) as (reader, clock):
            assert await reader.alerts("team", "churn") == Alerts(None)
            clock.now += PERIOD
            assert await reader.alerts("team", "churn") == Alerts(None)
            assert len(server.requests) == 1  # it is not asked again while it is being asked
            go.set()
            clock.now += 100
            async with asyncio.timeout(5):
                while not (await reader.alerts("team", "churn")).firing:
                    pass

    asyncio.run(run())


def test_a_turn_that_is_ended_ends_no_question_of_others(kit: SimpleNamespace) -> None:
    async def run() -> None:
        go = asyncio.Event()

        async def hold() -> web.StreamResponse:
            await go.wait()
            return web.json_response([gettable(kit)])

        async with scene(kit, Server(answer=hold)) as (reader, _):
            first, second = (asyncio.create_task(reader.alerts("team", "churn")) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            go.set()
            assert (await second).firing

    asyncio.run(run())


def test_the_token_is_read_again_when_it_changes(kit: SimpleNamespace, token_file: Path) -> None:
    async def run() -> None:
        server = Server([gettable(kit)])
        async with scene(kit, server, token_file) as (reader, clock):
            await reader.alerts("team", "churn")
            kit.change(token_file, b"new")
            clock.now += PERIOD
            await reader.alerts("team", "churn")
            kit.change(token_file, None)
            clock.now += BELIEVED + 1
            assert await reader.alerts("team", "churn") == Alerts(None)
        assert [request.headers["Authorization"] for request in server.requests] == [
            f"Bearer {kit.token}",
            "Bearer new",
        ]

    asyncio.run(run())


def test_without_a_token_none_is_sent_and_no_proxy_of_the_environment_is_used(
    kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def run() -> None:
        server = Server([gettable(kit)])
        async with scene(kit, server) as (reader, _):
            assert (await reader.alerts("team", "churn")).firing
        assert "Authorization" not in server.requests[0].headers

    asyncio.run(run())


def test_refresh_tells_what_the_newest_answer_can_know(kit: SimpleNamespace) -> None:
    async def run() -> None:
        async with scene(kit, Server()) as (reader, clock):
            assert await reader.refresh() == 1000.0
            clock.now += PERIOD / 2
            assert await reader.refresh() == 1000.0
            clock.now += PERIOD
            assert await reader.refresh() == 1003.0

    asyncio.run(run())


def test_closing_ends_a_question_under_way(kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)

    async def run() -> None:
        over = asyncio.Event()

        async def hang() -> web.StreamResponse:
            await over.wait()
            return web.Response()

        async with scene(kit, Server(answer=hang)) as (reader, _):
            await reader.alerts("team", "churn")
            async with asyncio.timeout(2):
                await reader.close()
            over.set()

    asyncio.run(run())
