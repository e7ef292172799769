"""The Job's inputs are checked before any work, and a mistake names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamark.errors import UserError
from seamark_trainer.environment import Config, parse


def test_everything_is_read(environment: dict[str, str], tmp_path: Path) -> None:
    config = '{"candidates": ["forest"], "seed": 3, "minRows": 10, "maxRows": 100}'
    job = parse({**environment, "SEAMARK_CONFIG": config, "SEAMARK_OUTPUT": "file:///tmp/a%20b"})
    assert (job.name, job.namespace, job.deployment, job.since) == ("m-retrain-1", "default", "m", 1767268800.0)
    assert (job.data, job.output) == (str(tmp_path / "log"), Path("/tmp/a b"))
    assert job.config == Config(("forest",), 3, 10, 100)


@pytest.mark.parametrize("data", ["http://collector.seamark-system:8081", "https://c/logs/", "http://[::1]:8081"])
def test_the_log_may_be_a_collector_with_a_token_that_is_not_shown(environment: dict[str, str], data: str) -> None:
    job = parse({**environment, "SEAMARK_DATA": data, "SEAMARK_TOKEN": " read/default/m.0.secret\n"})
    assert (job.data, job.token) == (data, "read/default/m.0.secret")
    assert "secret" not in repr(job)
    assert parse(environment).token == ""


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "\u00e9", "x" * 4097])
def test_a_token_that_is_no_header_is_refused_and_not_shown(environment: dict[str, str], token: str) -> None:
    with pytest.raises(UserError, match="Cannot read SEAMARK_TOKEN") as caught:
        parse({**environment, "SEAMARK_TOKEN": token})
    assert token not in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_the_config_has_defaults(environment: dict[str, str], text: str | None) -> None:
    assert parse({**environment, **({} if text is None else {"SEAMARK_CONFIG": text})}).config == Config()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SEAMARK_JOB", "", "it is not set"),
        ("SEAMARK_JOB", "../x", "'../x' is not a name"),
        ("SEAMARK_JOB", ".x", "'.x' is not a name"),
        ("SEAMARK_NAMESPACE", "..", "'..' is not a name"),
        ("SEAMARK_DEPLOYMENT", "M", "'M' is not a name"),
        ("SEAMARK_DATA", "", "it is not set"),
        ("SEAMARK_DATA", "http://", "an http: address holds a host"),
        ("SEAMARK_DATA", "http://user:secret@host", "an http: address holds a host"),
        ("SEAMARK_DATA", "http://host:port", "an http: address holds a host"),
        ("SEAMARK_DATA", "http://host?a=b", "an http: address holds a host"),
        ("SEAMARK_DATA", "http://ho st", "an http: address holds a host"),
        ("SEAMARK_DATA_SINCE", "yesterday", "'yesterday' is not a time in Unix seconds"),
        ("SEAMARK_DATA_SINCE", "nan", "'nan' is not a time"),
        ("SEAMARK_DATA_SINCE", "-1", "'-1' is not a time"),
        ("SEAMARK_DATA_SINCE", "1e30", "'1e30' is not a time"),
        ("SEAMARK_CHAMPION_PACKAGE", "s3://bucket/x", "neither a path nor a file: address"),
        ("SEAMARK_OUTPUT", "file://host/x", "neither a path nor a file: address"),
        ("SEAMARK_CONFIG", "{", "Expecting property name"),
        ("SEAMARK_CONFIG", "[]", "it is not a JSON object"),
        ("SEAMARK_CONFIG", "[" * 100_000, "recursion"),
        ("SEAMARK_CONFIG", '{"candidate": 1}', "'candidate' is unknown; allowed: candidates, seed, minRows, maxRows"),
        ("SEAMARK_CONFIG", '{"candidates": "forest"}', "candidates is not a list"),
        ("SEAMARK_CONFIG", '{"candidates": [1]}', "candidates is not a list"),
        ("SEAMARK_CONFIG", '{"seed": -1}', "seed is -1, not a whole number from 0"),
        ("SEAMARK_CONFIG", '{"seed": true}', "seed is True, not a whole number"),
        ("SEAMARK_CONFIG", '{"minRows": 9}', "minRows is 9, not a whole number from 10"),
        ("SEAMARK_CONFIG", '{"maxRows": 99}', "maxRows is 99, not a whole number from 100"),
        ("SEAMARK_CONFIG", '{"maxRows": 5000001}', "maxRows is 5000001, not a whole number from 100 to 5000000"),
    ],
)
def test_a_mistake_names_the_variable(environment: dict[str, str], name: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse({**environment, name: value})
    assert str(caught.value).startswith(f"Cannot read {name}: ")
    assert message in str(caught.value)
