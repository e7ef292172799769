"""The analyzer's evidence as the operator reads it: whatever goes wrong, it is None, and None holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiohttp import web

from seamark.evidence import Arm, Contract, Drift, Evidence, Latency, Pairs, Share, Violation
from seamark_kubernetes import evidence as module
from seamark_kubernetes.evidence import KEPT, Evidences

ARM = Arm("churn-1a2b3c4d", 1.0, 2.0, 100, 1, Latency((0.1, 1.0), (90, 9, 1)), Share(9, 10), None, 1.5, 0.2)
FULL = Evidence(
    time=2.0,
    champion=ARM,
    challenger=None,
    pairs=Pairs(Share(9, 10), 0.1, 1, 2, 3, 4),
    drift=(Drift("feature", "age", 1.5, 1.0, 500, 1.0, 0.3),),
    contract=Contract(500, 2, (Violation("age", "range", 2),)),
    labels_since_drift=3,
    labels_total=9,
)


class Analyzer:
    def __init__(self) -> None:
        self.body: bytes = msgspec.json.encode(FULL)
        self.status = 200
        self.paths: list[str] = []
        self.wait = 0.0

    def app(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            self.paths.append(request.path)
            await asyncio.sleep(self.wait)
            return web.Response(body=self.body, status=self.status, content_type="application/json")

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        return app


@asynccontextmanager
async def scene(kit: SimpleNamespace, analyzer: Analyzer) -> AsyncIterator[tuple[Evidences, Any]]:
    clock = kit.Clock()
    async with kit.site(analyzer.app()) as address:
        evidences = Evidences(address, clock)
        try:
            yield evidences, clock
        finally:
            await evidences.close()


def test_everything_the_analyzer_says_arrives(kit: SimpleNamespace) -> None:
    async def run() -> None:
        analyzer = Analyzer()
        async with scene(kit, analyzer) as (evidences, _):
            assert await evidences.get("team", "churn") == FULL
        assert analyzer.paths == ["/v1/models/team/churn/evidence"]

    asyncio.run(run())


def test_an_answer_good_or_bad_is_used_for_a_second(kit: SimpleNamespace) -> None:
    async def run() -> None:
        analyzer = Analyzer()
        async with scene(kit, analyzer) as (evidences, clock):
            await evidences.get("team", "churn")
            clock.now += KEPT - 0.01
            assert await evidences.get("team", "churn") == FULL
            assert len(analyzer.paths) == 1
            analyzer.status = 503
            clock.now += 0.01
            assert await evidences.get("team", "churn") is None
            analyzer.status = 200
            assert await evidences.get("team", "churn") is None
            clock.now += KEPT
            assert await evidences.get("team", "churn") == FULL
            assert len(analyzer.paths) == 3

    asyncio.run(run())


def test_deployments_are_kept_apart_and_old_answers_are_forgotten(kit: SimpleNamespace) -> None:
    async def run() -> None:
        analyzer = Analyzer()
        async with scene(kit, analyzer) as (evidences, clock):
            for number in range(20):
                await evidences.get("team", f"m{number}")
                clock.now += 0.1
            assert len(set(analyzer.paths)) == 20
            assert len(evidences._answers) <= 11

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"{}"),
        (500, b'{"time": 1.0}'),
        (302, b'{"time": 1.0}'),
        (200, b""),
        (200, b"<html>"),
        (200, b"null"),
        (200, b"{}"),
        (200, b'{"time": "now"}'),
        (200, b'{"time": 1.0, "champion": {"revision": "\xff"}}'),
        (200, b'{"time": 1.0, "drift": ' + b"[" * 100_000),
    ],
)
def test_an_answer_that_is_no_good_is_none(kit: SimpleNamespace, status: int, body: bytes) -> None:
    async def run() -> None:
        analyzer = Analyzer()
        analyzer.status, analyzer.body = status, body
        async with scene(kit, analyzer) as (evidences, _):
            assert await evidences.get("team", "churn") is None

    asyncio.run(run())


def test_what_a_later_analyzer_says_beside_is_passed_over(kit: SimpleNamespace) -> None:
    async def run() -> None:
        analyzer = Analyzer()
        analyzer.body = b'{"time": 1.0, "mood": {"good": true}}'
        async with scene(kit, analyzer) as (evidences, _):
            assert await evidences.get("team", "churn") == Evidence(time=1.0)

    asyncio.run(run())


def test_an_analyzer_that_hangs_or_talks_too_much_is_none(
    kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    monkeypatch.setattr(module, "LIMIT", 1000)

    async def run() -> None:
        analyzer = Analyzer()
        analyzer.body = b'{"time": 1.0' + b" " * 1000 + b"}"
        async with scene(kit, analyzer) as (evidences, clock):
            assert await evidences.get("team", "churn") is None
            analyzer.body, clock.now = b'{"time": 1.0}', clock.now + KEPT
            assert await evidences.get("team", "churn") == Evidence(time=1.0)
            analyzer.wait, clock.now = 0.5, clock.now + KEPT
            assert await evidences.get("team", "churn") is None

    asyncio.run(run())


def test_nobody_there_is_none(kit: SimpleNamespace) -> None:
    async def run() -> None:
        async with kit.site(web.Application()) as address:
            gone = Evidences(address)
        assert await gone.get("team", "churn") is None
        await gone.close()
        await gone.close()

    asyncio.run(run())
