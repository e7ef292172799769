"""Counting: exact, by block, and with every known series there from the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.metrics import LATENCY_BOUNDS
from seamark.package import Schema
from seamark.profile import Profile, bin_categories, bin_numbers
from seamark.records import Prediction, pack
from seamark_monitor.counters import BLOCK, Counters
from seamark_monitor.watched import fit

Make = Callable[..., Prediction]


@pytest.fixture
def counters(schema: Schema, reference: Profile) -> Counters:
    return Counters(fit(schema, reference))


def test_everything_is_zero_at_first_and_nothing_is_added_later(counters: Counters, prediction: Make) -> None:
    before = (set(counters.violations), set(counters.statuses), set(counters.features))
    assert not any(counters.violations.values())
    count(counters, [prediction("a", status=418), prediction("b", colour="violet", age=np.inf)])
    assert (set(counters.violations), set(counters.statuses), set(counters.features)) == before


def test_features_and_outputs_are_binned_as_the_profile_bins_them(
    counters: Counters, prediction: Make, reference: Profile
) -> None:
    rng = np.random.default_rng(0)
    rows = 3 * BLOCK // 2
    numbers = np.column_stack([rng.normal(40, 20, rows), rng.normal(2_000, 900, rows)])
    numbers[::7, 1] = np.nan
    colours = [["red", "blue", "violet", None][i % 4] for i in range(rows)]
    outputs = np.column_stack([rng.integers(0, 2, rows), rng.uniform(size=rows)]).astype(float)
    block = Prediction("a", 1.8e9, 0.1, 200, rows, numbers.tobytes(), [colours], outputs.tobytes())
    count(counters, [block, block])
    age, colour, income = reference.features
    assert counters.features["age"].tolist() == (2 * bin_numbers(numbers[:, :1], [age])[0]).tolist()
    assert counters.features["income"].tolist() == (2 * bin_numbers(numbers[:, 1:], [income])[0]).tolist()
    assert counters.features["colour"].tolist() == (2 * bin_categories(colours, colour)).tolist()
    assert counters.outputs["prediction"].sum() == counters.outputs["score"].sum() == counters.rows == 2 * rows
    assert counters.outputs["prediction"][1] == 2 * np.count_nonzero(outputs[:, 0])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.data())
@settings(deadline=None)
def test_how_predictions_are_grouped_changes_no_count(sizes: list[int], data: st.DataObject) -> None:
    from_fixture = data.draw(st.integers(0, len(sizes)))
    values = st.floats(-1e6, 1e6) | st.just(np.nan) | st.just(np.inf)
    predictions = [
        make(f"p{i}", rows, data.draw(st.sampled_from([200, 422])), data.draw(values)) for i, rows in enumerate(sizes)
    ]
    whole, parts = fresh(), fresh()
    count(whole, predictions)
    count(parts, predictions[:from_fixture])
    count(parts, predictions[from_fixture:])
    for name in whole.features:
        assert whole.features[name].tolist() == parts.features[name].tolist()
    assert whole.violations == parts.violations
    assert whole.kept == parts.kept
    assert whole.nonfinite == parts.nonfinite
    assert sum(whole.kept.values()) == sum(sizes)


@pytest.mark.parametrize(
    ("status", "label"),
    [(200, "200"), (422, "422"), (418, "4xx"), (599, "5xx"), (201, "2xx"), (100, "1xx"), (7, "other"), (-4, "other")],
)
def test_every_status_has_its_label_or_its_class(counters: Counters, prediction: Make, status: int, label: str) -> None:
    count(counters, [prediction("a", status=status)])
    assert {key for key, count in counters.statuses.items() if count} == {label}


@pytest.mark.parametrize(
    ("seconds", "bucket", "total"),
    [
        pytest.param(LATENCY_BOUNDS[0], 0, LATENCY_BOUNDS[0], id="a bound belongs to its own bucket"),
        pytest.param(np.nextafter(LATENCY_BOUNDS[0], 1), 1, LATENCY_BOUNDS[0], id="just above it to the next"),
        pytest.param(1e9, len(LATENCY_BOUNDS), 1e9, id="longer than all bounds"),
        pytest.param(-1.0, 0, 0.0, id="a clock that stepped back"),
        pytest.param(np.nan, 0, 0.0, id="not a number"),
    ],
)
def test_latency_falls_into_its_bucket(
    counters: Counters, prediction: Make, seconds: float, bucket: int, total: float
) -> None:
    count(counters, [prediction("a", latency=float(seconds))])
    assert np.flatnonzero(counters.latency).tolist() == [bucket]
    assert counters.latency_sum == pytest.approx(total)


def test_a_refused_request_is_checked_and_never_binned(counters: Counters, prediction: Make) -> None:
    count(counters, [prediction("a", rows=3, status=422, age=1_000.0)])
    assert counters.rows == 0
    assert not any(counts.any() for counts in counters.features.values())
    assert counters.violations["age", "range"] == 3
    assert counters.kept == {"true": 0, "false": 3}


@pytest.mark.parametrize(
    ("status", "rows", "with_values", "found", "true", "false"),
    [
        pytest.param(200, 4, True, [], 4, 0, id="an answer that keeps it"),
        pytest.param(200, 4, True, [("age", "type", 1)], 3, 1, id="an answer with a mistake in one row"),
        pytest.param(200, 4, True, [("age", "type", 9)], 0, 4, id="never more rows than there are"),
        pytest.param(400, 4, False, [("age", "type", 1)], 0, 4, id="a refusal counts all its rows"),
        pytest.param(400, 0, False, [("", "shape", 1)], 0, 1, id="at least one"),
        pytest.param(413, 0, False, [], 0, 0, id="a refusal for another reason says nothing"),
        pytest.param(500, 2, True, [], 2, 0, id="a failure of the model is no fault of the input"),
    ],
)
def test_rows_keep_the_contract_or_not(
    counters: Counters,
    prediction: Make,
    status: int,
    rows: int,
    with_values: bool,
    found: list[tuple[str, str, int]],
    true: int,
    false: int,
) -> None:
    record = prediction("a", rows=rows, status=status)
    record.violations = found
    if not with_values:
        record.numbers, record.categories = b"", []
    count(counters, [record])
    assert counters.kept == {"true": true, "false": false}


@pytest.mark.parametrize(
    ("found", "counted"),
    [
        (("age", "type", 2), ("age", "type")),
        (("", "shape", 2), ("", "shape")),
        (("secret field of a caller", "type", 2), ("", "type")),
        (("age", "made up", 2), ("", "other")),
    ],
)
def test_names_from_callers_make_no_series(
    counters: Counters, prediction: Make, found: tuple[str, str, int], counted: tuple[str, str]
) -> None:
    record = prediction("a", status=400)
    record.violations = [found]
    count(counters, [record])
    assert {key: count for key, count in counters.violations.items() if count} == {counted: 2}


@pytest.mark.parametrize(
    ("with_values", "violations", "nonfinite"),
    [pytest.param(True, 2, 4, id="judged here"), pytest.param(False, 2, 2, id="judged by the predictor alone")],
)
def test_what_the_predictor_found_too_is_counted_once(
    counters: Counters, prediction: Make, with_values: bool, violations: int, nonfinite: int
) -> None:
    record = prediction("a", rows=2, status=422, age=np.inf, income=np.nan)
    record.violations = [("age", "nonfinite", 2)]
    if not with_values:
        record.numbers, record.categories = b"", []
    count(counters, [record])
    assert counters.violations["age", "nonfinite"] == violations
    assert counters.nonfinite["input"] == nonfinite
    assert counters.kept == {"true": 0, "false": 2}


def test_values_that_are_not_finite_are_counted_on_both_sides(counters: Counters, prediction: Make) -> None:
    count(counters, [prediction("a", rows=2, age=np.inf, income=np.nan, outputs=(1.0, np.nan))])
    assert counters.nonfinite == {"input": 4, "output": 2}
    assert counters.violations["age", "nonfinite"] == 2
    assert counters.outputs["score"][-1] == 2


def test_a_score_that_a_foreign_server_does_not_send_is_no_drift_and_no_nonsense(
    counters: Counters, prediction: Make
) -> None:
    labels_only = prediction("a", rows=2, outputs=(1.0, np.nan))
    labels_only.unsent = ["score"]
    count(counters, [labels_only, prediction("b", rows=1, outputs=(1.0, 0.7))])
    assert counters.nonfinite["output"] == 0
    assert (counters.outputs["prediction"].sum(), counters.outputs["score"].sum()) == (3, 1)


def count(counters: Counters, predictions: Sequence[Prediction]) -> None:
    """As they come: answers of one kind in one block, and the others."""
    answered = [each for each in predictions if each.is_answered]
    kinds = [[each for each in answered if bool(each.unsent) == unsent] for unsent in (False, True)]
    counters.add([pack(alike) for alike in kinds if alike], [each for each in predictions if not each.is_answered])


def fresh() -> Counters:
    return Counters(fit(SHARED["schema"], SHARED["reference"]))


def make(*arguments: object) -> Prediction:
    return SHARED["prediction"](*arguments)


SHARED: dict = {}


@pytest.fixture(autouse=True)
def _shared(schema: Schema, reference: Profile, prediction: Make) -> None:
    """Hypothesis runs one test body many times and wants no fixtures of function scope."""
    SHARED.update(schema=schema, reference=reference, prediction=prediction)
