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
from seamark_analyzer.config import ConfigFile
from seamark_analyzer.history import Window
from seamark_analyzer.packages import Packages
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
    analyzer = Analyzer("data", ConfigFile(config), Source(), Packages())
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
    analyzer = Analyzer("data", ConfigFile(config), Source(), Packages())
    run(analyzer)
    samples = [line for line in analyzer.metrics().splitlines() if not line.startswith("#")]
    assert samples == []
    assert analyzer.federate() == ""


def watching(config: Path) -> Analyzer:
    analyzer = Analyzer("data", ConfigFile(config), Source(), Packages())
    run(analyzer)
    return analyzer


def test_evidence_that_is_renewed_no_longer_loses_its_gauges(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old numbers must not look like new ones; the evidence itself tells its time."""
    text = config.read_text().replace('"champion"', '"revisions": {"m-1": {"package": "/p"}}, "champion"')
    config.write_text(text)
    analyzer = watching(config)
    known = analyzer._known()
    assert [name for name, (_, evidence) in known.items() if evidence is not None] == ["good"]
    monkeypatch.setattr(module, "STUCK_AFTER", 0.0)
    assert [evidence for _, evidence in analyzer._known().values()] == [None] * 3
    assert analyzer.metrics().count("seamark_revision_info{") == 3
    assert analyzer.evidence("good").champion is not None


def test_a_key_that_names_another_deployment_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "analyzer.json"

    def configure(**fields: str) -> None:
        one = {"window": 60, "interval": 0.2, "champion": "m-1", **fields}
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"models": {"good": one}}))
        new.rename(path)

    async def changes() -> None:
        running = asyncio.create_task(analyzer.run())
        async with asyncio.timeout(20):
            for fields in ({}, {"namespace": "b"}, {"namespace": "b", "deployment": "other"}):
                configure(**fields)
                wanted = {"namespace": "default", "deployment": "good", **fields}
                # The analyzer has no event to wait for: it answers when asked.
                while not any(wanted.items() <= model.items() for model in analyzer.models()):  # noqa: ASYNC110  # see above
                    await asyncio.sleep(0.01)
                watches.append(analyzer._watched["good"].watch)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    watches: list[object] = []
    analyzer = Analyzer("data", ConfigFile(path), Source(), Packages())
    asyncio.run(changes())
    assert len({id(watch) for watch in watches}) == 3


def test_a_message_names_a_bounded_number_of_models(tmp_path: Path) -> None:
    path = tmp_path / "analyzer.json"
    models = {f"m{i:03}": {"window": 60, "interval": 1} for i in range(module.MOST_NAMED + 5)}
    path.write_text(json.dumps({"models": {**models, "good": {"window": 60, "interval": 0.2}}}))
    analyzer = watching(path)
    with pytest.raises(NotFound, match=r"m017, m018 and 6 more$"):
        analyzer.evidence("other")
