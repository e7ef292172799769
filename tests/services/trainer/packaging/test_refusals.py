"""What cannot be packaged is refused in one line that says what to mend, and nothing is written."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from seamark.skops_types import TRUSTED
from seamark_predictor.formats import sklearn as served


class Trap:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def own_step(values: Any) -> Any:
    return values


@pytest.fixture
def model(desk: Any, make: Any) -> Path:
    values = make.numbers()
    path: Path = desk.skops(LogisticRegression().fit(values, make.classes(values, ["no", "yes"])))
    return path


# --- what is trusted


def test_a_pickle_that_is_not_trusted_is_not_read(desk: Any, make: Any) -> None:
    mark = desk.folder / "ran"
    path = desk.pickle(Trap(mark))
    assert desk.refused(path, desk.table(make.numbers())) == (
        "Cannot open model.pkl: it is a pickle, which can run any code when it is read; "
        "say --trust-pickle if you trust whoever made it"
    )
    assert not mark.exists()


def test_a_trusted_pickle_is_read_with_a_warning(desk: Any, make: Any) -> None:
    values = make.numbers()
    path = desk.pickle(LinearRegression().fit(values, values[:, 0]))
    _, _, errors = desk.run(path, desk.table(values), "--trust-pickle", "--quiet")
    assert errors == "warning: model.pkl is a pickle; reading it runs any code it holds\n"


def test_a_skops_file_with_code_of_its_own_is_not_read(desk: Any, make: Any) -> None:
    values = make.numbers()
    model = make_pipeline(FunctionTransformer(own_step), LinearRegression()).fit(values, values[:, 0])
    line = desk.refused(desk.skops(model), desk.table(values), "--trust-pickle")
    assert line.startswith("Cannot open model.skops: it holds types that are not trusted: ")
    assert "own_step" in line


def test_what_skops_cannot_hold_stays_a_pickle_and_says_so(desk: Any, make: Any) -> None:
    values = make.numbers()
    model = make_pipeline(FunctionTransformer(np.abs), FunctionTransformer(own_step), LinearRegression())
    path = desk.pickle(model.fit(values, values[:, 0]))
    status, _, errors = desk.run(path, desk.table(values), "--trust-pickle", "--quiet")
    assert status == 0
    assert "warning: skops cannot hold it: it holds types that are not trusted: " in errors
    assert desk.package().manifest.model.format == "joblib"
    assert desk.model() == path.read_bytes()


def test_a_predictor_trusts_what_packages_are_written_with() -> None:
    assert served.TRUSTED == TRUSTED


# --- the model


@pytest.mark.parametrize(
    ("held", "cause"),
    [
        ({"model": 1}, "it holds an object of type dict, neither a classifier nor a regressor of scikit-learn"),
        (StandardScaler().fit(np.eye(3)), "it holds an object of type StandardScaler, neither a classifier"),
        (KMeans(2, n_init=1).fit(np.eye(3)), "KMeans is neither a classifier nor a regressor of scikit-learn"),
        (IsolationForest(n_estimators=2).fit(np.eye(3)), "IsolationForest is neither a classifier nor a regressor"),
        (LinearRegression(), "LinearRegression is not fitted"),
        (DummyClassifier().fit(np.eye(3), [1, 1, 1]), "it knows 1 class; at least two are needed"),
        (KNeighborsClassifier(1).fit(np.eye(3), np.eye(3)), "it answers several labels for each row"),
        (LinearRegression().fit(np.eye(3), np.eye(3)), "it answers 360 values for 120 rows; one for each is needed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_model_of_one_answer_is_refused(desk: Any, make: Any, held: Any, cause: str) -> None:
    line = desk.refused(desk.pickle(held), desk.table(make.numbers()), "--trust-pickle")
    assert line.startswith("Cannot package model.pkl: ")
    assert cause in line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.h5", b"", "Cannot open model.h5: a model is a .onnx, .skops, .joblib, .pkl, .pickle file or an MLflow"),
        ("gone.skops", None, "Cannot open gone.skops: no such file or directory"),
        ("model.skops", b"PK\x03\x04 cut off", "Cannot open model.skops: "),
        ("model.pkl", pickle.dumps([1])[:-2], "Cannot open model.pkl: "),
        ("model.onnx", b"\x08\x07 no protobuf", "Cannot package model.onnx: it is not an ONNX file: "),
        ("model.onnx", b"", "Cannot package model.onnx: ONNX Runtime cannot load it: "),
    ],
)
def test_a_broken_model_file_is_said(desk: Any, make: Any, name: str, content: bytes | None, message: str) -> None:
    path = desk.folder / name
    if content is not None:
        path.write_bytes(content)
    assert desk.refused(path, desk.table(make.numbers()), "--trust-pickle").startswith(message)


def test_a_model_of_another_version_is_packaged_with_a_warning(desk: Any, make: Any) -> None:
    import sklearn

    values = make.numbers()
    path = desk.pickle(LinearRegression().fit(values, values[:, 0]))
    here = sklearn.__version__
    other = here[:-1] + ("0" if here[-1] != "0" else "1")
    path.write_bytes(path.read_bytes().replace(here.encode(), other.encode()))
    _, _, errors = desk.run(path, desk.table(values), "--trust-pickle", "--quiet")
    assert f"warning: model.pkl: Trying to unpickle estimator LinearRegression from version {other}" in errors


# --- the sample


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        (
            "ab",
            (),
            "has 2: 'a', 'b'; name the column that holds the label with --label",
        ),
        ("abcd", ("--label", "d"), "the label 'd' is '0.0' in row 1; one of the model's classes 'no', 'yes' is needed"),
        ("abcd", ("--label", "e"), "Cannot use sample.csv: it has no column 'e'; it has 'a', 'b', 'c', 'd'"),
        ("abc", ("--label", "c"), "Cannot use sample.csv: the model takes 3 features; the sample has 2: 'a', 'b'"),
        ("abc", ("--category", "x"), "Cannot use --category 'x': the model has no such feature; it has 'a', 'b', 'c'"),
        ("abc", ("--min-rows", "121"), "Cannot use sample.csv: it has 120 rows, at least 121 are needed"),
        ("abc", ("--classes", "a,b"), "--classes is for ONNX models that do not tell them; this model does"),
        ("abc", ("--tolerance", "-1"), "Cannot use --tolerance: -1 is not a number of at least 0"),
        ("abc", ("--tolerance", "nan"), "Cannot use --tolerance: nan is not a number of at least 0"),
        ("abc", ("--version", ""), "Cannot use --version: it is empty"),
    ],
)
def test_a_sample_that_does_not_fit_is_said(
    desk: Any, model: Path, columns: str, arguments: tuple[str, ...], message: str
) -> None:
    data = desk.csv({name: np.zeros(120) for name in columns})
    assert message in desk.refused(model, data, *arguments)


def test_a_column_that_the_model_knows_by_name_must_be_there(desk: Any, make: Any) -> None:
    frame = make.mixed()
    path = desk.skops(make.mixed_model(frame, np.where(frame["country"] == "de", 1, 0)))
    data = desk.csv({"country": frame["country"], "zip": frame["zip"], "age": frame["mean age"]})
    assert desk.refused(path, data) == (
        "Cannot use sample.csv: it has no column 'mean age', which the model takes; it has 'country', 'zip', 'age'"
    )


def test_the_label_is_no_feature(desk: Any, make: Any) -> None:
    frame = make.mixed()
    path = desk.skops(make.mixed_model(frame, np.where(frame["country"] == "de", 1, 0)))
    line = desk.refused(path, desk.csv(dict(frame)), "--label", "zip")
    assert line == "Cannot use 'zip' as the label: it is one of the model's features"


def test_a_text_among_numbers_is_named(desk: Any, make: Any) -> None:
    import pandas as pd

    frame = pd.DataFrame(make.numbers(), columns=["a", "b", "c"])
    path = desk.skops(LinearRegression().fit(frame, frame["a"]))
    line = desk.refused(path, desk.csv({**frame, "b": ["1.5"] * 119 + ["many"]}))
    assert line.startswith(
        "Cannot package model.skops: it fails on the sample, in which 'b' holds texts, such as 'many' in row 120: "
    )


def test_missing_values_that_the_model_does_not_take_are_counted(desk: Any, make: Any, model: Path) -> None:
    values = make.numbers()
    values[:7, 1] = np.nan
    line = desk.refused(model, desk.table(values))
    assert line.startswith(
        "Cannot package model.skops: it takes no missing values; the sample misses 'b' in 7 of 120 rows; "
        "leave such rows out, or fill them: "
    )


def test_an_infinite_value_is_refused(desk: Any, make: Any, model: Path) -> None:
    values = make.numbers()
    values[3, 2] = np.inf
    line = desk.refused(model, desk.table(values))
    assert line == "Cannot use sample.csv: column 'c' is infinite in 1 row; leave them out"


def test_answers_that_are_not_finite_are_refused(desk: Any, make: Any) -> None:
    values = make.numbers()
    broken = LinearRegression().fit(values, values[:, 0])
    broken.intercept_ = np.nan
    line = desk.refused(desk.skops(broken), desk.table(values))
    assert line == (
        "Cannot package model.skops: it answers row 1, and 120 rows in all, with NaN or none of its classes"
    )


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet"])
def test_a_sample_that_is_not_there_is_said(desk: Any, model: Path, name: str) -> None:
    assert "no such file" in desk.refused(model, desk.folder / name).lower()


def test_a_file_that_is_no_parquet_is_said(desk: Any, model: Path) -> None:
    (desk.folder / "sample.parquet").write_text("a,b,c\n")
    assert desk.refused(model, desk.folder / "sample.parquet").startswith("Cannot read sample.parquet: ")


def test_a_column_of_dates_is_said(desk: Any, make: Any, model: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(make.numbers(), columns=["a", "b", "c"])
    frame["b"] = pd.Timestamp("2026-01-01")
    frame.to_parquet(desk.folder / "sample.parquet")
    line = desk.refused(model, desk.folder / "sample.parquet")
    assert line.startswith("Cannot use sample.parquet: column 'b' is timestamp[")
    assert line.endswith("; numbers and texts are taken")


def test_a_sample_without_any_label_is_said(desk: Any, make: Any, model: Path) -> None:
    line = desk.refused(model, desk.table(make.numbers(), answer=[None] * 120), "--label", "answer")
    assert line == "Cannot use sample.csv: no row has a value of 'answer'"


def test_a_folder_that_is_no_place_for_a_package_is_said_before_anything_is_read(desk: Any) -> None:
    desk.out.write_text("")
    status, _, errors = desk.run(desk.folder / "gone.skops", desk.folder / "gone.csv")
    assert (status, errors) == (2, f"Cannot write package {desk.out}: it is not a folder\n")
