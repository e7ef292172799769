"""An explainer is bounded in rows, time and number, says what it lacks, and estimates where a model deceives it."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from seamark.errors import InvalidInput
from seamark.profile import Profile
from seamark_predictor import explain, explain_terms, explain_tree, formats
from seamark_predictor.explain import Explainer, Explanation, Limits, document, no_features
from seamark_predictor.package import read
from seamark_predictor.rows import Rows

LONG = 60.0


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever somebody looks."""
    clock = count(1000.0)
    monkeypatch.setattr(explain_terms, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))


def total(x: Any) -> Any:
    return x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3]


@pytest.fixture(scope="session")
def normal() -> Any:
    return np.random.default_rng(1).normal(size=(300, 4))


def refused(explainer: Explainer, rows: Rows, seconds: float = LONG) -> tuple[int, str]:
    with pytest.raises(InvalidInput) as error:
        explainer.explain(rows, seconds)
    return error.value.status, str(error.value)


@pytest.mark.parametrize("name", ["logistic", "forest", "neighbours"])
def test_as_many_rows_as_allowed_are_explained_and_no_more(lab: Any, name: str) -> None:
    case = lab.fitted(name, Limits(rows=7, background=4))
    assert case.explainer.explain(case.some(range(7)), LONG).contributions.shape == (7, 5)
    assert refused(case.explainer, case.some(range(8))) == (
        413,
        "Cannot explain 8 rows: at most 7 are explained at a time",
    )


def test_an_estimate_stops_at_the_deadline_with_what_it_has(lab: Any, normal: Any, ticks: None) -> None:
    case = lab.of_formula(total, normal)
    # Of the clock's seconds it takes two to begin, then one for each background row.
    stopped = case.explainer.explain(case.some(range(3)), 12.0)
    whole = case.explainer.explain(case.some(range(3)), 1000.0)
    assert whole.background == "100 rows drawn from the package's profile, each feature by itself"
    assert stopped.background.startswith("the first ")
    used = int(stopped.background.split()[2])
    assert 2 <= used <= 10
    assert stopped.errors is not None
    assert whole.errors is not None
    assert stopped.errors.mean() > 2 * whole.errors.mean()
    assert (np.abs(stopped.contributions - whole.contributions) < 5 * stopped.errors + 1e-9).all()
    for found in (stopped, whole):
        np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), total(normal[:3]), atol=1e-12)


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_without_time_for_two_background_rows_there_is_no_estimate(
    lab: Any, normal: Any, ticks: None, seconds: float
) -> None:
    case = lab.of_formula(total, normal)
    case.explainer.explain(case.some([0]), 1000.0)
    assert refused(case.explainer, case.some([0]), seconds) == (
        504,
        f"Cannot explain 1 row within {seconds:g} seconds: send fewer, or allow more time",
    )


@pytest.mark.parametrize("name", ["logistic", "forest", "lightgbm"])
def test_an_exact_explanation_that_is_not_done_in_time_is_none(lab: Any, name: str, ticks: None) -> None:
    case = lab.fitted(name)
    rows = case.some(range(20))
    assert case.explainer.explain(rows, 1000.0).method != "permutation"
    # The forest looks at the clock for each row, the booster for each ten.
    assert refused(case.explainer, rows, 1.0)[0] == 504


class _Held:
    """A model that answers only when it is let go."""

    platform = "held"

    def __init__(self, model: Any) -> None:
        self._model = model
        self.asked, self.let_go = threading.Semaphore(0), threading.Event()

    def predict(self, rows: Rows) -> Any:
        self.asked.release()
        assert self.let_go.wait(LONG)
        return self._model.predict(rows)


@pytest.mark.parametrize("at_once", [1, 2])
def test_only_so_many_explanations_run_at_once(lab: Any, normal: Any, at_once: int) -> None:
    case = lab.of_formula(total, normal)
    model = _Held(case.model)
    explainer = Explainer(lab.package(case.schema, case.rows), model, Limits(at_once=at_once, background=3))
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(explainer.explain, case.some([i]), LONG) for i in range(at_once)]
        for _ in running:
            assert model.asked.acquire(timeout=LONG)
        assert refused(explainer, case.some([0])) == (
            503,
            f"Cannot explain: {at_once} explanations run already; try again",
        )
        model.let_go.set()
        assert [found.result().method for found in running] == ["permutation"] * at_once
    assert explainer.explain(case.some([0]), LONG).method == "permutation"


def test_a_place_is_free_again_after_every_refusal(lab: Any, normal: Any) -> None:
    case = lab.of_formula(total, normal, Limits(rows=2, at_once=1, background=3))
    for _ in range(3):
        assert refused(case.explainer, case.some(range(3)))[0] == 413
        assert refused(case.explainer, case.some([0]), 0.0)[0] in (503, 504)
    assert case.explainer.explain(case.some([0]), LONG).method == "permutation"


