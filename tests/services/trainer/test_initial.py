"""The first package comes from a CSV file, by the same path as every later one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamark.errors import UserError
from seamark.package import CATEGORY, NUMBER, Feature
from seamark_trainer import initial, package, table


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(text)
    return path


def run(data: Path, *arguments: str) -> int:
    output = str(data.parent / "v1")
    common = ["--data", str(data), "--target", "diagnosis", "--name", "scanner", "--version", "v1", "-o", output]
    return initial.main([*common, *arguments])


def scans(world: Any, tmp_path: Path, rows: int = 200, *, ordered: bool = False) -> Path:
    values, classes = world.draw(rows)
    lines = [f"{a},{b},{world.schema.classes[int(c)]}" for (a, b), c in zip(values, classes, strict=True)]
    if ordered:
        lines.sort(key=lambda line: line.rpartition(",")[2])
    return write(tmp_path, "\n".join(["mean radius,age,diagnosis", *lines]) + "\n")


def test_it_prints_the_package_its_digest_and_metrics(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scans(world, tmp_path), "--candidates", "logistic") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    printed = json.loads(lines[0])
    made = package.read(tmp_path / "v1")
    assert printed == {"package": str(made.folder), "digest": made.digest, "metrics": dict(made.manifest.metrics)}
    assert made.manifest.schema == world.schema
    assert (made.manifest.name, made.manifest.version) == ("scanner", "v1")
    assert made.manifest.hyperparameters["candidate"] == "logistic"
    assert made.manifest.lineage == {"data": "data.csv", "rows": 200}


def test_candidates_may_be_listed_with_commas(world: Any, tmp_path: Path) -> None:
    assert run(scans(world, tmp_path), "--candidates", "logistic,forest") == 0


def test_a_sorted_file_needs_shuffling(world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = scans(world, tmp_path, ordered=True)
    values = data.read_text().splitlines()
    data.write_text("\n".join([values[0], *(v for v in values if v.endswith("benign")), *values[-25:]]) + "\n")
    assert run(data, "--candidates", "logistic") == 2
    assert "one class 'benign'; at least two are needed; for a sorted file use --shuffle\n" in capsys.readouterr().err
    assert run(data, "--candidates", "logistic", "--shuffle") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--candidates", "magic"), "Cannot use candidate 'magic': for binary there are logistic, forest, boosting\n"),
        (("--task", "regression"), "holds a value that is not a number\n"),
        (("--task", "multiclass"), "the target has 2 classes, which is not multiclass\n"),
        (("--min-rows", "201"), "200 labelled rows, at least 201 are needed\n"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(scans(world, tmp_path), *arguments) == 2
    assert capsys.readouterr().err.endswith(message)
    assert not (tmp_path / "v1").exists()


def test_a_package_that_is_there_is_not_overwritten(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = scans(world, tmp_path)
    assert run(data, "--candidates", "logistic") == 0
    assert run(data, "--candidates", "logistic") == 2
    assert capsys.readouterr().err == f"Cannot make package {tmp_path / 'v1'}: it exists already\n"


def test_columns_are_numbers_if_every_value_is_one(tmp_path: Path) -> None:
    found = table.read(write(tmp_path, "\ufeffa, b ,c,t\n1,x,,no\n,2,,yes\n1e3,NA,,\n-.5,3,,no\n"), "t")
    assert found.data.schema.features == (Feature("a", NUMBER), Feature("b", CATEGORY), Feature("c", CATEGORY))
    assert found.data.numbers[:, 0].tolist()[::2] == [1.0, -0.5]
    assert np.isnan(found.data.numbers[1, 0])
    assert found.data.categories == (("x", "2", "3"), (None, None, None))
    assert found.data.labels.tolist() == [0.0, 1.0, 0.0]
    assert found.unlabelled == 1


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["b", "a"], "binary", ("a", "b")),
        (["1", "0"], "binary", (0, 1)),
        (["1", "0.0"], "binary", (0, 1)),
        (["10", "9", "x"], "multiclass", ("10", "9", "x")),
        (["10", "9", "1"], "multiclass", (1, 9, 10)),
        (["true", "false"], "binary", ("false", "true")),
        (["0.5", "1"], "regression", ()),
        ([str(i) for i in range(20)], "multiclass", tuple(range(20))),
        ([str(i) for i in range(21)], "regression", ()),
    ],
)
def test_the_task_follows_from_the_target(tmp_path: Path, labels: list[str], task: str, classes: tuple[Any]) -> None:
    lines = "".join(f"1,{label}\n" for label in labels)
    schema = table.read(write(tmp_path, f"a,t\n{lines}"), "t").data.schema
    assert (schema.task, schema.classes) == (task, classes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("a,b\n1,2\n", "it has no column 't'; it has a, b"),
        ("a,t\n", "no row has a value of 't'"),
        ("a,t\n1,\n", "no row has a value of 't'"),
        ("t\n1\n", "it has no column but 't'"),
        ("a,a,t\n1,1,1\n", "column 'a' is named twice"),
        ("a,,t\n1,1,1\n", "column '' is without a name"),
        ("a,t\n1,x\n1\n", "line 3 has 1 cells, the header has 2"),
        ("a,t\n1,x\n2,x\n", "all rows have one class, 'x'; at least two are needed"),
        ('a,t\n"1,x\n', "unexpected end of data"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        table.read(path, "t")
    assert str(caught.value).startswith(f"Cannot read {path}: ")
    assert message in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or directory"):
        table.read(tmp_path / "none.csv", "t")


def test_infinite_values_are_left_out(world: Any, tmp_path: Path) -> None:
    data = scans(world, tmp_path)
    with data.open("a") as file:
        file.write("inf,1,benign\n")
    assert run(data, "--candidates", "logistic") == 0
    assert "| infinite value | 1 |" in (tmp_path / "v1" / "card.md").read_text()
