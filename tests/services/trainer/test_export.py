"""What is written is what was tested: ONNX where it answers alike, else skops."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import skops.io

from seamark.errors import UserError
from seamark.package import CATEGORY, Feature, Schema
from seamark_trainer import export as exports
from seamark_trainer.candidates import Fitted, fit
from seamark_trainer.dataset import Dataset
from seamark_trainer.export import export


def test_onnx_takes_one_matrix_and_answers_probabilities_only(world: Any) -> None:
    data = world.dataset(200)
    session = onnxruntime.InferenceSession(export(fit("boosting", data, 0), data.matrix()).content)
    assert [(entry.name, entry.shape) for entry in session.get_inputs()] == [("features", [None, 2])]
    assert [entry.name for entry in session.get_outputs()] == ["probabilities"]


@pytest.mark.parametrize("names", [("the colour", "mean age"), ("label", "probabilities"), ("variable", "größe")])
def test_onnx_inputs_have_the_features_names_whatever_they_are(names: tuple[str, str]) -> None:
    random = np.random.default_rng(0)
    schema = Schema("binary", (Feature(names[0], CATEGORY), Feature(names[1])), ("a", "b"))
    colours = tuple(random.choice(["red", "blue"], 100).tolist())
    labels = np.array([float(colour == "red") for colour in colours])
    data = Dataset(schema, random.normal(size=(100, 1)), (colours,), labels, np.full(100, np.nan))
    made = export(fit("logistic", data, 0), data.matrix())
    assert made.format == "onnx"
    assert [entry.name for entry in onnxruntime.InferenceSession(made.content).get_inputs()] == list(names)
    assert np.argmax(made.answers(data.matrix()), axis=1).tolist() == labels.tolist()


def differ(*_: object) -> float:
    return 0.5


def fail(*_: object) -> Any:
    raise RuntimeError("no converter")


@pytest.mark.parametrize(("name", "replacement"), [("_strays", differ), ("_convert", fail)])
@pytest.mark.parametrize("candidate", ["logistic", "forest", "boosting"])
def test_skops_is_used_when_onnx_differs_or_fails(
    world: Any, monkeypatch: pytest.MonkeyPatch, name: str, replacement: Any, candidate: str
) -> None:
    monkeypatch.setattr(exports, name, replacement)
    data = world.dataset(200)
    fitted = fit(candidate, data, 0)
    made = export(fitted, data.matrix())
    assert (made.file, made.format) == ("model.skops", "skops")
    loaded = skops.io.loads(made.content, trusted=skops.io.get_untrusted_types(data=made.content))
    assert loaded.classes_.tolist() == ["benign", "malignant"]
    np.testing.assert_array_equal(loaded.predict_proba(data.numbers), made.answers(data.matrix()))
    assert set(loaded.predict(data.numbers)) == {"benign", "malignant"}


def test_skops_needs_sorted_classes(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_convert", fail)
    schema = Schema("binary", world.schema.features, ("yes", "no"))
    data = world.dataset(100, schema=schema)
    with pytest.raises(UserError, match="candidate logistic fits no format"):
        export(fit("logistic", data, 0), data.matrix())


@pytest.mark.parametrize(("differing", "enough"), [(0, True), (2, True), (3, False)])
def test_few_rows_may_differ(world: Any, differing: int, enough: bool) -> None:
    wanted = np.full((2000, 2), 0.5)
    got = wanted.copy()
    got[:differing] += 0.01
    assert (exports._strays(world.schema, got, wanted) <= exports.STRAY) == enough


def test_answers_that_are_not_numbers_differ(world: Any) -> None:
    wanted = np.full((10, 2), 0.5)
    assert exports._strays(world.schema, np.full((10, 2), np.nan), wanted) == 1.0


@pytest.mark.parametrize(("error", "share"), [(0.009, 0.0), (0.011, 1.0)])
def test_quantities_may_differ_by_a_thousandth_of_their_spread(error: float, share: float) -> None:
    wanted = np.array([[-10.0], [10.0]])
    assert exports._strays(Schema("regression", (Feature("age"),)), wanted + error, wanted) == share


def test_a_fitted_model_answers_in_the_schemas_order(world: Any) -> None:
    data = world.dataset(200)
    fitted: Fitted = fit("logistic", data, 0)
    assert np.mean(np.argmax(fitted.answers(data.matrix()), axis=1) == data.labels) > 0.8
