"""`seamark package` runs the trainer's packaging and says what came of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

IRIS = Path(__file__).parents[3] / "manifests" / "samples" / "iris.csv"
MADE: dict[str, Any] = {
    "package": "packages/it's v1",
    "digest": "d" * 64,
    "name": "m",
    "version": "v1",
    "format": "onnx",
    "task": "regression",
    "classes": [],
    "features": 1,
    "rows": 5000,
    "metrics": {},
    "parity": {"compared": "values", "largestDifference": 2.5e-6, "allowed": 0.01, "differingLabels": 0, "rows": 5000},
    "secondsPerRow": {"native": 0.0045, "onnx": 9e-06},
    "notConverted": "",
}
#: Does what a test says in place of packaging, and writes its command line down.
STAND_IN = """
import json, os, sys, time
told = json.loads(os.environ["STAND_IN"])
try:
    print(json.dumps(sys.argv[1:]), file=sys.stderr, flush=True)
    time.sleep(told.get("seconds", 0))
except KeyboardInterrupt:
    print("taken away", file=sys.stderr)
    sys.exit(130)
if told.get("says"):
    print(told["says"], file=sys.stderr)
if told.get("made"):
    print(json.dumps(told["made"]))
if told.get("killed"):
    os.kill(os.getpid(), 9)
sys.exit(told.get("status", 0))
"""


class Desk:
    """Runs the real command, with the trainer's packaging or a stand-in for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stand_in = folder / "stand-in"
        package = self.stand_in / "seamark_trainer" / "packaging"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(STAND_IN)

    def start(self, *arguments: str, told: dict[str, Any] | None = None) -> subprocess.Popen[str]:
        environment = dict(os.environ)
        if told is not None:
            environment |= {"PYTHONPATH": str(self.stand_in), "STAND_IN": json.dumps(told)}
        return subprocess.Popen(
            [sys.executable, "-m", "seamark_local.cli", "package", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, told: dict[str, Any] | None = None) -> tuple[int, str, str]:
        """(exit status, standard output, standard error)."""
        started = self.start(*arguments, told=told)
        output, errors = started.communicate(timeout=60)
        return started.returncode, output, errors


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_model_becomes_a_package_that_is_described(desk: Desk) -> None:
    rows, classes = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(rows, load_iris().target_names[classes])
    skops.io.dump(model, desk.folder / "Iris model.skops")
    shutil.copy(IRIS, desk.folder / "iris.csv")
    status, output, errors = desk.run("Iris model.skops", "--data", "iris.csv", "-o", "out/v1", "--label", "species")
    assert status == 0, errors
    assert errors.splitlines()[0] == "reading Iris model.skops"
    lines = output.splitlines()
    assert lines[0] == "Packaged iris-model v1 in out/v1: onnx, multiclass of setosa, versicolor, virginica"
    assert lines[1] == "  profile   150 rows of 4 features"
    assert lines[2].startswith("  measured  accuracy 0.9")
    assert lines[2].endswith(" on 150 rows, which it may have been fitted on")
    assert lines[3].startswith("  parity    as ONNX 0 of 150 labels differ; probabilities differ by ")
    assert lines[4].startswith("  speed     one call for one row: ")
    assert lines[-1] == "Serve it: seamark serve out/v1"
    assert sorted(path.name for path in (desk.folder / "out" / "v1").iterdir()) == [
        *("card.md", "model.onnx", "profile.json", "seamark.json")
    ]


def test_every_option_reaches_packaging(desk: Desk) -> None:
    given = "-o out --data s.csv --name n --version 2 --label y --format onnx --tolerance 0.5 --category a --category b"
    more = "--classes x,y --min-rows 9 --trust-pickle --force --quiet --json -- -m.pkl"
    _, output, errors = desk.run(*given.split(), *more.split(), told={"made": MADE})
    assert json.loads(errors) == [
        *("--data=s.csv", "--output=out", "--name=n", "--version=2", "--label=y", "--format=onnx", "--tolerance=0.5"),
        *("--classes=x,y", "--min-rows=9", "--category=a", "--category=b", "--trust-pickle", "--force", "--quiet"),
        *("--", "-m.pkl"),
    ]
    assert json.loads(output) == MADE


def test_what_is_not_given_is_left_to_packaging(desk: Desk) -> None:
    _, _, errors = desk.run("models/Churn 2.onnx", "--data", "s.csv", "-o", "out", told={"made": MADE})
    words = ["--data=s.csv", "--output=out", "--name=churn-2", "--version=v1", "--format=auto", "--min-rows=50", "--"]
    assert json.loads(errors) == [*words, "models/Churn 2.onnx"]


def test_values_are_compared_as_values_and_times_have_readable_units(desk: Desk) -> None:
    _, output, _ = desk.run("m.skops", "--data", "s", "-o", "o", told={"made": MADE})
    speed = "one call for one row: 4.5 ms before, 9.0 µs as ONNX, 500 times as fast"
    assert output.splitlines() == [
        "Packaged m v1 in packages/it's v1: onnx, regression",
        "  profile   5,000 rows of 1 feature",
        "  parity    as ONNX values differ by 2.5e-06 at most (allowed: 0.01), on 5,000 rows",
        f"  speed     {speed}; a request adds its own time",
        f"  digest    {'d' * 64}",
        "Serve it: seamark serve 'packages/it'\"'\"'s v1'",
    ]


def test_why_there_is_no_onnx_is_said_and_a_pickle_is_served_with_trust(desk: Desk) -> None:
    made = {**MADE, "format": "joblib", "parity": None, "secondsPerRow": None, "notConverted": "it is too odd"}
    _, output, _ = desk.run("m.pkl", "--data", "s", "-o", "o", "--trust-pickle", told={"made": made})
    lines = output.splitlines()
    assert lines[2] == "  format    not converted: it is too odd"
    assert lines[-1].endswith(" --trust-pickle")


def test_a_mistake_is_told_once_and_ends_with_2(desk: Desk) -> None:
    told = {"says": "Cannot open m.skops: no such file or directory", "status": 2}
    status, output, errors = desk.run("m.skops", "--data", "s", "-o", "o", told=told)
    assert (status, output) == (2, "")
    assert errors.splitlines()[1:] == ["Cannot open m.skops: no such file or directory"]


@pytest.mark.parametrize(("told", "cause"), [({"status": 1}, "exit status 1"), ({"killed": True}, "killed by SIGKILL")])
def test_packaging_that_fails_is_said(desk: Desk, told: dict[str, Any], cause: str) -> None:
    status, output, errors = desk.run("m.skops", "--data", "s", "-o", "o", told=told)
    assert (status, output) == (1, "")
    assert errors.splitlines()[1:] == [f"Cannot package m.skops: the process ended with {cause}"]


def test_ctrl_c_waits_until_packaging_has_cleaned_up(desk: Desk) -> None:
    started = desk.start("m.skops", "--data", "s", "-o", "o", told={"seconds": 60})
    assert started.stderr is not None
    first = started.stderr.readline()
    assert first.startswith("[")
    os.killpg(started.pid, signal.SIGINT)
    output, errors = started.communicate(timeout=20)
    assert (started.returncode, output, errors) == (130, "", "taken away\n")
