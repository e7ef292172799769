"""The printed requests are made from the model's own profile, so that they work as they are."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from seamark import profile
from seamark.package import Feature, Schema
from seamark_local.example import curl_lines
from seamark_local.home import Home, make_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return make_home(tmp_path / ".seamark")


def make_package(folder: Path, features: int) -> Path:
    schema = Schema("binary", (*(Feature(f"f{i}") for i in range(features)), Feature("country", "category")))
    numbers = np.tile(np.linspace(0, 10, 101).reshape(-1, 1), features)
    outputs = np.zeros((101, 2))
    built = profile.build(
        schema, numbers, [["it's"] * 60 + ["fr"] * 41 if features > 2 else ["fr"] * 101], outputs, None
    )
    folder.mkdir()
    (folder / "profile.json").write_bytes(built.to_json())
    (folder / "seamark.json").write_text(json.dumps({"classes": ["no", "yes"]}))
    return folder


def test_a_short_row_stands_in_the_line(home: Home, tmp_path: Path) -> None:
    lines = curl_lines(home, "churn", make_package(tmp_path / "p", 2), "http://h:1")
    predict, feedback, evidence, metrics = [shlex.split(line) for line in lines]
    assert predict[4] == "http://h:1/v1/models/churn:predict"
    assert json.loads(predict[-1]) == {"instances": [[5.0, 5.0, "fr"]]}
    assert predict[3] == "x-request-id: first-one"
    labels = [{"prediction_id": "first-one", "label": "no"}]
    assert json.loads(feedback[-1]) == {"deployment": "churn", "labels": labels}
    assert (evidence[-1], metrics[-1]) == ("http://h:1/v1/models/churn/evidence", "http://h:1/metrics")


def test_a_long_row_is_put_into_a_file(home: Home, tmp_path: Path) -> None:
    predict = shlex.split(curl_lines(home, "churn", make_package(tmp_path / "p", 30), "http://h:1")[0])
    assert predict[-1] == f"@{tmp_path}/.seamark/examples/churn.json"
    [row] = json.loads(Path(predict[-1].removeprefix("@")).read_text())["instances"]
    assert row == [5.0] * 30 + ["it's"]


def test_a_class_with_a_quote_in_its_name_survives_the_shell(home: Home, tmp_path: Path) -> None:
    package = make_package(tmp_path / "p", 2)
    (package / "seamark.json").write_text(json.dumps({"classes": ["it's not", "it is"]}))
    feedback = shlex.split(curl_lines(home, "churn", package, "http://h:1")[1])
    assert json.loads(feedback[-1])["labels"][0]["label"] == "it's not"


def test_a_regressions_example_label_is_an_ordinary_one(home: Home, tmp_path: Path) -> None:
    """A label of 0 for prices of houses would be pasted into the log, and learned from."""
    schema = Schema("regression", (Feature("area"),))
    prices = np.linspace(100_000, 300_000, 101)
    built = profile.build(schema, np.zeros((101, 1)), [], prices.reshape(-1, 1), prices)
    package = tmp_path / "p"
    package.mkdir()
    (package / "profile.json").write_bytes(built.to_json())
    (package / "seamark.json").write_text(json.dumps({"classes": []}))
    feedback = shlex.split(curl_lines(home, "houses", package, "http://h:1")[1])
    assert json.loads(feedback[-1])["labels"] == [{"prediction_id": "first-one", "label": 200_000.0}]


def test_without_a_readable_profile_lines_that_need_a_row_are_left_out(home: Home, tmp_path: Path) -> None:
    lines = curl_lines(home, "churn", tmp_path / "gone", "http://h:1")
    assert [line.split("/")[-1] for line in lines] == ["evidence", "metrics"]
