"""A manifest becomes values with every default in place, or one message that names the path."""

from __future__ import annotations

import contextlib
import copy
import datetime
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidSpec
from seamark.package import MODEL_FORMATS
from seamark.spec import (
    STRATEGIES,
    FalseAlarms,
    Gate,
    Governance,
    HeaderMatch,
    Hold,
    Inconclusive,
    Model,
    Monitoring,
    Quality,
    Retraining,
    Rollout,
    Serving,
    Shadow,
    Trainer,
    Trigger,
    Weight,
    duration,
    parse,
)

SMALLEST: dict[str, Any] = {
    "apiVersion": "seamark.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "churn"},
    "spec": {"model": {"uri": "file:///models/churn"}},
}

DIGEST = "0123456789abcdef" * 4


def manifest(**spec: object) -> dict[str, Any]:
    document = copy.deepcopy(SMALLEST)
    document["spec"].update(spec)
    return document


def test_every_default_is_filled_in() -> None:
    deployment = parse(SMALLEST)
    assert (deployment.name, deployment.namespace) == ("churn", "default")
    assert deployment.model == Model("file:///models/churn")
    assert deployment.serving == Serving(1, 3, "seamark-predictor", "v2", {})
    assert deployment.monitoring == Monitoring(
        3600, 300, FalseAlarms(1, 30 * 86400), 0.1, "observe", 0.05, (), (), Quality("accuracy", 86400)
    )
    assert deployment.retraining == Retraining((), 6 * 3600, 4, 500, 3600, 2, Trainer({}, None))
    assert deployment.governance == Governance("", "low", 0, 90 * 86400)
    assert deployment.rollout.gates == (Gate("errorRate", 0.01), Gate("latencyP99", 0.005, 1.5))
    assert deployment.rollout.on_inconclusive == Inconclusive("extend", 3600)


def test_every_field_can_be_set() -> None:
    document = manifest(
        model={"uri": "s3://bucket/churn", "format": "joblib", "trustPickle": True, "digest": DIGEST},
        serving={"replicas": 2, "maxReplicas": 5, "runtime": "triton", "protocol": "v1", "resources": {"cpu": 1}},
        rollout={
            "strategy": "canary",
            "steps": [{"shadow": {"percent": 50, "for": "1m"}}, {"weight": 10}, {"hold": {"for": "90s"}}, {"hold": {}}],
            "gates": [
                {"metric": "errorRate", "margin": 0.5},
                {"metric": "latencyP99", "maxRatio": 1.2, "margin": 3600},
                {"metric": "shadowAgreement", "min": 0.95},
                {"metric": "accuracy", "margin": 0},
            ],
            "onWorse": "rollback",
            "onInconclusive": {"action": "pause", "for": "2h"},
            "match": [{"header": "X-Tester", "value": "yes"}],
            "sticky": {"header": "X-User-Id"},
            "progressDeadline": "5m",
        },
        monitoring={
            "window": "10m",
            "interval": "1m",
            "falseAlarms": "0.5/7d",
            "minEffect": 0,
            "contract": "reject",
            "maxViolations": 1,
            "segments": ["country"],
            "groups": ["gender"],
            "quality": {"metric": "f1", "labelDelay": "0s"},
        },
        retraining={
            "on": [{"drift": "feature"}, {"schedule": "0 3 * * 1"}, {"newLabels": 10000}],
            "cooldown": "0s",
            "maxPerDay": 1,
            "minLabels": 1,
            "deadline": "1d",
            "retries": 0,
            "trainer": {"config": {"candidates": ["logistic"]}, "job": {"template": {}}},
        },
        governance={"owner": "growth", "riskTier": "high", "approvals": 1, "retention": "30d"},
    )
    document["metadata"] |= {"namespace": "prod", "labels": {"team": "growth"}}
    document["status"] = {"champion": "churn-1"}
    deployment = parse(document)
    assert deployment.namespace == "prod"
    assert deployment.model == Model("s3://bucket/churn", "joblib", True, DIGEST)
    assert deployment.serving == Serving(2, 5, "triton", "v1", {"cpu": 1})
    assert deployment.rollout == Rollout(
        "canary",
        (Shadow(50, 60), Weight(10), Hold(90), Hold(None)),
        (
            Gate("errorRate", margin=0.5),
            Gate("latencyP99", margin=3600, max_ratio=1.2),
            Gate("shadowAgreement", min=0.95),
            Gate("accuracy", margin=0),
        ),
        Inconclusive("pause", 7200),
        (HeaderMatch("x-tester", "yes"),),
        "x-user-id",
        300,
    )
    assert deployment.monitoring == Monitoring(
        600, 60, FalseAlarms(0.5, 7 * 86400), 0, "reject", 1, ("country",), ("gender",), Quality("f1", 0)
    )
    assert deployment.retraining == Retraining(
        (Trigger(drift="feature"), Trigger(schedule="0 3 * * 1"), Trigger(new_labels=10000)),
        0,
        1,
        1,
        86400,
        0,
        Trainer({"candidates": ["logistic"]}, {"template": {}}),
    )
    assert deployment.governance == Governance("growth", "high", 1, 30 * 86400)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_has_its_steps_in_order(strategy: str) -> None:
    rollout = parse(manifest(rollout={"strategy": strategy})).rollout
    weights = [step.weight for step in rollout.steps if isinstance(step, Weight)]
    assert weights == sorted(weights)
    assert bool(rollout.steps) == bool(rollout.gates) == (strategy != "direct")


