"""A hint is done when a turn has used an Alertmanager answer that is newer than it, and not before."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from seamark.errors import Unavailable
from seamark_kubernetes.alertmanager import PERIOD, AlertManager
from seamark_kubernetes.hinted import hinted
from seamark_kubernetes.inbox import Inbox
from seamark_kubernetes.testing import FakeApi

CHURN = ("team", "churn")


class Turns:
    def __init__(self, wait: float | None = 60.0) -> None:
        self.wait = wait
        self.taken = 0

    async def turn(self, key: tuple[str, str]) -> float | None:
        self.taken += 1
        return self.wait


def alertmanager(status: list[int]) -> web.Application:
    async def alerts(_: web.Request) -> web.Response:
        return web.json_response([], status=status[-1])

    app = web.Application()
    app.router.add_get("/api/v2/alerts", alerts)
    return app


@pytest.mark.parametrize("is_used", [True, False])
def test_a_turn_after_the_hint_settles_it(kit: SimpleNamespace, is_used: bool) -> None:
    async def run() -> None:
        api, turns = FakeApi(), Turns()
        inbox = Inbox(api, "seamark-system")
        async with kit.site(alertmanager([200])) as address:
            reader = AlertManager(address)
            take = hinted(turns.turn, inbox, reader if is_used else None)
            await inbox.put([(CHURN, "a1")])
            assert await take(CHURN) == 60.0
            assert inbox.pending() == set()
            assert turns.taken == 1
            await reader.close()
        await inbox.close()
        assert kit.stored(api) == {}

    asyncio.run(run())


def test_an_answer_from_before_the_hint_does_not_settle_it(kit: SimpleNamespace) -> None:
    async def run() -> None:
        clock = kit.Clock()
        inbox = Inbox(FakeApi(), "seamark-system", clock=clock)
        async with kit.site(alertmanager([200])) as address:
            reader = AlertManager(address, clock=clock)
            take = hinted(Turns().turn, inbox, reader)
            await reader.refresh()
            clock.now += 0.5
            await inbox.put([(CHURN, "a1")])
            assert await take(CHURN) == PERIOD
            assert inbox.pending() == {CHURN}
            clock.now += PERIOD
            assert await take(CHURN) == 60.0
            assert inbox.pending() == set()
            await reader.close()

    asyncio.run(run())


def test_a_hint_waits_for_an_alertmanager_that_does_not_answer(kit: SimpleNamespace) -> None:
    async def run() -> None:
        clock, status = kit.Clock(), [503]
        inbox = Inbox(FakeApi(), "seamark-system", clock=clock)
        await inbox.put([(CHURN, "a1")])
        async with kit.site(alertmanager(status)) as address:
            reader = AlertManager(address, clock=clock)
            assert await hinted(Turns().turn, inbox, reader)(CHURN) == PERIOD
            assert await hinted(Turns(0.2).turn, inbox, reader)(CHURN) == 0.2
            assert inbox.pending() == {CHURN}
            status.append(200)
            clock.now += PERIOD
            assert await hinted(Turns().turn, inbox, reader)(CHURN) == 60.0
            await reader.close()

    asyncio.run(run())


def test_a_hint_that_comes_during_the_turn_stays(kit: SimpleNamespace) -> None:
    async def run() -> None:
        inbox = Inbox(FakeApi(), "seamark-system")
        await inbox.put([(CHURN, "a1")])

        async def turn(_: Any) -> float:
            await inbox.put([(CHURN, "a1")])
            return 60.0

        before = time.monotonic()
        assert await hinted(turn, inbox, None)(CHURN) == PERIOD
        assert inbox.pending() == {CHURN}
        assert time.monotonic() >= before

    asyncio.run(run())


def test_a_turn_that_fails_settles_nothing() -> None:
    async def run() -> None:
        inbox = Inbox(FakeApi(), "seamark-system")
        await inbox.put([(CHURN, "a1")])

        async def turn(_: Any) -> float:
            raise Unavailable("away")

        with pytest.raises(Unavailable):
            await hinted(turn, inbox, None)(CHURN)
        assert inbox.pending() == {CHURN}

    asyncio.run(run())


def test_a_deleted_deployment_s_hint_is_forgotten() -> None:
    async def run() -> None:
        inbox = Inbox(FakeApi(), "seamark-system")
        await inbox.put([(CHURN, "a1")])
        assert await hinted(Turns(None).turn, inbox, None)(CHURN) is None
        assert inbox.pending() == set()

    asyncio.run(run())


def test_without_a_hint_a_turn_is_only_a_turn(kit: SimpleNamespace) -> None:
    async def run() -> None:
        turns, inbox = Turns(5.0), Inbox(FakeApi(), "seamark-system")
        reader = AlertManager("http://127.0.0.1:1")
        assert await hinted(turns.turn, inbox, reader)(CHURN) == 5.0
        assert turns.taken == 1

    asyncio.run(run())
