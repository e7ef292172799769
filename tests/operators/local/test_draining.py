"""A monitor that nothing needs runs on until the collector has all it has on disk, and ends then."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from seamark_local.draining import MOST, SETTLE, Draining
from seamark_local.home import Home, make_home
from seamark_local.store import Process

SEGMENT = "000000000001-0123456789abcdef.segment"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, home: Home) -> None:
        self.home = home
        self.clock = Clock()
        self.draining = Draining(home, self.clock)

    def spool(self, name: str, unsent: int) -> None:
        """100 bytes are on disk, of which `unsent` are not delivered."""
        folder = self.home.root / "spool" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SEGMENT).write_bytes(bytes(100))
        (folder / "cursor.json").write_text(json.dumps({"start": {"segment": 1, "offset": 100 - unsent}}))

    def unfinished(self, *names: str, running: Sequence[str] = ()) -> list[str]:
        monitors = [Process(name, ()) for name in names]
        return [monitor.name for monitor in self.draining.unfinished(monitors, running)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(make_home(tmp_path))


def test_a_monitor_with_unsent_predictions_runs_on_however_long(world: World) -> None:
    world.spool("m-1-0", unsent=1)
    for _ in range(5):
        assert world.unfinished("monitor-m-1-0") == ["monitor-m-1-0"]
        world.clock.now += 86400.0


def test_a_monitor_ends_when_its_spool_has_been_empty_for_a_while(world: World) -> None:
    world.spool("m-1-0", unsent=0)
    assert world.unfinished("monitor-m-1-0") == ["monitor-m-1-0"]
    world.clock.now += SETTLE - 0.1
    assert world.unfinished("monitor-m-1-0") == ["monitor-m-1-0"]
    world.spool("m-1-0", unsent=5)
    world.clock.now += 1
    assert world.unfinished("monitor-m-1-0") == ["monitor-m-1-0"]
    world.spool("m-1-0", unsent=0)
    assert world.unfinished("monitor-m-1-0") == ["monitor-m-1-0"]
    world.clock.now += SETTLE
    assert world.unfinished("monitor-m-1-0") == []


def test_a_monitor_outlives_its_predictor(world: World) -> None:
    world.spool("m-1-0", unsent=0)
    for _ in range(3):
        assert world.unfinished("monitor-m-1-0", running=["predictor-m-1-0"]) == ["monitor-m-1-0"]
        world.clock.now += SETTLE
    assert world.unfinished("monitor-m-1-0") == ["monitor-m-1-0"]
    world.clock.now += SETTLE
    assert world.unfinished("monitor-m-1-0") == []


def test_a_monitor_that_never_had_a_spool_ends_at_once(world: World) -> None:
    assert world.unfinished("monitor-m-1-0") == []


def test_a_spool_that_cannot_be_read_counts_as_unsent(world: World) -> None:
    (world.home.root / "spool").mkdir()
    (world.home.root / "spool" / "m-1-0").write_text("no folder")
    for _ in range(3):
        assert world.unfinished("monitor-m-1-0") == ["monitor-m-1-0"]
        world.clock.now += SETTLE


def test_only_so_many_wait_and_the_oldest_is_given_up_aloud(world: World, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"monitor-m-{number}-0" for number in range(MOST + 1)]
    for name in names[:-1]:
        world.spool(name.removeprefix("monitor-"), unsent=1)
    assert set(world.unfinished(*names[:-1])) == set(names[:-1])
    world.spool(names[-1].removeprefix("monitor-"), unsent=1)
    with caplog.at_level(logging.ERROR):
        assert set(world.unfinished(*names)) == set(names[1:])
    assert "draining_given_up process=monitor-m-0-0" in caplog.text
