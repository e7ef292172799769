"""A desk with models that somebody already has, and samples of their input."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from seamark_trainer import package
from seamark_trainer.packaging import __main__ as command
from seamark_trainer.packaging import timing

ROWS = 120


def numbers(seed: int = 0) -> NDArray[np.float64]:
    """ROWS x 3."""
    return np.random.default_rng(seed).normal(size=(ROWS, 3))


def classes(values: NDArray[np.float64], names: Sequence[Any]) -> NDArray[Any]:
    """One class for each row, which the first column decides."""
    places = np.searchsorted(np.linspace(-0.6, 0.6, len(names) - 1), values[:, 0])
    return np.array(names)[places]


def mixed() -> pd.DataFrame:
    """ROWS rows: a number with holes, a text, and a text that looks like a number."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "mean age": random.integers(18, 90, ROWS).astype(float),
            "country": np.array(random.choice(["de", "fr"], ROWS), dtype=object),
            "zip": np.array(random.choice(["10115", "20095"], ROWS), dtype=object),
        }
    )
    frame.loc[::10, "mean age"] = np.nan
    return frame


def mixed_model(frame: pd.DataFrame, labels: Any) -> Any:
    """A pipeline that picks the columns of a data frame by name."""
    filled = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = ColumnTransformer([("n", filled, ["mean age"]), ("t", texts, ["country", "zip"])])
    return make_pipeline(parts, LogisticRegression()).fit(frame, labels)


class Desk:
    """A folder with models and samples, where packages are made in DIR `out`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.out = folder / "out"
        self._capsys = capsys

    def skops(self, estimator: Any, name: str = "model.skops") -> Path:
        skops.io.dump(estimator, self.folder / name)
        return self.folder / name

    def pickle(self, estimator: Any, name: str = "model.pkl") -> Path:
        (self.folder / name).write_bytes(pickle.dumps(estimator))
        return self.folder / name

    def onnx(self, content: bytes, name: str = "model.onnx") -> Path:
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def csv(self, columns: dict[str, Any], name: str = "sample.csv") -> Path:
        """None and NaN are written as nothing."""
        with (self.folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            rows = zip(*(list(values) for values in columns.values()), strict=True)
            writer.writerows([["" if cell is None or cell != cell else cell for cell in row] for row in rows])
        return self.folder / name

    def table(self, values: NDArray[np.float64], **more: Any) -> Path:
        """A sample of the columns a, b, c, and more."""
        return self.csv({**dict(zip("abc", values.T, strict=True)), **more})

    def run(self, model: Path, data: Path, *arguments: str) -> tuple[int, str, str]:
        """(exit status, standard output, standard error)."""
        words = [str(model), "--data", str(data), "-o", str(self.out), "--name", "m", *arguments]
        status = command.main(words)
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def made(self, model: Path, data: Path, *arguments: str) -> dict[str, Any]:
        """What the command says of the package it makes."""
        status, output, errors = self.run(model, data, *arguments)
        assert status == 0, errors
        found: dict[str, Any] = json.loads(output)
        return found

    def refused(self, model: Path, data: Path, *arguments: str) -> str:
        """The one line that says why there is no package."""
        status, output, errors = self.run(model, data, "--quiet", *arguments)
        assert (status, output) == (2, "")
        assert not self.out.exists()
        line = [line for line in errors.splitlines() if not line.startswith("warning: ")]
        assert len(line) == 1, errors
        return line[0].replace(f"{self.folder}/", "")

    def package(self) -> package.Package:
        return package.read(self.out)

    def model(self) -> bytes:
        """The model file of the package."""
        return (self.out / self.package().manifest.model.file).read_bytes()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    # What takes how long is no concern of most tests.
    monkeypatch.setattr(timing, "one_row", lambda *_: [200e-6, 10e-6])
    return Desk(tmp_path, capsys)


@pytest.fixture
def make() -> Any:
    """The functions above."""
    from types import SimpleNamespace

    functions: dict[str, Callable[..., Any]] = {
        "numbers": numbers,
        "classes": classes,
        "mixed": mixed,
        "mixed_model": mixed_model,
    }
    return SimpleNamespace(**functions)
