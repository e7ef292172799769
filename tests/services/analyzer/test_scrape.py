"""The direct source takes whole good answers only, in bounded time and memory."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Any

import pytest
import uvicorn

from seamark_analyzer import scrape
from seamark_analyzer.scrape import DirectSource
from seamark_analyzer.settings import LONGEST_TICK, Model, RevisionSource


def problem_of(url: str) -> str:
    async def run() -> str:
        source = DirectSource()
        revisions = {"m-1": RevisionSource("/p", targets=(url,))}
        model = Model(window=60, interval=1, deployment="m", champion="m-1", revisions=revisions)
        found = await source.refresh("m", model)
        await source.close()
        return found[url]

    return asyncio.run(run())


@pytest.fixture
def monitor(world: Any) -> Any:
    world.package("v1")
    return world.monitor("m-1")


def test_a_good_answer_is_no_problem(monitor: Any) -> None:
    assert problem_of(monitor.url) == ""


def test_another_status_is_named(monitor: Any) -> None:
    monitor.status = 503
    assert problem_of(monitor.url) == f"Cannot scrape {monitor.url}: it answered 503"


def test_a_body_over_the_limit_is_not_read_to_its_end(monitor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "BODY_LIMIT", 1000)
    assert problem_of(monitor.url) == f"Cannot scrape {monitor.url}: its body is longer than 1000 bytes"


def test_no_answer_in_time_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that lets connect and stays silent."""
    monkeypatch.setattr(scrape, "TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/metrics"
        assert re.fullmatch(f"Cannot scrape {url}: (TimeoutError|ReadTimeout)", problem_of(url))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/metrics", "http://[::bad/metrics", "http://x:99999999/"])
def test_an_unreachable_target_is_a_problem(url: str) -> None:
    assert problem_of(url).startswith(f"Cannot scrape {url}: ")


def test_no_connection_is_kept_for_as_long_as_a_monitor_keeps_it() -> None:
    """A scrape at the moment when the other side closes would be a gap in the counters."""
    monitors_limit = uvicorn.Config(lambda: None).timeout_keep_alive
    assert monitors_limit > scrape.KEPT_ALIVE
    assert monitors_limit >= LONGEST_TICK > scrape.KEPT_ALIVE


def test_forgotten_models_leave_nothing(monitor: Any) -> None:
    async def run() -> None:
        source = DirectSource()
        revisions = {"m-1": RevisionSource("/p", targets=(monitor.url,))}
        model = Model(window=60, interval=1, deployment="m", revisions=revisions)
        await source.refresh("m", model)
        assert len(source.texts()) == 1
        source.forget(set())
        assert source.texts() == {}
        assert (source._fleets, source._readers) == ({}, {})
        await source.close()

    asyncio.run(run())
