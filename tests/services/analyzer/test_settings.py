"""The settings say which models to watch; a mistake is named by its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seamark.errors import InvalidSpec
from seamark_analyzer.settings import Budget, parse_settings

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
        (encode(revisions={"m-1": {}}), "$.models.m.revisions[...]", "`package` or `digest` is needed"),
        (
            encode(revisions={"m-1": {"digest": "0" * 63 + "G"}}),
            "$.models.m.revisions[...].digest",
            "matching regex",
        ),
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


def test_a_model_is_named_by_its_key_unless_it_says_otherwise() -> None:
    assert parse_settings(encode()).models["m"].identity == ("default", "m")
    content = json.dumps({"models": {"team/m": {**MODEL, "namespace": "team", "deployment": "m"}}}).encode()
    assert parse_settings(content).models["team/m"].identity == ("team", "m")


def test_deployments_of_one_name_in_two_namespaces_are_two() -> None:
    models = {f"{space}/m": {**MODEL, "namespace": space, "deployment": "m"} for space in ("a", "b")}
    settings = parse_settings(json.dumps({"models": models}).encode())
    assert [model.identity for model in settings.models.values()] == [("a", "m"), ("b", "m")]


def test_two_models_with_the_same_labels_are_refused() -> None:
    models = {"m": MODEL, "default/m": {**MODEL, "deployment": "m"}}
    with pytest.raises(InvalidSpec) as caught:
        parse_settings(json.dumps({"models": models}).encode())
    assert caught.value.path == "$.models.default/m"
    assert caught.value.problem == "is deployment 'm' in namespace 'default', as $.models.m is"


def test_a_package_is_named_by_folder_or_by_digest() -> None:
    by_digest = {"m-1": {"package": "", "digest": "0" * 64, "targets": []}}
    source = parse_settings(encode(revisions=by_digest)).models["m"].revisions["m-1"]
    assert (source.package, source.digest) == ("", "0" * 64)
