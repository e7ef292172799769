"""A package of a model that somebody has: whatever the model, what is packaged answers as the model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from seamark.package import CATEGORY, NUMBER, Feature
from seamark_trainer.packaging import timing


def run_onnx(content: bytes, feed: dict[str, Any]) -> list[Any]:
    found: list[Any] = onnxruntime.InferenceSession(content).run(None, feed)
    return found


def test_a_pipeline_becomes_onnx_that_answers_alike(desk: Any, make: Any) -> None:
    values = make.numbers()
    labels = make.classes(values, ["low", "mid", "high"])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(values, labels)
    said = desk.made(desk.skops(model), desk.table(values, answer=labels), "--label", "answer", "--version", "7")
    manifest, profile = desk.package().manifest, desk.package().profile
    assert (manifest.name, manifest.version, manifest.model.format) == ("m", "7", "onnx")
    assert manifest.schema.task == "multiclass"
    assert manifest.schema.classes == ("high", "low", "mid")
    assert [feature.name for feature in manifest.schema.features] == ["a", "b", "c"]
    assert manifest.metrics["accuracy"] == pytest.approx(model.score(values, labels))
    assert manifest.metrics["rows"] == len(values)
    assert (profile.rows, [sum(column.counts) for column in profile.features]) == (120, [120] * 3)
    assert profile.label is not None
    (answers,) = run_onnx(desk.model(), {"features": values.astype(np.float32)})
    np.testing.assert_allclose(answers, model.predict_proba(values), atol=1e-5)
    assert said["parity"]["differingLabels"] == 0
    assert said["parity"]["rows"] == 120
    assert 0 < said["parity"]["largestDifference"] <= said["parity"]["allowed"] == 1e-4
    assert said["secondsPerRow"] == {"native": 200e-6, "onnx": 10e-6}
    assert said["digest"] == desk.package().digest


def test_what_is_written_down_is_what_was_found(desk: Any, make: Any) -> None:
    values = make.numbers()
    model = desk.skops(LogisticRegression(C=0.5).fit(values, make.classes(values, [0, 1])))
    said = desk.made(model, desk.table(values))
    manifest = desk.package().manifest
    assert manifest.metrics == {}
    assert manifest.hyperparameters["estimator"] == "LogisticRegression"
    assert manifest.hyperparameters["C"] == 0.5
    assert manifest.lineage["model"] == "model.skops"
    assert manifest.lineage["largestDifference"] == said["parity"]["largestDifference"]
    assert {"scikit-learn", "onnxruntime", "skl2onnx"} <= set(manifest.framework)
    card = (desk.out / "card.md").read_text()
    assert "# m v1" in card
    assert "Measured" not in card
    important = {column.name: column.importance for column in desk.package().profile.features}
    assert important["a"] > 0.9


CLASSIFIERS = [
    (RandomForestClassifier(5, random_state=0), True, (False, True)),
    (HistGradientBoostingClassifier(max_iter=5), True, ("no", "yes")),
    (SVC(), False, ("no", "yes")),
    (LinearSVC(), False, (0, 1)),
    (LinearSVC(), False, (1.0, 2.0, 4.0)),
]


@pytest.mark.parametrize(("estimator", "scored", "names"), CLASSIFIERS, ids=str)
def test_classifiers_of_all_kinds_keep_their_labels(
    desk: Any, make: Any, estimator: Any, scored: bool, names: tuple[Any, ...]
) -> None:
    values = make.numbers()
    model = estimator.fit(values, make.classes(values, names))
    said = desk.made(desk.pickle(model), desk.table(values), "--trust-pickle", "--format", "onnx")
    assert said["classes"] == list(names)
    outputs = run_onnx(desk.model(), {"features": values.astype(np.float32)})
    if scored:
        # The label follows from the probabilities, so there is no output for it.
        (probabilities,) = outputs
        got = np.array(names)[np.argmax(probabilities, axis=1)]
    else:
        (got,) = outputs
    assert got.tolist() == model.predict(values).tolist()


def test_a_regression_is_measured_in_its_own_terms(desk: Any, make: Any) -> None:
    values = make.numbers()
    target = 100 * values[:, 0] + values[:, 1]
    model = HistGradientBoostingRegressor(max_iter=10).fit(values, target)
    said = desk.made(desk.skops(model), desk.table(values, price=target), "--label", "price")
    assert (said["task"], said["classes"]) == ("regression", [])
    assert said["metrics"]["r2"] == pytest.approx(model.score(values, target), abs=1e-4)
    assert said["parity"]["compared"] == "values"
    assert said["parity"]["allowed"] == pytest.approx(1e-4 * model.predict(values).std())


def test_of_a_search_only_the_winner_is_packaged(desk: Any, make: Any) -> None:
    values = make.numbers()
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}).fit(values, values[:, 0])
    desk.made(desk.pickle(search), desk.table(values), "--trust-pickle", "--format", "native")
    loaded = skops.io.loads(desk.model())
    assert isinstance(loaded, Ridge)
    np.testing.assert_array_equal(loaded.predict(values), search.predict(values))


def test_texts_and_numbers_go_in_by_name_and_some_may_be_missing(desk: Any, make: Any) -> None:
    frame = make.mixed()
    labels = np.where(frame["country"] == "de", "yes", "no")
    model = make.mixed_model(frame, labels)
    frame.loc[5::10, "country"] = np.nan
    said = desk.made(desk.skops(model), desk.csv({**frame, "unused": labels, "answer": labels}), "--label", "answer")
    assert said["parity"]["differingLabels"] == 0
    schema = desk.package().manifest.schema
    # The encoder knows that a zip is a text, although the file's looks like a number.
    assert schema.features == (
        Feature("mean age", NUMBER, nullable=True),
        Feature("country", CATEGORY, nullable=True),
        Feature("zip", CATEGORY, nullable=True),
    )
    feed = {
        "mean age": frame[["mean age"]].to_numpy(np.float32),
        "country": frame[["country"]].fillna("").to_numpy(object),
        "zip": frame[["zip"]].to_numpy(object),
    }
    (answers,) = run_onnx(desk.model(), feed)
    np.testing.assert_allclose(answers, model.predict_proba(frame), atol=1e-5)


def test_a_parquet_sample_is_the_same_as_a_csv_one(desk: Any, make: Any) -> None:
    frame = make.mixed()
    model = desk.skops(make.mixed_model(frame, np.where(frame["country"] == "de", 1, 0)))
    desk.made(model, desk.csv(dict(frame)), "--format", "native")
    profile = (desk.out / "profile.json").read_bytes()
    frame.set_index(frame.index + 1).to_parquet(desk.folder / "sample.parquet")
    desk.made(model, desk.folder / "sample.parquet", "--format", "native", "--force")
    assert (desk.out / "profile.json").read_bytes() == profile


def test_a_model_without_names_takes_the_columns_as_they_stand(desk: Any, make: Any) -> None:
    values = make.numbers()
    model = desk.skops(LinearRegression().fit(values, values @ [1.0, 10.0, 100.0]))
    _, _, errors = desk.run(model, desk.csv({"z": values[:, 0], "y": values[:, 1], "x": values[:, 2]}))
    assert "the model knows no names of its features; the sample's columns are taken in their order" in errors
    assert desk.package().manifest.schema.numbers == ("z", "y", "x")


def test_a_model_with_names_finds_its_columns_wherever_they_stand(desk: Any, make: Any) -> None:
    import pandas as pd

    values = make.numbers()
    frame = pd.DataFrame(values, columns=["a", "b", "c"])
    model = desk.skops(LinearRegression().fit(frame, values @ [1.0, 10.0, 100.0]))
    status, _, errors = desk.run(model, desk.csv({"extra": values[:, 0], **frame[["c", "a", "b"]]}))
    assert (status, desk.package().manifest.schema.numbers) == (0, ("a", "b", "c"))
    assert "the model does not take 'extra'; not used\n" in errors


def test_what_may_be_missing_is_found_by_trying(desk: Any, make: Any) -> None:
    values = make.numbers()
    labels = make.classes(values, [0, 1])
    boosting = HistGradientBoostingClassifier(max_iter=5).fit(values, labels)
    desk.made(desk.skops(boosting), desk.table(values))
    assert [feature.nullable for feature in desk.package().manifest.schema.features] == [True] * 3
    desk.made(desk.skops(LogisticRegression().fit(values, labels)), desk.table(values), "--force")
    assert [feature.nullable for feature in desk.package().manifest.schema.features] == [False] * 3


def test_some_features_may_be_missing_and_others_not(desk: Any, make: Any) -> None:
    from sklearn.impute import SimpleImputer

    values = make.numbers()
    parts = ColumnTransformer([("filled", SimpleImputer(), [1])], remainder="passthrough")
    model = make_pipeline(parts, LogisticRegression()).fit(values, make.classes(values, [0, 1]))
    desk.made(desk.skops(model), desk.table(values), "--format", "native")
    assert [feature.nullable for feature in desk.package().manifest.schema.features] == [False, True, False]


def test_rows_without_a_label_measure_nothing(desk: Any, make: Any) -> None:
    values = make.numbers()
    labels = make.classes(values, ["no", "yes"])
    model = LogisticRegression().fit(values, labels)
    answers = [None if i < 20 else label for i, label in enumerate(labels)]
    _, output, errors = desk.run(desk.skops(model), desk.table(values, answer=answers), "--label", "answer")
    said = json.loads(output)
    assert (said["rows"], said["metrics"]["rows"]) == (120, 100)
    assert said["metrics"]["accuracy"] == model.score(values[20:], labels[20:])
    assert "20 rows without a label; the others measure the model" in errors


# --- as ONNX, or not


def coarse(make: Any) -> tuple[Any, Any]:
    """A model whose splits lie between numbers that single precision cannot tell apart, and its input."""
    values = make.numbers()
    values[:, 0] = 1e9 + np.arange(len(values))
    return HistGradientBoostingRegressor(max_iter=20, min_samples_leaf=1).fit(values, values[:, 0] % 7), values


def test_a_model_that_answers_otherwise_as_onnx_stays_as_it_is(desk: Any, make: Any) -> None:
    model, values = coarse(make)
    status, output, errors = desk.run(desk.skops(model), desk.table(values))
    said = json.loads(output)
    assert (status, said["format"], said["parity"]) == (0, "skops", None)
    assert "as ONNX it answers otherwise: values differ by" in said["notConverted"]
    assert "--tolerance allows more" in said["notConverted"]
    assert f"warning: kept as it is: {said['notConverted']}\n" in errors
    # Not written again: it is the user's very file.
    assert desk.model() == (desk.folder / "model.skops").read_bytes()


def test_whoever_insists_on_onnx_is_refused_or_allows_more(desk: Any, make: Any) -> None:
    model, values = coarse(make)
    path, data = desk.skops(model), desk.table(values)
    line = desk.refused(path, data, "--format", "onnx")
    assert line.startswith("Cannot package model.skops: as ONNX it answers otherwise: values differ by ")
    said = desk.made(path, data, "--format", "onnx", "--tolerance", "10")
    assert said["format"] == "onnx"
    assert said["parity"]["largestDifference"] > 0.1


def test_a_model_that_nothing_converts_stays_as_it_is(desk: Any, make: Any) -> None:
    from sklearn.semi_supervised import LabelSpreading

    values = make.numbers()
    model = LabelSpreading().fit(values, make.classes(values, [0, 1]))
    said = desk.made(desk.pickle(model), desk.table(values), "--trust-pickle")
    assert said["format"] in ("skops", "joblib")
    assert said["notConverted"].startswith("it cannot be converted to ONNX: ")
    line = desk.run(desk.folder / "model.pkl", desk.folder / "sample.csv", "--trust-pickle", "--format", "onnx")[2]
    assert "already" in line


def test_a_model_that_is_no_faster_as_onnx_stays_as_it_is(
    desk: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "one_row", lambda *_: [10e-6, 10e-6])
    values = make.numbers()
    model, data = desk.skops(Ridge().fit(values, values[:, 0])), desk.table(values)
    said = desk.made(model, data)
    assert (said["format"], said["notConverted"]) == ("skops", "as ONNX it is no faster for one row")
    assert desk.made(model, data, "--format", "onnx", "--force")["format"] == "onnx"


def test_native_converts_nothing(desk: Any, make: Any) -> None:
    values = make.numbers()
    said = desk.made(desk.skops(Ridge().fit(values, values[:, 0])), desk.table(values), "--format", "native")
    assert (said["format"], said["parity"], said["secondsPerRow"], said["notConverted"]) == ("skops", None, None, "")


# --- the folder


def test_a_folder_that_holds_something_is_left_alone(desk: Any, make: Any) -> None:
    values = make.numbers()
    model, data = desk.skops(Ridge().fit(values, values[:, 0])), desk.table(values)
    desk.out.mkdir()
    (desk.out / "thesis.txt").write_text("precious")
    for force in ((), ("--force",)):
        status, _, errors = desk.run(model, data, *force)
        assert (status, errors) == (2, f"Cannot write package {desk.out}: it exists already and is not a package\n")
    assert [path.name for path in desk.out.iterdir()] == ["thesis.txt"]


def test_a_package_is_replaced_only_by_force(desk: Any, make: Any) -> None:
    values = make.numbers()
    model, data = desk.skops(Ridge().fit(values, values[:, 0])), desk.table(values)
    desk.made(model, data)
    status, _, errors = desk.run(model, data, "--version", "v2")
    assert (status, errors) == (2, f"Cannot write package {desk.out}: it exists already; --force replaces it\n")
    assert desk.package().manifest.version == "v1"
    desk.made(model, data, "--version", "v2", "--force")
    assert desk.package().manifest.version == "v2"
    assert sorted(path.name for path in desk.folder.iterdir()) == ["model.skops", "out", "sample.csv"]


def test_an_empty_folder_is_filled(desk: Any, make: Any) -> None:
    values = make.numbers()
    desk.out.mkdir()
    desk.made(desk.skops(Ridge().fit(values, values[:, 0])), desk.table(values))
    assert sorted(path.name for path in desk.out.iterdir()) == ["card.md", "model.onnx", "profile.json", "seamark.json"]


ENDS = [
    (OSError(28, "No space left on device"), 2, "Cannot write package {}: no space left on device\n"),
    (KeyboardInterrupt(), 130, ""),
]


@pytest.mark.parametrize(("ends", "status", "message"), ENDS, ids=["a full disk", "Ctrl-C"])
def test_a_package_that_cannot_be_written_leaves_the_old_one(
    desk: Any, make: Any, monkeypatch: pytest.MonkeyPatch, ends: BaseException, status: int, message: str
) -> None:
    values = make.numbers()
    model, data = desk.skops(Ridge().fit(values, values[:, 0])), desk.table(values)
    desk.made(model, data)

    def fail(*_: object) -> None:
        raise ends

    monkeypatch.setattr("seamark_trainer.package._fill", fail)
    found, output, errors = desk.run(model, data, "--version", "v2", "--force", "--quiet")
    assert (found, output, errors) == (status, "", message.format(desk.out))
    assert desk.package().manifest.version == "v1"
    assert sorted(path.name for path in Path(desk.folder).iterdir()) == ["model.skops", "out", "sample.csv"]