def test_an_interval_is_a_twelfth_of_the_window_unless_given() -> None:
    assert parse(manifest(monitoring={"window": "2h"})).monitoring.interval == 600


def test_more_replicas_than_three_raise_the_most() -> None:
    assert parse(manifest(serving={"replicas": 7})).serving.max_replicas == 7


def test_an_action_alone_is_enough_for_on_inconclusive() -> None:
    assert parse(manifest(rollout={"onInconclusive": "promote"})).rollout.on_inconclusive == Inconclusive("promote")


def test_a_null_is_a_default() -> None:
    assert parse(manifest(rollout=None, monitoring={"window": None})) == parse(manifest(monitoring={}))


@pytest.mark.parametrize("key", ["triggers", "on", True, "true"])
def test_triggers_may_be_called_on_whatever_a_yaml_1_1_reader_makes_of_it(key: object) -> None:
    assert parse(manifest(retraining={key: [{"drift": "label"}]})).retraining.on == (Trigger(drift="label"),)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10),
        ("5m", 300),
        ("1h30m", 5400),
        ("30d", 30 * 86400),
        ("1.5h", 5400),
        ("0s", 0),
        ("3650d", 3650 * 86400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text, "x") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "5", "m", "5 m", "-5m", "5m ", "5min", "1e3s", 5, None, True, "1.s", "5m3", "5m\n", ".5h"]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(InvalidSpec) as error:
        duration(value, "spec.x")
    assert str(error.value) == f"spec.x: {value!r} is not a duration such as 250ms, 10s, 5m, 1h30m or 30d"


@pytest.mark.parametrize("digit", ["٥", "५", "５", "𝟓", "²", "Ⅴ"])
@pytest.mark.parametrize("form", ["{}m", "1{}m", "1.{}m", "1h{}m"])
def test_a_duration_has_no_digits_but_those_of_ascii(digit: str, form: str) -> None:
    with pytest.raises(InvalidSpec, match="is not a duration"):
        duration(form.format(digit), "spec.x")


@given(
    st.from_regex(r"([0-9]{1,3}(\.[0-9]{1,3})?(ms|s|m|h|d)){1,3}", fullmatch=True),
    st.integers(0, 20),
    st.text(max_size=3),
)
def test_what_is_taken_for_a_duration_is_numbers_with_units_and_nothing_else(text: str, at: int, more: str) -> None:
    assert 0 <= duration(text, "x") <= 3 * 1000 * 86400
    changed = text[:at] + more + text[at:]
    with contextlib.suppress(InvalidSpec):
        assert duration(changed, "x") <= 3650 * 86400
        assert re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+", changed)


