"""The config file is taken up when it changes; a broken one keeps the last good one and is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seamark.errors import InvalidSpec
from seamark_analyzer.settings import Budget, ConfigFile, parse_settings

MODEL: dict[str, Any] = {
    "namespace": "default",
    "window": 3600,
    "interval": 300,
    "falseAlarms": {"count": 1, "seconds": 2592000},
    "minEffect": 0.1,
    "qualityMetric": "accuracy",
    "champion": "m-1",
    "challenger": None,
    "since": None,
    "revisions": {"m-1": {"package": "/p", "role": "champion", "targets": ["http://127.0.0.1:9101/metrics"]}},
}


def encode(**fields: Any) -> bytes:
    return json.dumps({"models": {"m": {**MODEL, **fields}}}).encode()


def write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


def test_the_documented_file_is_read_whole() -> None:
    model = parse_settings(encode()).models["m"]
    assert (model.window, model.interval, model.false_alarms) == (3600.0, 300.0, Budget(1, 2592000))
    assert (model.min_effect, model.champion, model.challenger, model.since) == (0.1, "m-1", None, None)
    assert model.revisions["m-1"].targets == ("http://127.0.0.1:9101/metrics",)


def test_fields_of_a_later_version_are_ignored() -> None:
    assert parse_settings(encode(unheardOf=1)).models["m"].champion == "m-1"


@pytest.mark.parametrize(
    ("content", "path", "problem"),
    [
        (b"", "$", "truncated"),
        (b"[]", "$", "Expected `object`"),
        (b'{"models": {"m": ' + b"[" * 100_000, "$", "ecursion"),
        (encode(window=0), "$.models.m.window", "> 0"),
        (encode(interval="5m"), "$.models.m.interval", "Expected `float`"),
        (encode(revisions={"m-1": {}}), "$.models.m.revisions[...]", "missing required field `package`"),
        (
            encode(revisions={"m-1": {"package": "/p", "targets": ["file:///etc/passwd"]}}),
            "$.models.m.revisions[...].targets[0]",
            "matching regex",
        ),
    ],
)
def test_a_mistake_is_named_by_its_path(content: bytes, path: str, problem: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_settings(content)
    assert caught.value.path == path
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("interval", "tick", "brief", "latest"),
    [(0.05, 0.2, 10.0, 10.0), (1.0, 1.0, 10.0, 10.0), (3.0, 3.0, 15.0, 15.0), (300.0, 5.0, 1500.0, 25.0)],
)
def test_periods_follow_from_the_interval(interval: float, tick: float, brief: float, latest: float) -> None:
    model = parse_settings(encode(interval=interval)).models["m"]
    assert (model.tick, model.brief, model.latest) == (tick, brief, latest)


def test_no_period_is_longer_than_the_window() -> None:
    model = parse_settings(encode(window=4, interval=2)).models["m"]
    assert (model.brief, model.latest) == (4, 4)


def test_a_file_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    file = ConfigFile(tmp_path / "analyzer.json")
    assert file.refresh() is None
    assert file.problem == f"Cannot read {tmp_path / 'analyzer.json'}: No such file or directory"
    write(tmp_path / "analyzer.json", encode())
    settings = file.refresh()
    assert settings is not None
    assert list(settings.models) == ["m"]
    assert file.problem == ""


def test_a_broken_file_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "analyzer.json"
    write(path, encode())
    file = ConfigFile(path)
    good = file.refresh()
    write(path, encode(window=-1))
    assert file.refresh() is good
    assert "window" in file.problem
    assert file.refresh() is good
    assert "window" in file.problem
    path.unlink()
    assert file.refresh() is good
    assert "No such file" in file.problem
    write(path, encode(window=10))
    settings = file.refresh()
    assert settings is not None
    assert settings.models["m"].window == 10
    assert file.problem == ""


def test_a_file_put_back_as_it_was_is_good_again(tmp_path: Path) -> None:
    path = tmp_path / "analyzer.json"
    write(path, encode())
    file = ConfigFile(path)
    file.refresh()
    path.rename(tmp_path / "aside")
    file.refresh()
    assert file.problem
    (tmp_path / "aside").rename(path)
    file.refresh()
    assert file.problem == ""
