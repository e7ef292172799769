"""`seamark.json` is read whole and checked, or refused with the place."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, Feature, Manifest, ModelFile, Schema, parse_manifest

MANIFEST = Manifest(
    name="churn",
    version="3",
    model=ModelFile("model.onnx", "onnx", "a" * 64),
    schema=Schema("binary", (Feature("age"), Feature("city", CATEGORY, True)), ("no", "yes")),
    profile_sha256="b" * 64,
    framework={"scikit-learn": "1.7"},
    lineage={"dataVersion": "predictions@12"},
    metrics={"accuracy": 0.95},
    hyperparameters={"C": 1.0},
    created="2026-01-31T10:00:00Z",
)


def document(**changes: object) -> dict[str, Any]:
    return {**json.loads(MANIFEST.to_json()), **changes}


def parsed(content: object) -> Manifest:
    return parse_manifest(json.dumps(content).encode())


def test_a_manifest_survives_the_file() -> None:
    assert parse_manifest(MANIFEST.to_json()) == MANIFEST


def test_equal_manifests_give_equal_bytes() -> None:
    assert parse_manifest(MANIFEST.to_json()).to_json() == MANIFEST.to_json()


def test_a_metric_is_written_as_it_was_read() -> None:
    content = Manifest(
        "churn", "1", MANIFEST.model, MANIFEST.schema, "b" * 64, metrics={"rows": 455, "f1": 0.5}
    ).to_json()
    assert parse_manifest(content).to_json() == content


def test_what_may_be_left_out_has_a_default() -> None:
    least = document(features=[{"name": "age"}])
    for key in ("framework", "lineage", "metrics", "hyperparameters", "created"):
        del least[key]
    manifest = parsed(least)
    assert manifest.schema.features == (Feature("age", "number", False),)
    assert (manifest.framework, manifest.lineage, manifest.metrics, manifest.created) == ({}, {}, {}, "")


@pytest.mark.parametrize("key", ["format", "name", "version", "task", "classes", "features", "model", "profile"])
def test_what_is_needed_is_named_when_it_is_missing(key: str) -> None:
    content = document()
    del content[key]
    with pytest.raises(InvalidPackage) as error:
        parsed(content)
    assert str(error.value) == f"Cannot read seamark.json: {key} is missing"


MODEL = {"file": "model.onnx", "format": "onnx", "sha256": "a" * 64}
NOT_A_DIGEST = "not a SHA-256 in 64 lower-case hex digits"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "the document is not an object"),
        (document(format=2), "format is 2; this Seamark reads 1"),
        (document(name=""), "name is '', not a text"),
        (document(version=3), "version is 3, not a text"),
        (document(created=None), "created is None, not a text"),
        (document(task="ranking"), "task is 'ranking'; allowed: binary, multiclass, regression"),
        (document(model=3), "model is not an object"),
        (
            document(model={**MODEL, "format": "pmml"}),
            "model.format is 'pmml'; allowed: onnx, skops, joblib, xgboost, lightgbm",
        ),
        (document(model={**MODEL, "sha256": "A" * 64}), f"model.sha256 is '{'A' * 56}..., {NOT_A_DIGEST}"),
        (document(profile={"sha256": "b" * 63}), f"profile.sha256 is '{'b' * 56}..., {NOT_A_DIGEST}"),
        (document(profile={}), "profile.sha256 is missing"),
        *(
            (
                document(model={**MODEL, "file": file}),
                f"model.file is {file!r}, not a plain file name inside the package",
            )
            for file in ("../m.onnx", "a/b", "a\\b", ".hidden", "m\0.onnx", "-m")
        ),
        (document(features=[]), "features names no feature"),
        (document(features={}), "features is {}, not a list"),
        (document(features=["age"]), "features[0] is not an object"),
        (document(features=[{"name": "a"}, {"name": "a"}]), "features[1].name is 'a', which is taken"),
        (document(features=[{"name": "a", "type": "image"}]), "features[0].type is 'image'; allowed: number, category"),
        (document(features=[{"name": "a", "nullable": 1}]), "features[0].nullable is 1, not true or false"),
        (document(classes=["a"]), "classes has 1 entries; binary takes 2"),
        (document(classes=["a", "b", "c"]), "classes has 3 entries; binary takes 2"),
        (document(task="multiclass", classes=[1]), "classes has 1 entries; multiclass takes 2 to 10000"),
        (document(task="regression"), "classes has 2 entries; regression takes 0"),
        (document(classes=["1", 1.0]), "classes holds the same class twice"),
        (document(classes=[True, "true"]), "classes holds the same class twice"),
        (document(classes=[0, None]), "classes[1] is None, not a text, number, true or false"),
        (document(lineage=[]), "lineage is not an object"),
        (document(metrics={"f1": "high"}), "metrics.f1 is 'high', not a finite number"),
        (document(metrics={"f1": True}), "metrics.f1 is True, not a finite number"),
        (document(metrics={"f1": 10**400}), f"metrics.f1 is 1{'0' * 56}..., not a finite number"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_place(content: object, problem: str) -> None:
    with pytest.raises(InvalidPackage) as error:
        parsed(content)
    assert str(error.value) == f"Cannot read seamark.json: {problem}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe\xfd", "can't decode"),
        (b'{"metrics": {"f1": NaN}}', "NaN is not JSON"),
        (b'{"metrics": {"f1": -Infinity}}', "-Infinity is not JSON"),
        (b'{"metrics": {"f1": 1e999}}', "'1e999' is too large for a number"),
        (b'{"format": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b"[" * 100_000, "recursion"),
    ],
    ids=["empty", "not text", "NaN", "infinity", "overflow", "huge integer", "nested"],
)
def test_bad_json_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(InvalidPackage, match=problem):
        parse_manifest(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_raise_nothing_but_invalid_package(content: bytes) -> None:
    with pytest.raises(InvalidPackage):
        parse_manifest(content)


@given(st.dictionaries(st.sampled_from(sorted(document())), JSON, max_size=3))
def test_any_change_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        manifest = parsed(document(**changes))
    except InvalidPackage:
        return
    assert parse_manifest(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("classes", "label", "expected"),
    [
        ((0, 1), 1, 1.0),
        ((0, 1), "1", 1.0),
        ((0, 1), "1.0", 1.0),
        ((0, 1), 1.0, 1.0),
        ((0, 1), " 0 ", 0.0),
        ((0, 1), 2, None),
        ((0, 1), None, None),
        ((0, 1), True, None),
        ((0, 10), "1_0", None),
        (("no", "yes"), "yes", 1.0),
        (("no", "yes"), "Yes", None),
        ((False, True), True, 1.0),
        ((False, True), "true", 1.0),
        ((False, True), "True", 1.0),
        ((False, True), 1, None),
        (("nan", "inf"), "inf", 1.0),
        ((), "2.5", 2.5),
        ((), 3, 3.0),
        ((), "x", None),
        ((), None, None),
        ((), math.nan, None),
        ((), "inf", None),
        ((), 10**400, None),
    ],
)
def test_labels_are_read_as_outputs_are_logged(classes: tuple[Any, ...], label: object, expected: float | None) -> None:
    task = "binary" if classes else "regression"
    assert Schema(task, (Feature("x"),), classes).label_value(label) == expected


def test_a_schema_names_its_numbers_categories_and_outputs() -> None:
    assert MANIFEST.schema.numbers == ("age",)
    assert MANIFEST.schema.categories == ("city",)
    assert MANIFEST.schema.outputs == ("prediction", "score")
    assert Schema("regression", ()).outputs == ("prediction",)