def test_two_threads_get_what_one_gets(lab: Any) -> None:
    for name in ("forest", "xgboost", "lightgbm", "neighbours"):
        case = lab.fitted(name, Limits(background=5))
        expected = [case.explainer.explain(case.some(range(i, i + 5)), LONG) for i in range(8)]
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda i, c=case: c.explainer.explain(c.some(range(i, i + 5)), LONG), range(8)))
        for mine, theirs in zip(expected, found, strict=True):
            np.testing.assert_array_equal(mine.contributions, theirs.contributions)


def test_while_explanations_are_prepared_clients_may_try_again(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = lab.fitted("forest")
    begun, let_go = threading.Event(), threading.Event()

    def slow(structure: Any) -> Any:
        begun.set()
        assert let_go.wait(LONG)
        return explain_tree.Tree(structure)

    monkeypatch.setattr(explain, "Tree", slow)
    case.explainer.warm_up()
    assert begun.wait(LONG)
    assert refused(case.explainer, case.some([0]), 0.01) == (
        503,
        "Cannot explain yet: explanations are being prepared; try again",
    )
    let_go.set()
    assert case.explainer.explain(case.some([0]), LONG).method == "tree"


def test_it_is_prepared_once(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = lab.fitted("forest")
    made: list[Any] = []

    def counted(structure: Any) -> Any:
        made.append(structure)
        return explain_tree.Tree(structure)

    monkeypatch.setattr(explain, "Tree", counted)
    case.explainer.warm_up()
    for i in range(3):
        case.explainer.explain(case.some([i]), LONG)
    assert len(made) == 1


def test_a_preparation_that_fails_is_told_and_not_waited_for(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(explain, "draw", fails)
    case = lab.fitted("forest")
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        case.explainer.explain(case.some([0]), LONG)


def test_trees_of_scikit_learn_need_shap_and_say_so(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    case = lab.fitted("forest")
    for _ in range(2):
        status, message = refused(case.explainer, case.some([0]))
        assert (status, message.partition("; ")) == (
            501,
            (
                "Cannot explain: shap, which this model's trees need, is not installed",
                "; ",
                "pip install 'seamark-predictor[explain]'",
            ),
        )


@pytest.mark.parametrize("name", ["logistic", "xgboost", "lightgbm", "neighbours"])
def test_other_models_do_not_need_shap(lab: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    case = lab.fitted(name, Limits(background=3))
    assert case.explainer.explain(case.some([0]), LONG).contributions.shape == (1, 5)


@pytest.mark.parametrize(("name", "needed"), [("logistic", True), ("neighbours", True), ("forest", False)])
def test_without_a_profile_only_trees_are_explained(lab: Any, name: str, needed: bool) -> None:
    case = lab.fitted(name)
    bare = SimpleNamespace(manifest=SimpleNamespace(schema=case.schema), profile=Profile(0, ()))
    explainer = Explainer(bare, case.model)
    if not needed:
        assert explainer.explain(case.some([0]), LONG).method == "tree"
        return
    status, message = refused(explainer, case.some([0]))
    assert status == 501
    assert message.startswith("Cannot explain: the package's profile does not say what values feature 'age', 'land'")


class _Lying(LogisticRegression):
    """Answers otherwise than its coefficients say."""

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x) ** 2 / (super().predict_proba(x) ** 2).sum(axis=1, keepdims=True)


_Lying.__module__ = "sklearn.linear_model._logistic"


@pytest.mark.parametrize(
    ("kind", "reason"), [("lying", "sums of method linear differ from"), ("raising", "RuntimeError: no trees here")]
)
def test_a_model_that_is_not_what_it_looks_like_is_asked_instead(
    lab: Any, kind: str, reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema, rows = lab.schema_of(2, False), lab.data(False)
    estimator = _Lying(max_iter=1000).fit(rows.numbers, lab.answers_of(rows, 2))
    if kind == "raising":

        def fails(structure: Any) -> Any:
            raise RuntimeError("no trees here")

        estimator = DecisionTreeClassifier(max_depth=3).fit(rows.numbers, lab.answers_of(rows, 2))
        monkeypatch.setattr(explain, "Tree", fails)
    explainer = Explainer(lab.package(schema, rows), lab.Opened(estimator, schema), Limits(background=10))
    found = explainer.explain(Rows(rows.numbers[:2], []), LONG)
    assert (found.method, found.unit) == ("permutation", "probability")
    np.testing.assert_allclose(found.outputs, estimator.predict_proba(rows.numbers[:2])[:, 1], atol=1e-12)
    assert f'event=explanation_not_exact reason="{reason}' in caplog.text


def test_a_method_that_fails_for_some_rows_is_replaced_for_them_alone(
    lab: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = lab.fitted("forest", Limits(background=3))
    own = explain_tree.Tree.margins

    def fails_for_two(tree: Any, rows: Rows, deadline: Any) -> Any:
        if rows.count == 2:
            raise ValueError("two")
        return own(tree, rows, deadline)

    monkeypatch.setattr(explain_tree.Tree, "margins", fails_for_two)
    assert [case.explainer.explain(case.some(range(n)), LONG).method for n in (1, 2, 3)] == [
        "tree",
        "permutation",
        "tree",
    ]
    assert 'event=explanation_not_exact reason="ValueError: two"' in caplog.text


@pytest.mark.parametrize("answer", [np.nan, np.inf, RuntimeError("secret")], ids=["nan", "inf", "raises"])
def test_a_model_that_fails_on_mixtures_is_not_explained(lab: Any, normal: Any, answer: Any) -> None:
    own = normal[0].tolist()

    def fails(x: Any) -> Any:
        if len(x) == 1 and x[0].tolist() == own:
            return total(x)
        if isinstance(answer, Exception):
            raise answer
        return np.full(len(x), answer)

    case = lab.of_formula(fails, normal)
    status, message = refused(case.explainer, case.some([0]))
    assert (status, "mixed with the background" in message, "secret" in message) == (422, True, False)


def test_what_the_model_itself_refuses_is_passed_on(lab: Any, normal: Any) -> None:
    def refuses(x: Any) -> Any:
        raise InvalidInput("Cannot predict: no", status=422)

    case = lab.of_formula(refuses, normal)
    assert refused(case.explainer, case.some([0])) == (422, "Cannot predict: no")


def test_a_model_of_tensors_is_refused_with_the_reason() -> None:
    error = no_features("resnet")
    assert (error.status, str(error)) == (
        501,
        "Cannot explain model 'resnet': it takes tensors, and no schema says what features are in them",
    )


def test_an_onnx_package_is_explained_as_the_model_it_was_made_of(
    cancer_packages: dict[str, Path], logistic: Any, kit: Any
) -> None:
    package = read(cancer_packages["onnx"])
    model = formats.load(package, trust_pickle=False)
    found = Explainer(package, model).explain(Rows(kit.CANCER.data[:2], []), LONG)
    assert (found.method, found.unit) == ("permutation", "probability")
    np.testing.assert_allclose(found.outputs, logistic.predict_proba(kit.CANCER.data[:2])[:, 1], atol=1e-5)
    names = {
        "worst texture",
        "radius error",
        "worst concave points",
        "worst radius",
        "worst area",
        "mean concave points",
    }
    assert set(list(document(found, "cancer", "r", "1")["explanations"][0]["contributions"])[:3]) <= names


def explanation(**changes: Any) -> Explanation:
    fields: dict[str, Any] = {
        "method": "tree",
        "unit": "log-odds",
        "background": "the training rows",
        "features": ("a", "b", "c"),
        "classes": ("yes", "yes"),
        "base": np.array([0.5, 0.25]),
        "contributions": np.array([[1.0, -2.0, 0.0], [0.5, 0.5, -0.5]]),
        "outputs": np.array([-0.5, 0.75]),
        "additivity_error": 0.0,
    }
    return Explanation(**fields | changes)


def test_a_document_lists_features_by_the_size_of_their_contribution() -> None:
    found = document(explanation(), "m", "m-1", "id-1")
    assert found == {
        "model_name": "m",
        "model_version": "m-1",
        "id": "id-1",
        "method": "tree",
        "unit": "log-odds",
        "background": "the training rows",
        "additivity_error": 0.0,
        "explanations": [
            {"class": "yes", "output": -0.5, "base_value": 0.5, "contributions": {"b": -2.0, "a": 1.0, "c": 0.0}},
            {"class": "yes", "output": 0.75, "base_value": 0.25, "contributions": {"a": 0.5, "b": 0.5, "c": -0.5}},
        ],
    }
    orders = [list(row["contributions"]) for row in found["explanations"]]
    assert orders == [["b", "a", "c"], ["a", "b", "c"]]


def test_a_document_names_no_class_for_values_and_tells_standard_errors() -> None:
    errors = np.array([[0.1, 0.2, 0.3]] * 2)
    found = document(explanation(classes=(None, None), errors=errors), "m", "m-1", "i")["explanations"][0]
    assert list(found) == ["output", "base_value", "contributions", "standard_errors"]
    assert list(found["standard_errors"].items()) == [("b", 0.2), ("a", 0.1), ("c", 0.3)]


@pytest.mark.parametrize("name", ["texts", "xgboost", "neighbours", "support vectors"])
def test_documents_are_json(lab: Any, name: str) -> None:
    case = lab.fitted(name, Limits(background=3))
    found = document(case.explainer.explain(case.some(range(2)), LONG), "m", "r", "i")
    assert json.loads(orjson.dumps(found)) == found
