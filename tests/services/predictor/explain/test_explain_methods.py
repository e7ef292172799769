"""Contributions add up to what the model answers, and are those of shap and of the definition."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import shap
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LinearRegression

from seamark.package import Feature, Schema
from seamark_predictor import explain_permutation, explain_tree
from seamark_predictor.explain import Explainer, Limits
from seamark_predictor.explain_background import draw
from seamark_predictor.explain_permutation import estimate
from seamark_predictor.explain_terms import Deadline
from seamark_predictor.formats.xgboost import XgboostModel
from seamark_predictor.rows import Rows

LONG = 60.0
PER_CASE = settings(
    max_examples=5, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def served(found: Any, case: Any, rows: Rows) -> Any:
    """What the model answers, of what the explanation explains."""
    output = case.model.predict(rows)
    if not case.schema.classes:
        return output.prediction
    places = [case.schema.classes.index(label) for label in found.classes]
    if output.probabilities is not None:
        return output.probabilities[np.arange(rows.count), places]
    return output.prediction == places


def test_each_kind_of_model_has_its_method_and_unit(case: Any, kind: str, lab: Any) -> None:
    found = case.explainer.explain(case.some(range(3)), LONG)
    assert (found.method, found.unit) == lab.KINDS[kind][3:]
    assert found.features == tuple(feature.name for feature in case.schema.features)
    assert (found.errors is not None) == (found.method == "permutation")


@PER_CASE
@given(drawn=st.data())
def test_base_value_and_contributions_add_up_to_the_answer(case: Any, lab: Any, drawn: Any) -> None:
    rows = case.some(drawn.draw(st.lists(st.integers(0, lab.COUNT - 1), min_size=1, max_size=4)))
    numbers = rows.numbers + drawn.draw(st.floats(-30, 30)) * (case.schema.task != "regression")
    found = case.explainer.explain(Rows(numbers, rows.categories), LONG)
    total = found.base + found.contributions.sum(axis=1)
    np.testing.assert_allclose(total, found.outputs)
    answer = served(found, case, Rows(numbers, rows.categories))
    links = {"log-odds": expit, "logarithm of the value": np.exp, "value": np.asarray, "probability": np.asarray}
    if found.unit in links:
        np.testing.assert_allclose(links[found.unit](total), answer, rtol=1e-4, atol=1e-5)
    elif found.unit == "decision":
        np.testing.assert_allclose(total, answer, atol=1e-9)
    elif found.unit == "margin" and case.schema.task == "binary":
        assert (total > 0).tolist() == [label == case.schema.classes[1] for label in _labels(case, numbers)]
    assert found.additivity_error <= 1e-4 * max(1.0, float(np.abs(answer).max()))


def _labels(case: Any, numbers: Any) -> list[Any]:
    return [case.schema.classes[int(i)] for i in case.model.predict(Rows(numbers, [])).prediction]


@pytest.mark.parametrize("name", ["logistic of three", "xgboost of three", "lightgbm of three", "histogram of texts"])
def test_of_several_classes_the_predicted_one_is_explained(lab: Any, name: str) -> None:
    case = lab.fitted(name)
    rows = case.some(range(20))
    found = case.explainer.explain(rows, LONG)
    predicted = case.model.predict(rows).prediction.astype(int).tolist()
    assert len(set(predicted)) == 3
    assert found.classes == tuple(case.schema.classes[i] for i in predicted)


def test_of_two_classes_the_second_is_explained_whatever_is_predicted(lab: Any) -> None:
    case = lab.fitted("forest")
    found = case.explainer.explain(case.some(range(20)), LONG)
    assert len(set(case.model.predict(case.some(range(20))).prediction.tolist())) == 2
    assert set(found.classes) == {"class 1"}


@pytest.mark.parametrize("name", ["logistic", "linear regression", "margin"])
def test_linear_contributions_are_those_of_shap(lab: Any, name: str) -> None:
    case = lab.fitted(name)
    found = case.explainer.explain(case.some(range(50)), LONG)
    background = draw(case.schema, lab.package(case.schema, case.rows).profile, 100).rows.numbers
    steps = [step for _, step in getattr(case.model.estimator, "steps", [("", case.model.estimator)])]
    before = steps[0].transform if len(steps) > 1 else np.asarray
    masker = shap.maskers.Independent(before(background), max_samples=100)
    theirs = shap.LinearExplainer(steps[-1], masker)
    np.testing.assert_allclose(found.contributions, theirs.shap_values(before(case.rows.numbers[:50])), atol=1e-9)
    np.testing.assert_allclose(found.base, np.full(50, theirs.expected_value), atol=1e-9)


NUMBERS = st.floats(-100, 100).map(lambda value: round(value, 3))


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weights=st.lists(NUMBERS, min_size=3, max_size=3), intercept=NUMBERS, row=st.lists(NUMBERS, min_size=3, max_size=3)
)
def test_a_linear_contribution_is_weight_times_distance_from_the_mean(
    lab: Any, weights: list[float], intercept: float, row: list[float]
) -> None:
    model = LinearRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array(weights), intercept, 3
    schema = Schema("regression", (Feature("a"), Feature("b"), Feature("c")))
    package = lab.package(schema, Rows(lab.data(False).numbers[:, :3], []))
    found = Explainer(package, lab.Opened(model, schema)).explain(Rows(np.array([row]), []), LONG)
    mean = draw(schema, package.profile, 100).rows.numbers.mean(axis=0)
    np.testing.assert_allclose(found.contributions[0], np.array(weights) * (np.array(row) - mean), rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(found.base, mean @ np.array(weights) + intercept, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", ["texts", "ridge of texts"])
def test_a_categorys_linear_contribution_is_the_shapley_value_of_the_whole_feature(lab: Any, name: str) -> None:
    case = lab.fitted(name, Limits(background=20))
    own = case.some([7])
    found = case.explainer.explain(own, LONG)
    background = draw(case.schema, lab.package(case.schema, case.rows).profile, 20).rows

    def ask(rows: Rows) -> Any:
        estimator = case.model.estimator
        score = getattr(estimator, "decision_function", estimator.predict)
        return score(case.model.matrix(rows))

    np.testing.assert_allclose(found.contributions[0], lab.shapley(ask, own, background, case.schema), atol=1e-9)


@pytest.mark.filterwarnings("ignore:LightGBM binary classifier with TreeExplainer")
@pytest.mark.parametrize(
    "name",
    [
        "tree",
        "forest",
        "extra trees",
        "forest of values",
        "boosting",
        "histogram",
        "xgboost",
        "lightgbm",
        "lightgbm of three",
    ],
)
def test_contributions_of_trees_are_those_of_shap(lab: Any, name: str) -> None:
    case = lab.fitted(name)
    found = case.explainer.explain(case.some(range(10)), LONG)
    theirs = shap.TreeExplainer(case.model.estimator, feature_perturbation="tree_path_dependent")
    values = np.asarray(theirs.shap_values(case.rows.numbers[:10], check_additivity=False))
    if values.ndim == 3:
        places = [case.schema.classes.index(label) for label in found.classes]
        values = values[np.arange(10), :, places]
    np.testing.assert_allclose(found.contributions, values, atol=1e-5)


def test_columns_made_of_one_category_are_added_up(lab: Any) -> None:
    case = lab.fitted("forest of texts")
    found = case.explainer.explain(case.some([4]), LONG)
    columns, forest = case.model.estimator
    made = columns.transform(case.model.matrix(case.some([4])))
    values = np.asarray(shap.TreeExplainer(forest).shap_values(made.astype(float), check_additivity=False))[0, :, 1]
    # Three lands, two colours, then age and size with no indicator, then visits.
    expected = [values[5], values[:3].sum(), values[6], values[3:5].sum(), values[7]]
    np.testing.assert_allclose(found.contributions[0], expected, atol=1e-12)


@pytest.mark.parametrize("name", ["forest", "forest of values", "extra trees"])
def test_a_forest_explained_in_parts_is_explained_as_a_whole(
    lab: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = lab.fitted(name)
    rows = case.some(range(5))
    expected = case.explainer.explain(rows, LONG)
    monkeypatch.setattr(explain_tree, "_PART", 100)
    assert len(list(explain_tree._parts(case.model.estimator))) > 3
    found = Explainer(lab.package(case.schema, case.rows), case.model).explain(rows, LONG)
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=1e-12)
    np.testing.assert_allclose(found.base, expected.base, atol=1e-12)


@pytest.mark.parametrize("wrapped", [True, False], ids=["file of the wrapper", "bare booster"])
def test_a_booster_that_stopped_early_is_explained_with_the_trees_it_predicts_with(lab: Any, wrapped: bool) -> None:
    x, y = lab.data(False).numbers, lab.answers_of(lab.data(False), 0)
    noise = np.random.default_rng(0).normal(size=lab.COUNT)
    model = xgboost.XGBRegressor(n_estimators=40, early_stopping_rounds=5, learning_rate=0.9, n_jobs=1)
    model.fit(x[:200], (y + 3 * noise)[:200], eval_set=[(x[200:], y[200:])], verbose=False)
    booster = model.get_booster()
    assert model.best_iteration + 1 < booster.num_boosted_rounds()
    if wrapped:
        booster.set_attr(scikit_learn="{}")
    schema = lab.schema_of(0, False)
    rows = Rows(x[:10], [])
    explainer = Explainer(lab.package(schema, rows), XgboostModel(booster, "json"))
    found = explainer.explain(rows, LONG)
    assert found.method == "tree"
    np.testing.assert_allclose(found.outputs, XgboostModel(booster, "json").predict(rows).prediction, rtol=1e-5)


def test_missing_values_are_explained_where_the_model_takes_them(lab: Any) -> None:
    case = lab.fitted("histogram")
    rows = case.some(range(4))
    rows.numbers[:, 0] = np.nan
    found = case.explainer.explain(rows, LONG)
    assert found.method == "tree"
    assert np.isfinite(found.contributions).all()


def interacting(x: Any) -> Any:
    return x[:, 0] * x[:, 1] + np.sin(x[:, 2]) - x[:, 3] * x[:, 0]


def entangled(x: Any) -> Any:
    return np.tanh(x[:, 0] * x[:, 1] * x[:, 2]) * x[:, 3] + (x[:, 0] > 0) * (x[:, 1] > 0) * (x[:, 2] > 0)


@pytest.fixture(scope="session")
def normal() -> Any:
    return np.random.default_rng(5).normal(size=(200, 4))


def test_where_two_features_interact_an_estimate_is_exact(lab: Any, normal: Any) -> None:
    case = lab.of_formula(interacting, normal, Limits(background=15))
    background = draw(case.schema, lab.package(case.schema, case.rows).profile, 15).rows
    found = case.explainer.explain(case.some([0, 1, 2]), LONG)
    for i in range(3):
        expected = lab.shapley(lambda rows: interacting(rows.numbers), case.some([i]), background, case.schema)
        np.testing.assert_allclose(found.contributions[i], expected, atol=1e-12)


def test_estimates_are_those_of_shap_within_their_standard_errors(lab: Any, normal: Any) -> None:
    case = lab.of_formula(entangled, normal)
    background = draw(case.schema, lab.package(case.schema, case.rows).profile, 100).rows
    found = case.explainer.explain(case.some(range(8)), LONG)
    # With so few features it goes through all sets of them.
    theirs = shap.KernelExplainer(entangled, background.numbers).shap_values(normal[:8], silent=True)
    assert found.errors is not None
    off = (found.contributions - theirs) / found.errors
    assert 0 < np.sqrt(np.mean(off**2)) < 1.2
    assert np.abs(off).max() < 4
    np.testing.assert_allclose(found.base, entangled(background.numbers).mean())


def test_categories_are_switched_as_a_whole(lab: Any) -> None:
    case = lab.fitted("texts", Limits(background=12))
    background = draw(case.schema, lab.package(case.schema, case.rows).profile, 12).rows
    own = case.some([3])

    def ask(rows: Rows) -> Any:
        return case.model.predict(rows).probabilities

    targets = np.array([1], dtype=np.intp)
    found = estimate(ask, own, background, targets, case.schema, Deadline.after(LONG))
    expected = lab.shapley(lambda rows: ask(rows)[:, 1], own, background, case.schema)
    assert (np.abs(found.contributions[0] - expected) <= 4 * found.errors[0] + 1e-9).all()
    assert (found.contributions[0][[1, 3]] != 0).all()


def test_mixtures_come_in_calls_of_bounded_size(lab: Any, normal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(x: Any) -> Any:
        sizes.append(len(x))
        return interacting(x)

    case = lab.of_formula(counted, normal, Limits(background=3))
    expected = case.explainer.explain(case.some(range(7)), LONG)
    monkeypatch.setattr(explain_permutation, "_CELLS", 20)
    sizes.clear()
    found = case.explainer.explain(case.some(range(7)), LONG)
    # The rows and the background themselves come whole.
    assert max(sizes[3:]) == 5
    np.testing.assert_array_equal(found.contributions, expected.contributions)


@pytest.mark.parametrize("features", [1, 2])
def test_models_of_one_and_two_features_are_explained(lab: Any, normal: Any, features: int) -> None:
    case = lab.of_formula(lambda x: x.prod(axis=1), normal[:, :features], Limits(background=5))
    found = case.explainer.explain(case.some([0, 1]), LONG)
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), normal[:2, :features].prod(axis=1))


def test_a_server_that_explains_starts_no_later() -> None:
    """In a process of its own: this one has imported everything."""
    heavy = "{'shap', 'numba', 'sklearn', 'scipy', 'xgboost', 'lightgbm'} & set(sys.modules)"
    script = f"import seamark_predictor.explain, sys; print({heavy})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
