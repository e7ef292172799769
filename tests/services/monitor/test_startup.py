"""Mistakes a user can mend: one line on standard error, exit status 2, nothing left running."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seamark.contract import Rule, to_document
from seamark.errors import Conflict, InvalidPackage, UserError
from seamark_monitor.service import run
from seamark_monitor.settings import parse
from seamark_monitor.watched import load


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def other_features(folder: Path) -> None:
    change(folder / "seamark.json", features=[{"name": "height", "type": "number"}])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda folder: (folder / "seamark.json").unlink(), "No such file"),
    "no profile": (lambda folder: (folder / "profile.json").unlink(), "No such file"),
    "a manifest that is no JSON": (
        lambda folder: (folder / "seamark.json").write_text("{"),
        "Cannot read seamark.json",
    ),
    "a profile that was changed": (lambda folder: (folder / "profile.json").write_text("{}"), "its SHA-256 is"),
    "a profile of other features": (other_features, "for feature 'height', a number, it has none"),
    "a profile of other outputs": (
        lambda folder: change(folder / "seamark.json", task="regression", classes=[]),
        "its outputs are",
    ),
    "a contract that is no JSON": (lambda folder: (folder / "contract.json").write_text("["), "contract.json"),
    "a contract of another schema": (
        lambda folder: (folder / "contract.json").write_text(json.dumps(to_document([Rule("height", "missing")]))),
        "no feature 'height'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_package_that_cannot_be_used_says_why(package: Path, case: str) -> None:
    spoil, reason = BROKEN[case]
    spoil(package)
    with pytest.raises(InvalidPackage) as error:
        load(package)
    assert reason in str(error.value)


def test_a_contract_in_the_package_replaces_the_inferred_one(package: Path) -> None:
    inferred = load(package).rules
    rules = (Rule("age", "range", 0.0, 10.0),)
    (package / "contract.json").write_text(json.dumps(to_document(rules)))
    assert load(package).rules == rules
    assert {(rule.feature, rule.rule) for rule in inferred} > {("age", "range"), ("age", "missing")}


def arguments(folder: Path, **changed: str) -> list[str]:
    named = {
        "package": str(folder / "package"),
        "deployment": "churn",
        "revision": "churn-1",
        "source": "s",
        "socket": str(folder / "m.sock"),
        "collector": "http://127.0.0.1:9",
        "spool": str(folder / "spool"),
        "port": "0",
    } | changed
    return [part for name, value in named.items() for part in (f"--{name.replace('_', '-')}", value)]


def test_the_host_names_the_source_by_default(package: Path) -> None:
    given = arguments(package.parent)
    index = given.index("--source")
    assert parse([*given[:index], *given[index + 2 :]]).source == socket.gethostname()


@pytest.mark.parametrize(("text", "token"), [(None, ""), ("", ""), (" a.0.b\n", "a.0.b")])
def test_the_token_comes_from_the_environment_and_is_not_shown(package: Path, text: str | None, token: str) -> None:
    settings = parse(arguments(package.parent), {} if text is None else {"SEAMARK_TOKEN": text})
    assert settings.token == token
    assert "a.0.b" not in repr(settings)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "\u00e9", "x" * 4097])
def test_a_token_that_is_no_header_is_refused_and_not_shown(package: Path, token: str) -> None:
    with pytest.raises(UserError, match="Cannot use SEAMARK_TOKEN") as error:
        parse(arguments(package.parent), {"SEAMARK_TOKEN": token})
    assert token not in str(error.value)


def test_the_bytes_that_were_verified_are_kept(package: Path) -> None:
    names = {"seamark.json", "profile.json"}
    assert load(package).files == {name: (package / name).read_bytes() for name in names}
    (package / "contract.json").write_text(json.dumps(to_document([Rule("age", "missing")])))
    assert set(load(package).files) == {*names, "contract.json"}


def test_a_package_that_does_not_appear_in_time_is_said(package: Path) -> None:
    (package / "profile.json").unlink()
    with pytest.raises(UserError) as error:
        run(parse(arguments(package.parent, wait="0.05")))
    assert str(error.value) == f"Cannot read {package}/profile.json: it did not appear within 0.05 seconds"


def test_a_package_that_is_there_and_wrong_is_not_waited_for(package: Path) -> None:
    (package / "profile.json").write_text("{}")
    with pytest.raises(InvalidPackage, match="its SHA-256 is"):
        run(parse(arguments(package.parent, wait="3600")))


def test_a_taken_port_is_one_line_and_status_2(package: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "seamark_monitor", *arguments(package.parent, port=str(port))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (2, f"Cannot listen on 127.0.0.1:{port}: Address already in use\n")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"package": "/nowhere"}, "Cannot read /nowhere/seamark.json: No such file or directory"),
        ({"spool_limit": "65535"}, "Cannot use --spool-limit: 65535 bytes are less than the smallest, 65536"),
        ({"source": ""}, "Cannot use --source: it has 0 characters; 1 to 200 are allowed"),
        ({"collector": "ftp://x"}, "Cannot use --collector: 'ftp://x' does not begin with http:// or https://"),
        ({"spool": "/dev/null/spool"}, "Cannot use spool /dev/null/spool: Not a directory"),
        ({"wait": "-1"}, "Cannot use --wait: -1 is not between 0 and 86400 seconds"),
        ({"last_delivery": "3601"}, "Cannot use --last-delivery: 3601 is not between 0 and 3600 seconds"),
        ({"last_delivery": "nan"}, "Cannot use --last-delivery: nan is not between"),
        ({"port": "70000"}, "Cannot listen on port 70000: a port is between 0 and 65535"),
        ({"host": "no such host"}, "Cannot listen on no such host:0: "),
    ],
    ids=["package", "spool limit", "source", "collector", "spool", "wait", "delivery", "no number", "port", "host"],
)
def test_a_wrong_setting_says_why(package: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        run(parse(arguments(package.parent, **changed)))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda path: path.write_text("precious"), "there is a file that is no socket"),
        (lambda path: path.mkdir(), "there is a file that is no socket"),
    ],
    ids=["file", "folder"],
)
def test_a_file_where_the_socket_should_be_is_left_alone(
    package: Path, tmp_path: Path, spoil: Callable[[Path], object], cause: str
) -> None:
    path = tmp_path / "m.sock"
    spoil(path)
    with pytest.raises(Conflict) as error:
        run(parse(arguments(package.parent, socket=str(path))))
    assert str(error.value) == f"Cannot listen on {path}: {cause}"
    assert path.exists()


def test_a_socket_path_that_the_kernel_cannot_take_says_why(package: Path) -> None:
    with pytest.raises(UserError, match="longer than 107 bytes"):
        parse(arguments(package.parent, socket="/" + "x" * 107))
