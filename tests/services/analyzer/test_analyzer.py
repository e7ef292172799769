"""One model's trouble is its own, and nothing known is never shown as something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from seamark.errors import NotFound, Unavailable
from seamark_analyzer import analyzer as module
from seamark_analyzer.analyzer import Analyzer
from seamark_analyzer.history import Window
from seamark_analyzer.settings import Model


class Source:
    """Knows no counter; model `bad` provokes a bug, model `slow` never answers."""

    async def refresh(self, name: str, model: Model) -> Mapping[str, str]:
        if name == "bad":
            raise ZeroDivisionError("a bug")
        if name == "slow":
            await asyncio.sleep(60)
        return {}

    async def window(self, name: str, revision: str, start: float, end: float) -> Window:
        return Window()

    def forget(self, names: set[str]) -> None:
        pass

    def texts(self) -> Mapping[str, str]:
        return {}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    one = {"window": 60, "interval": 0.2, "champion": "m-1"}
    path = tmp_path / "analyzer.json"
    path.write_text(json.dumps({"models": {"bad": one, "slow": one, "good": one}}))
    return path


def run(analyzer: Analyzer) -> None:
    """Until the good model was evaluated twice."""

    def time_of_good() -> object:
        return next((model["time"] for model in analyzer.models() if model["name"] == "good"), None)

    async def limited() -> None:
        running = asyncio.create_task(analyzer.run())
        async with asyncio.timeout(20):
            times: set[object] = {None}
            while len(times) < 3:
                times.add(time_of_good())
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(limited())


def test_a_failing_and_a_stuck_model_leave_the_others_alone(
    config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    analyzer = Analyzer("data", config, Source())
    with caplog.at_level("INFO", "seamark.analyzer"):
        run(analyzer)
    evidence = analyzer.evidence("good")
    assert evidence.champion is not None
    assert (evidence.champion.revision, evidence.champion.requests, evidence.champion.p99) == ("m-1", 0, None)
    with pytest.raises(Unavailable, match="'slow': it was not evaluated yet"):
        analyzer.evidence("slow")
    with pytest.raises(NotFound, match="models watched are bad, good, slow"):
        analyzer.evidence("other")
    lines = [line for line in caplog.messages if "a bug" in line]
    assert len(lines) == 1
    assert "deployment=bad" in lines[0]
    assert "raised in test_analyzer.py:" in lines[0]
    assert analyzer.problem == ""
    monkeypatch.setattr(module, "STUCK_AFTER", 0.0)
    assert analyzer.problem.startswith("Cannot renew evidence of bad, slow, good")


def test_gauges_show_only_what_is_known(config: Path) -> None:
    analyzer = Analyzer("data", config, Source())
    run(analyzer)
    samples = [line for line in analyzer.metrics().splitlines() if not line.startswith("#")]
    assert samples == []
    assert analyzer.federate() == ""
