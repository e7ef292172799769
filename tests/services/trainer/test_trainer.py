"""The trainer as a Job: its exit status, its result, its package; run twice, it changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamark.errors import UserError
from seamark_trainer import __main__ as trainer
from seamark_trainer import package, retraining
from seamark_trainer.package import Package

ROWS = 300


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(log: Any, world: Any, champion: Package, rows: int = ROWS, labelled: int | None = None) -> None:
    """A drifted world in which the champion is right half the time."""
    values, classes = world.draw(rows, seed=1, shift=0.5)
    log.predict(values, f"m-{champion.digest[:8]}", np.arange(rows) % 2)
    count = rows if labelled is None else labelled
    log.label([(f"p{i}", world.schema.classes[int(classes[i])]) for i in range(count)])


def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, **changes: str) -> tuple[int, dict[str, Any]]:
    """In this process: exit status and result."""
    for name, value in {**environment, **changes}.items():
        monkeypatch.setenv(name, value)
    status = trainer.main([])
    return status, json.loads(Path(environment["SEAMARK_TERMINATION_LOG"]).read_text())


def test_a_real_run_makes_a_better_package_and_a_second_run_reports_it_again(
    log: Any, world: Any, champion: Package, environment: dict[str, str], tmp_path: Path
) -> None:
    fill(log, world, champion)
    variables = {**os.environ, **environment}
    answers = []
    for _ in range(2):
        ended = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-m", "seamark_trainer"],
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        answers.append(json.loads((tmp_path / "result").read_text()))
    first, second = answers
    assert first == second
    folder = tmp_path / "packages" / "m-retrain-1"
    assert first["package"] == folder.as_uri()
    assert first["version"] == "m-retrain-1"
    assert first["rows"] == ROWS
    assert first["dataVersion"] == "predictions@1,labels@1"
    assert first["metrics"]["championAccuracy"] < 0.7 < first["metrics"]["accuracy"]
    made = package.read(folder)
    assert made.digest == first["digest"]
    assert made.manifest.name == "m"
    assert dict(made.manifest.lineage) == {
        "job": "m-retrain-1",
        "parent": champion.digest,
        "dataVersion": "predictions@1,labels@1",
        "since": world.start,
        "rows": ROWS,
        "labels": ROWS,
        "excluded": 0,
    }
    assert names(tmp_path / "packages") == ["m-retrain-1"]


def test_rows_that_break_the_contract_are_left_out_and_counted(
    log: Any, world: Any, champion: Package, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log, world, champion)
    odd = np.array([[np.nan, 0.0], [1e9, 0.0], [np.inf, 0.0]])
    log.predict(odd, "m-x", [0, 0, 0], ids=["x", "y", "z"])
    log.label([("x", "benign"), ("y", "benign"), ("z", "benign"), ("p0", "unclear")])
    status, answer = run(environment, monkeypatch, SEAMARK_CONFIG='{"candidates": ["logistic"]}')
    assert (status, answer["rows"]) == (0, ROWS - 1)
    made = package.read(Path(environment["SEAMARK_OUTPUT"]) / "m-retrain-1")
    assert (made.manifest.lineage["labels"], made.manifest.lineage["excluded"]) == (ROWS + 3, 4)
    assert "| breaks the contract | 3 |" in (made.folder / "card.md").read_text()


@pytest.mark.parametrize(
    ("labelled", "message"),
    [(37, "Cannot retrain m: 37 labelled rows, at least 100 are needed"), (0, "Cannot retrain m: 0 labelled rows")],
)
def test_too_few_labels_end_with_status_1(
    log: Any,
    world: Any,
    champion: Package,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    labelled: int,
    message: str,
) -> None:
    fill(log, world, champion, labelled=labelled)
    if not labelled:
        log.label([("unknown", "benign")])
    status, answer = run(environment, monkeypatch)
    assert (status, list(answer)) == (1, ["error"])
    assert answer["error"].startswith(message)
    assert not Path(environment["SEAMARK_OUTPUT"]).exists()


def test_no_log_ends_with_status_1(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = run(environment, monkeypatch)
    assert status == 1
    assert answer["error"].startswith("Cannot retrain m: the log has no table ")


def test_an_unreadable_champion_ends_with_status_1(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, answer = run(environment, monkeypatch, SEAMARK_CHAMPION_PACKAGE=str(tmp_path / "none"))
    assert status == 1
    assert answer["error"].startswith("Cannot retrain m: the champion's package is unreadable: ")


def test_an_unknown_candidate_ends_with_status_1(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = run(environment, monkeypatch, SEAMARK_CONFIG='{"candidates": ["magic"]}')
    expected = "Cannot retrain m: candidate 'magic' is unknown; for binary there are logistic, forest, boosting"
    assert (status, answer["error"]) == (1, expected)


def test_a_folder_of_something_else_is_not_taken_for_the_jobs_package(
    champion: Package, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(environment["SEAMARK_OUTPUT"], "m-retrain-1")
    model = (champion.folder / champion.manifest.model.file).read_bytes()
    package.write(folder, champion.manifest, model, champion.profile)
    status, answer = run(environment, monkeypatch)
    assert (status, answer["error"]) == (1, f"Cannot retrain m: {folder} holds another package")


def test_the_quicker_of_two_runs_of_one_job_wins(
    log: Any, world: Any, champion: Package, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log, world, champion)
    config = '{"candidates": ["logistic"]}'
    _, first = run(environment, monkeypatch, SEAMARK_CONFIG=config)
    look, looks = retraining._made_before, []

    def too_early(job: Any) -> Any:
        """The other run's package is not there yet when this one looks first."""
        looks.append(job)
        return None if len(looks) == 1 else look(job)

    monkeypatch.setattr(retraining, "_made_before", too_early)
    assert run(environment, monkeypatch, SEAMARK_CONFIG=config) == (0, first)
    assert len(looks) == 2


def test_a_wrong_variable_ends_with_status_2(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = run(environment, monkeypatch, SEAMARK_DATA_SINCE="soon")
    expected = "Cannot read SEAMARK_DATA_SINCE: 'soon' is not a time in Unix seconds"
    assert (status, answer) == (2, {"error": expected})
    assert capsys.readouterr().err == f"{expected}\n"


def test_anything_else_that_goes_wrong_still_leaves_a_result(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(retraining, "retrain", fail)
    assert run(environment, monkeypatch) == (1, {"error": "Cannot retrain m: ZeroDivisionError: division by zero"})


def test_a_result_that_cannot_be_written_is_a_failure(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(retraining, "retrain", lambda _: {"package": "file:///p"})
    for name, value in {**environment, "SEAMARK_TERMINATION_LOG": str(tmp_path / "none" / "result")}.items():
        monkeypatch.setenv(name, value)
    assert trainer.main([]) == 1
    assert capsys.readouterr().err.startswith("Cannot write the result: ")


def test_help_and_strange_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert trainer.main(["--help"]) == 0
    assert "SEAMARK_TERMINATION_LOG" in capsys.readouterr().out
    assert trainer.main(["train"]) == 2
    assert capsys.readouterr().err == "Cannot retrain: 'train' is not understood; see --help\n"


def test_help_is_quick_because_imports_wait() -> None:
    code = (
        "import sys, seamark_trainer.__main__, seamark_trainer.initial;"
        "sys.exit(bool({'sklearn', 'onnx', 'deltalake', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


def test_a_retraining_that_cannot_be_done_says_of_which_model(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = trainer.environment.parse(environment)
    with pytest.raises(UserError, match=r"^Cannot retrain m: "):
        retraining.retrain(job)
