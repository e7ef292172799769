"""What the operator serves beside alerts: the analyzer's config, health and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark_kubernetes.server import STUCK
from seamark_kubernetes.testing import FakeApi

Play = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture
def play(kit: SimpleNamespace) -> Play:
    def run(scene: Callable[[Any], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with kit.operator(FakeApi(), None) as operator:
                await scene(operator)

        asyncio.run(whole())

    return run


def test_the_watched_document_is_sent_once_and_then_only_when_it_changes(play: Play) -> None:
    async def scene(operator: Any) -> None:
        operator.content = {"models": {"team/churn": {"window": 3600.0}}}
        status, text, headers = await operator.get("/v1/watch")
        assert (status, json.loads(text)) == (200, operator.content)
        assert headers["Content-Type"] == "application/json"
        tag = headers["ETag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            assert (await operator.get("/v1/watch", **{"If-None-Match": known}))[:2] == (304, "")
        operator.content = {"models": {}}
        status, text, headers = await operator.get("/v1/watch", **{"If-None-Match": tag})
        assert (status, json.loads(text)) == (200, {"models": {}})
        assert headers["ETag"] != tag

    play(scene)


@pytest.mark.parametrize("odd", ["", "x", '"', "W/", '"a', "é"])
def test_a_tag_that_cannot_be_read_gets_the_document(play: Play, odd: str) -> None:
    async def scene(operator: Any) -> None:
        assert (await operator.get("/v1/watch", **{"If-None-Match": odd}))[0] == 200

    play(scene)


def test_the_operator_is_alive_until_it_has_been_stuck_for_too_long(play: Play) -> None:
    async def scene(operator: Any) -> None:
        operator.age = STUCK
        assert (await operator.get("/healthz"))[0] == 200
        operator.age = STUCK + 1
        status, text, _ = await operator.get("/healthz")
        assert status == 503
        assert json.loads(text) == {"error": "Cannot keep up: nothing was finished for 121 s; allowed: 120"}

    play(scene)


def test_it_is_ready_when_nothing_is_missing(play: Play) -> None:
    async def scene(operator: Any) -> None:
        assert (await operator.get("/readyz"))[0] == 200
        operator.unready = "Cannot decide yet: Pods are being read"
        status, text, _ = await operator.get("/readyz")
        assert (status, json.loads(text)) == (503, {"error": operator.unready})

    play(scene)


def test_metrics_are_prometheus_text(play: Play) -> None:
    async def scene(operator: Any) -> None:
        status, text, headers = await operator.get("/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "seamark_operator_alerts" in {family.name for family in text_string_to_metric_families(text)}

    play(scene)


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/v1/alerts", 405), ("/v1/watch/x", 404)])
def test_what_is_not_there_is_said_as_json(play: Play, path: str, status: int) -> None:
    async def scene(operator: Any) -> None:
        found, text, headers = await operator.get(path)
        assert found == status
        assert json.loads(text)["error"].startswith(f"Cannot GET '{path}': ")
        assert (headers.get("Allow") == "POST") == (status == 405)

    play(scene)


def test_an_error_of_our_own_shows_nothing_of_the_inside(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(operator: Any) -> None:
        operator.content = {"models": object()}
        status, text, _ = await operator.get("/v1/watch")
        answer = json.loads(text)
        assert (status, answer["error"]) == (500, "internal error")
        assert f"request={answer['request']}" in caplog.text
        assert "object" not in text

    with caplog.at_level(logging.ERROR, "seamark.operator"):
        play(scene)
