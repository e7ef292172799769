"""Gauges show what is known now, by namespace and deployment, of a bounded number of features; what is gone is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark.evidence import Arm, Drift, Evidence, Pairs, Share
from seamark.metrics import CATALOGUE, COMMON
from seamark_analyzer.gauges import Gauges, exported
from seamark_analyzer.settings import Model, RevisionSource


def model(*revisions: str, namespace: str = "default") -> Model:
    sources = {name: RevisionSource("/p", role="champion") for name in revisions}
    return Model(window=60, interval=1, namespace=namespace, deployment="m", champion="m-1", revisions=sources)


def drift(kind: str, feature: str, impact: float = 0.0, since: float | None = None, rows: int = 100) -> Drift:
    return Drift(kind, feature, score=0.5, threshold=0.1, rows=rows, impact=impact, since=since)


def evidence(*found: Drift, challenger: str = "") -> Evidence:
    arms = [
        Arm(revision, since=0, until=1, requests=1, errors=0, latency=None, recent=Share(1, 2))
        for revision in ("m-1", challenger)
        if revision
    ]
    return Evidence(
        time=1.0,
        champion=arms[0],
        challenger=arms[1] if challenger else None,
        pairs=Pairs(Share(3, 4), None) if challenger else None,
        drift=found,
    )


def samples(known: dict[str, Any], max_features: int = 1000) -> set[tuple[Any, ...]]:
    """Each sample's name and labels' values in the catalogue's order; it must be there once only."""
    text = Gauges(lambda: known, max_features).text()
    found = [
        (sample.name, *(sample.labels[name] for name in (*COMMON, *CATALOGUE[sample.name].labels)))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert len(set(found)) == len(found)
    return set(found)


def test_two_deployments_of_one_name_in_two_namespaces_do_not_mix() -> None:
    known = {f"{space}/m": (model("m-1", namespace=space), evidence(drift("feature", "f"))) for space in ("a", "b")}
    names = ("seamark_drift_score", "seamark_drift_threshold")
    expected = {(name, space, "m", "m-1", "feature", "f") for name in names for space in ("a", "b")}
    assert expected <= samples(known)


def test_a_revision_that_goes_takes_its_series_along() -> None:
    both = {"m": (model("m-1", "m-2"), evidence(drift("feature", "f"), challenger="m-2"))}
    assert {sample[3] for sample in samples(both)} == {"m-1", "m-2"}
    alone = {"m": (model("m-1"), evidence(drift("feature", "f")))}
    assert {sample[3] for sample in samples(alone)} == {"m-1"}
    assert samples({}) == set()


def test_evidence_that_is_not_known_leaves_only_the_roles() -> None:
    assert samples({"m": (model("m-1"), None)}) == {("seamark_revision_info", "default", "m", "m-1", "champion")}


def test_too_few_rows_are_no_score() -> None:
    known = {"m": (model(), evidence(drift("feature", "f", rows=0)))}
    assert samples(known) == {("seamark_quality", "default", "m", "m-1", "accuracy")}


FOUND = (
    drift("feature", "strong", impact=9.0),
    drift("concept", ""),
    drift("feature", "middle", impact=5.0),
    drift("prediction", "score"),
    drift("feature", "alarmed", impact=1.0, since=1.0),
    drift("feature", "weak", impact=0.5),
)


@pytest.mark.parametrize(
    ("most", "features"),
    [
        (0, []),
        (1, ["alarmed"]),
        (2, ["alarmed", "strong"]),
        (4, ["alarmed", "strong", "middle", "weak"]),
        (9, ["alarmed", "strong", "middle", "weak"]),
    ],
)
def test_features_beyond_the_cap_give_way_to_those_that_alarm_and_matter(most: int, features: list[str]) -> None:
    found = exported(FOUND, most)
    assert [one.feature for one in found if one.kind == "feature"] == features
    assert [one.kind for one in found if one.kind != "feature"] == ["concept", "prediction"]
    assert len([name for name, *_ in samples({"m": (model(), evidence(*FOUND))}, most) if "score" in name]) == len(
        found
    )


@pytest.mark.parametrize(
    ("most", "problem"), [(4, ""), (3, "Cannot export all 4 features: --max-features is 3")], ids=["all", "some"]
)
def test_a_cap_that_hides_features_is_said(most: int, problem: str) -> None:
    gauges = Gauges(dict, most)
    assert gauges.problem(evidence(*FOUND)) == problem
    assert gauges.problem(None) == ""


@pytest.mark.parametrize(("labels", "found"), [(0, []), (7, [("seamark_log_labels", "default", "m", "m-1")])])
def test_labels_are_counted_once_there_are_any(labels: int, found: list[tuple[str, ...]]) -> None:
    known = {"m": (model("m-1"), replace(evidence(), labels_total=labels))}
    assert [sample for sample in samples(known) if sample[0] == "seamark_log_labels"] == found
