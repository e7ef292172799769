"""From labelled rows to a package that is chosen, measured and described from rows it was not fitted on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamark.errors import UserError
from seamark.package import CATEGORY, Feature, Schema
from seamark_trainer import package
from seamark_trainer.dataset import Dataset
from seamark_trainer.training import Plan, train


def plan(tmp_path: Path, **changes: Any) -> Plan:
    return replace(Plan("m", "v2", tmp_path / "v2"), **changes)


def test_the_package_says_what_it_is(world: Any, tmp_path: Path) -> None:
    data = world.dataset(400)
    made = train(replace(data, champion=data.labels), plan(tmp_path, lineage={"parent": "abc"}, excluded={"odd": 3}))
    found = package.read(tmp_path / "v2")
    assert found == made
    manifest = found.manifest
    assert (manifest.name, manifest.version, manifest.lineage) == ("m", "v2", {"parent": "abc"})
    assert manifest.schema == data.schema
    assert manifest.model.format == "onnx"
    assert hashlib.sha256((tmp_path / "v2" / manifest.model.file).read_bytes()).hexdigest() == manifest.model.sha256
    assert manifest.hyperparameters["candidate"] in ("logistic", "boosting")
    assert manifest.framework["name"] == "scikit-learn"
    assert manifest.metrics["championAccuracy"] == 1.0
    assert manifest.metrics["championRows"] == manifest.metrics["rows"] == 120
    assert 0.8 < manifest.metrics["accuracy"] < 1.0
    assert "| odd | 3 |" in (tmp_path / "v2" / "card.md").read_text()


def test_features_and_labels_are_profiled_from_all_rows_and_outputs_from_those_held_out(
    world: Any, tmp_path: Path
) -> None:
    reference = train(world.dataset(200), plan(tmp_path)).profile
    assert [sum(column.counts) for column in reference.features] == [200, 200]
    assert reference.label is not None
    assert sum(reference.label.counts) == 200
    assert [sum(column.counts) for column in reference.outputs] == [60, 60]


def test_importance_ranks_the_feature_that_decides(world: Any, tmp_path: Path) -> None:
    columns = {column.name: column for column in train(world.dataset(400), plan(tmp_path)).profile.features}
    weights = [columns["mean radius"].importance, columns["age"].importance]
    assert weights[0] is not None
    assert weights[1] is not None
    assert weights[0] > 0.8
    assert sum(weights) == pytest.approx(1.0)  # type: ignore[arg-type]  # neither is None


def test_the_same_rows_and_seed_give_the_same_model(world: Any, tmp_path: Path) -> None:
    digests = {
        train(world.dataset(200), plan(tmp_path, folder=tmp_path / name, candidates=("forest",))).manifest.model.sha256
        for name in ("one", "two")
    }
    assert len(digests) == 1


def test_the_candidate_that_answers_new_rows_best_is_chosen(world: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(600, 2))
    labels = (values[:, 0] * values[:, 1] > 0).astype(np.float64)
    data = Dataset(world.schema, values, (), labels, np.full(600, np.nan))
    made = train(data, plan(tmp_path, candidates=("logistic", "boosting")))
    assert made.manifest.hyperparameters["candidate"] == "boosting"
    assert "championAccuracy" not in made.manifest.metrics


def test_missing_values_make_a_feature_nullable(world: Any, tmp_path: Path) -> None:
    data = world.dataset(200)
    data.numbers[::7, 1] = np.nan
    made = train(data, plan(tmp_path, candidates=("logistic",)))
    assert [feature.nullable for feature in made.manifest.schema.features] == [False, True]


@pytest.mark.parametrize("candidate", ["logistic", "forest", "boosting"])
def test_many_classes_and_categories_are_learned(tmp_path: Path, candidate: str) -> None:
    random = np.random.default_rng(0)
    colours = tuple(random.choice(["red", "green", "blue", ""], 300).tolist())
    age = random.normal(size=(300, 1))
    labels = np.array([float(["red", "green", "blue", ""].index(colour) % 3) for colour in colours])
    schema = Schema("multiclass", (Feature("the colour", CATEGORY), Feature("age")), ("r", "g", "b"))
    data = Dataset(schema, age, (tuple(colour or None for colour in colours),), labels, np.full(300, np.nan))
    made = train(data, plan(tmp_path, candidates=(candidate,)))
    assert made.manifest.metrics["accuracy"] == 1.0
    assert made.manifest.model.format == "onnx"


@pytest.mark.parametrize("candidate", ["linear", "forest", "boosting"])
def test_quantities_are_learned(world: Any, tmp_path: Path, candidate: str) -> None:
    values = np.random.default_rng(0).normal(size=(300, 2))
    labels = 100 * values[:, 0]
    data = Dataset(Schema("regression", world.schema.features), values, (), labels, labels + 10)
    metrics = train(data, plan(tmp_path, candidates=(candidate,))).manifest.metrics
    assert metrics["r2"] > 0.9
    assert metrics["championMae"] == pytest.approx(10)
    assert metrics["championR2"] < 1


def test_metrics_are_numbers_that_json_has(world: Any, tmp_path: Path) -> None:
    train(world.dataset(100), plan(tmp_path))
    document = json.loads((tmp_path / "v2" / "seamark.json").read_text())
    assert all(isinstance(value, float) for value in document["metrics"].values())


def with_labels(data: Dataset, labels: list[float]) -> Dataset:
    return replace(data, labels=np.array(labels))


def test_just_enough_rows_are_enough(world: Any, tmp_path: Path) -> None:
    assert train(world.dataset(100), plan(tmp_path, min_rows=100)).manifest.metrics["rows"] == 30


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (99, None, "99 labelled rows, at least 100 are needed"),
        (0, None, "0 labelled rows, at least 100 are needed"),
        (100, [1.0] * 100, "all 70 rows to fit on have one class 'malignant'; at least two are needed"),
        (100, [0.0] * 70 + [1.0] * 30, "all 70 rows to fit on have one class 'benign'; at least two are needed"),
    ],
)
def test_rows_that_make_no_model_are_refused(
    world: Any, tmp_path: Path, rows: int, labels: list[float] | None, message: str
) -> None:
    data = world.dataset(rows)
    with pytest.raises(UserError) as caught:
        train(with_labels(data, labels) if labels else data, plan(tmp_path))
    assert str(caught.value) == message
    assert not (tmp_path / "v2").exists()


def test_a_class_without_a_row_is_named(world: Any, tmp_path: Path) -> None:
    schema = Schema("multiclass", world.schema.features, ("a", "b", "c"))
    with pytest.raises(UserError, match="none of 70 rows to fit on has class 'c'; each class is needed"):
        train(replace(world.dataset(100), schema=schema), plan(tmp_path))