OTHER_DIGESTS = ["a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "sha256:" + "a" * 64, "٣" * 64]


@pytest.mark.parametrize("digest", OTHER_DIGESTS)
def test_a_digest_is_written_in_one_way(digest: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.model\.digest: .* is not a SHA-256 of 64 lower-case hex"):
        parse(manifest(model={"uri": "u", "digest": digest}))


LONG = "x" * 3000
BAD_MANIFESTS: list[tuple[object, str]] = [
    (3, "manifest: 3 is not a mapping"),
    ({}, "apiVersion: is missing and has no default"),
    ({**SMALLEST, "apiVersion": "v1"}, "apiVersion: 'v1' is not seamark.dev/v1alpha1"),
    ({**SMALLEST, "kind": ["ModelDeployment"]}, "kind: ['ModelDeployment'] is not ModelDeployment"),
    ({**SMALLEST, "metadata": {}}, "metadata.name: is missing and has no default"),
    (
        {**SMALLEST, "metadata": {"name": "Churn"}},
        "metadata.name: 'Churn' is not a name of at most 40 lower-case letters, digits and dashes",
    ),
    (
        {**SMALLEST, "metadata": {"name": "c" * 41}},
        f"metadata.name: '{'c' * 41}' is not a name of at most 40 lower-case letters, digits and dashes",
    ),
    (
        {**SMALLEST, "metadata": {"name": "churn", "namespace": 3}},
        "metadata.namespace: 3 is not a name of at most 40 lower-case letters, digits and dashes",
    ),
    ({**SMALLEST, "spec": []}, "spec: [] is not a mapping"),
    ({**SMALLEST, "spec": {}}, "spec.model: is missing and has no default"),
    ({**SMALLEST, "status": 1}, "status: 1 is not a mapping"),
    ({**SMALLEST, "extra": 1}, "extra: unknown field; allowed here: apiVersion, kind, metadata, spec, status"),
]
BAD_SPECS: list[tuple[str, object, str]] = [
    ("model", {}, ".uri: is missing and has no default"),
    ("model", {"uri": ""}, ".uri: is empty"),
    ("model", {"uri": "a\nb"}, ".uri: 'a\\nb' is not one line of at most 2000 characters"),
    ("model", {"uri": LONG}, f".uri: '{'x' * 56}... is not one line of at most 2000 characters"),
    ("model", {"uri": "u", "format": "pickle"}, f".format: 'pickle' is not one of {', '.join(MODEL_FORMATS)}"),
    ("model", {"uri": "u", "trustPickle": "yes"}, ".trustPickle: 'yes' is not true or false"),
    ("model", {"uri": "u", "digest": 3}, ".digest: 3 is not a SHA-256 of 64 lower-case hexadecimal digits"),
    ("model", {"uri": "u", "digest": ""}, ".digest: '' is not a SHA-256 of 64 lower-case hexadecimal digits"),
    ("model", {"uri": "u", "url": 1}, ".url: unknown field; allowed here: digest, format, trustPickle, uri"),
    ("model", {"uri": "u", 3: 1}, ".3: unknown field; allowed here: digest, format, trustPickle, uri"),
    ("model", {"uri": "u", "a\nb": 1}, ".'a\\nb': unknown field; allowed here: digest, format, trustPickle, uri"),
    ("serving", {"replicas": 0}, ".replicas: 0 is not between 1 and 100"),
    ("serving", {"replicas": 101}, ".replicas: 101 is not between 1 and 100"),
    ("serving", {"replicas": True}, ".replicas: True is not a whole number"),
    ("serving", {"replicas": 1.0}, ".replicas: 1.0 is not a whole number"),
    ("serving", {"replicas": 10**5000}, ".replicas: a huge int is not between 1 and 100"),
    ("serving", {"replicas": 4, "maxReplicas": 3}, ".maxReplicas: 3 is less than 4 replicas"),
    ("serving", {"resources": 1}, ".resources: 1 is not a mapping"),
    (
        "serving",
        {"resources": {"a": math.nan}},
        ".resources: cannot be written as JSON: Out of range float values are not JSON compliant",
    ),
    ("rollout", {"strategy": "big-bang"}, f".strategy: 'big-bang' is not one of {', '.join(STRATEGIES)}"),
    ("rollout", {"steps": [{"hold": "5m"}]}, ".steps[0].hold: '5m' is not a mapping such as {for: 10m}"),
    ("rollout", {"steps": [{"shadow": "5m"}]}, ".steps[0].shadow: '5m' is not a mapping such as {for: 10m}"),
    ("rollout", {"onWorse": "ignore"}, ".onWorse: 'ignore' is not rollback"),
    ("rollout", {"steps": {}}, ".steps: {} is not a list"),
    ("rollout", {"steps": [{"weight": 1}] * 1001}, ".steps: 1001 entries are more than 1000"),
    (
        "rollout",
        {"steps": [{"weight": 10}, {"weight": 10}, {"weight": 140}]},
        ".steps[2].weight: 140 is not between 0 and 100",
    ),
    ("rollout", {"steps": [{"weight": -1}]}, ".steps[0].weight: -1 is not between 0 and 100"),
    ("rollout", {"steps": [{"weight": 20}, {"weight": 10}]}, ".steps[1].weight: 10 is less than 20 before it"),
    ("rollout", {"steps": [{}]}, ".steps[0]: needs one of shadow, weight or hold"),
    (
        "rollout",
        {"steps": [{"weight": 1, "hold": {}}]},
        ".steps[0]: has more than one of shadow, weight and hold; write one step for each",
    ),
    ("rollout", {"steps": [{"shadow": {}}]}, ".steps[0].shadow.for: is missing and has no default"),
    ("rollout", {"steps": [{"shadow": {"for": "0s"}}]}, ".steps[0].shadow.for: '0s' is not longer than zero"),
    (
        "rollout",
        {"steps": [{"weight": 5}, {"shadow": {"for": "1m"}}]},
        ".steps[1].shadow: comes after weight 5; shadow comes first",
    ),
    ("rollout", {"steps": [{"hold": {"for": "9999d"}}]}, ".steps[0].hold.for: '9999d' is longer than 3650d"),
    ("rollout", {"gates": [{}]}, ".gates[0].metric: is missing and has no default"),
    (
        "rollout",
        {"gates": [{"metric": "auc"}]},
        ".gates[0].metric: 'auc' is not one of errorRate, latencyP99, shadowAgreement, accuracy",
    ),
    ("rollout", {"gates": [{"metric": "accuracy"}]}, ".gates[0].margin: is missing; accuracy needs it"),
    (
        "rollout",
        {"gates": [{"metric": "accuracy", "margin": 0.1, "min": 0.9}]},
        ".gates[0].min: accuracy takes margin only",
    ),
    (
        "rollout",
        {"gates": [{"metric": "latencyP99", "min": 0.9}]},
        ".gates[0].min: latencyP99 takes maxRatio and margin only",
    ),
    ("rollout", {"gates": [{"metric": "accuracy", "margin": 5}]}, ".gates[0].margin: 5 is not between 0 and 1"),
    (
        "rollout",
        {"gates": [{"metric": "errorRate", "margin": math.nan}]},
        ".gates[0].margin: nan is not between 0 and 1",
    ),
    (
        "rollout",
        {"gates": [{"metric": "latencyP99", "maxRatio": 0.9}]},
        ".gates[0].maxRatio: 0.9 is not between 1 and 100",
    ),
    ("rollout", {"gates": [{"metric": "shadowAgreement", "min": "1"}]}, ".gates[0].min: '1' is not a number"),
    (
        "rollout",
        {"gates": [{"metric": "accuracy", "margin": 0.1}, {"metric": "accuracy", "margin": 0.2}]},
        ".gates: a metric has two gates; one is allowed",
    ),
    ("rollout", {"onInconclusive": "wait"}, ".onInconclusive: 'wait' is not one of extend, pause, promote"),
    ("rollout", {"onInconclusive": {}}, ".onInconclusive.action: is missing and has no default"),
    ("rollout", {"match": [{"header": "a b", "value": "1"}]}, ".match[0].header: 'a b' is not an HTTP header name"),
    ("rollout", {"sticky": {"header": "h" * 65}}, f".sticky.header: '{'h' * 56}... is not an HTTP header name"),
    ("monitoring", {"window": "0s"}, ".window: '0s' is not longer than zero"),
    ("monitoring", {"window": "1m", "interval": "2m"}, ".interval: is longer than the window of 60s"),
    ("monitoring", {"falseAlarms": 3}, ".falseAlarms: 3 is not a budget such as 1/30d: alarms per duration"),
    (
        "monitoring",
        {"falseAlarms": "0/30d"},
        ".falseAlarms: '0/30d' is not a budget such as 1/30d: alarms per duration",
    ),
    (
        "monitoring",
        {"falseAlarms": "x/30d"},
        ".falseAlarms: 'x/30d' is not a budget such as 1/30d: alarms per duration",
    ),
    (
        "monitoring",
        {"falseAlarms": "9999999/30d"},
        ".falseAlarms: '9999999/30d' is not a budget such as 1/30d: alarms per duration",
    ),
    ("monitoring", {"falseAlarms": "1/0d"}, ".falseAlarms: '0d' is not longer than zero"),
    ("monitoring", {"maxViolations": 1.1}, ".maxViolations: 1.1 is not between 0 and 1"),
    ("monitoring", {"segments": [1]}, ".segments[0]: 1 is not a text"),
    ("retraining", [], ": [] is not a mapping"),
    ("retraining", {"triggers": [{}]}, ".triggers[0]: needs exactly one of drift, schedule and newLabels"),
    (
        "retraining",
        {"triggers": [{"drift": "feature", "newLabels": 1}]},
        ".triggers[0]: needs exactly one of drift, schedule and newLabels",
    ),
    ("retraining", {"triggers": [{"newLabels": 0}]}, ".triggers[0].newLabels: 0 is not between 1 and 1000000000000"),
    (
        "retraining",
        {"triggers": [{"schedule": "daily"}]},
        ".triggers[0].schedule: 'daily' has 1 fields; a schedule has 5: minute hour day month weekday",
    ),
    (
        "retraining",
        {"trainer": {"config": {"since": datetime.date(2026, 1, 1)}}},
        ".trainer.config: cannot be written as JSON: Object of type date is not JSON serializable",
    ),
    ("governance", {"approvals": 11}, ".approvals: 11 is not between 0 and 10"),
]


@pytest.mark.parametrize(
    ("document", "message"),
    BAD_MANIFESTS
    + [(manifest(**{field: value}), f"spec.{field}{problem}") for field, value, problem in BAD_SPECS]
    + [
        (
            manifest(extra=1),
            "spec.extra: unknown field; allowed here: governance, model, monitoring, retraining, rollout, serving",
        )
    ],
)
def test_a_bad_manifest_is_refused_with_the_path(document: object, message: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse(document)
    assert str(error.value) == message


def test_a_value_nested_without_end_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(InvalidSpec, match="a huge list is not a mapping"):
        parse(nested)
    with pytest.raises(InvalidSpec, match="cannot be written as JSON"):
        parse(manifest(serving={"resources": {"a": nested}}))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["5m", "1/30d", "canary", "accuracy", "0 3 * * 1", "v2", "extend", "drift"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
KEYS = st.sampled_from(
    re.findall(
        r"\w+",
        """uri format strategy steps shadow weight hold percent for gates metric margin maxRatio min onInconclusive
        action match sticky header value window interval falseAlarms minEffect segments quality labelDelay on
        drift schedule newLabels cooldown trainer config job owner riskTier approvals retention replicas
        maxReplicas resources""",
    )
)
SHAPED = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=20
)
FIELDS = st.sampled_from(["model", "serving", "rollout", "monitoring", "retraining", "governance"])


def mistake(document: object) -> str:
    try:
        parse(document)
    except InvalidSpec as error:
        return str(error)
    return ""


@given(JSON | st.dictionaries(FIELDS, SHAPED).map(lambda spec: manifest(**spec)))
def test_parsing_raises_nothing_but_invalid_spec(document: object) -> None:
    message = mistake(document)
    assert "\n" not in message
    assert len(message) < 1000
