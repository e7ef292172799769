"""Dashboards and rules ask for metrics that are exported, with the labels they have, and Prometheus reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import queries
from harness.queries import Shipped, filled, selected, used_labels

from seamark.metrics import CATALOGUE, Metric

ROOT = Path(__file__).parents[2]
DASHBOARDS = queries.dashboards()
SHIPPED = queries.shipped()
#: Prometheus's own.
ALERTS = "ALERTS"
ALERT_LABELS = {"alertname", "alertstate", "severity"}
VALUES = {"namespace": "a", "deployment": "m", "revision": ".*", "feature": "age", "__rate_interval": "1m"}
PLACES = [one.place for one in SHIPPED]


def metric(name: str) -> Metric | None:
    for ending in ("", "_bucket", "_sum", "_count"):
        found = CATALOGUE.get(name.removesuffix(ending))
        if found and name.endswith(ending) and (found.kind == "histogram") == bool(ending):
            return found
    return None


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("up", {"up": set()}),
        ('rate(a_total{b="c{d}", e=~"f|g"}[5m]) > 0.5', {"a_total": {"b", "e"}}),
        ("sum by (x) (a) / on (x) group_left (y) b unless ignoring (z) c", {"a": set(), "b": set(), "c": set()}),
        ("max by (x) (a offset 3d) == 2 * b and time() - c > 1e3", {"a": set(), "b": set(), "c": set()}),
        ("histogram_quantile(0.99, sum without (x) (rate(a_bucket[$__rate_interval])))", {"a_bucket": set()}),
        ("a{b='c'} or vector(0)", {"a": {"b"}}),
    ],
)
def test_what_a_query_asks_for_is_found(expr: str, expected: dict[str, set[str]]) -> None:
    assert selected(expr) == expected


def test_what_a_query_reads_is_taken_apart() -> None:
    assert queries.selectors('sum(rate(a{b="c"}[5m])) / d unless on (e) a{b!="c"} offset 3d') == [
        'a{b!="c"}',
        'a{b="c"}',
        "d",
    ]


def test_what_a_query_groups_by_is_found() -> None:
    assert used_labels("sum by (a, b) (x) / on (c) group_left y") == {"a", "b", "c"}


@pytest.mark.parametrize("one", SHIPPED, ids=PLACES)
def test_every_name_is_in_the_catalogue_and_has_these_labels(one: Shipped) -> None:
    allowed = {"le"} if "_bucket" in one.expr else set()
    for name, labels in selected(one.expr).items():
        known = metric(name)
        has = set(known.all_labels) if known else ALERT_LABELS | set(CATALOGUE["seamark_drift_score"].all_labels)
        assert known or (name == ALERTS and not one.place.startswith("rule")), name
        assert labels <= has, name
        allowed |= has | ({"reason", "result"} if name == ALERTS else set())
    assert used_labels(one.expr) <= allowed


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {
        found.name
        for one in SHIPPED
        if one.place.startswith("Seamark")
        for name in selected(one.expr)
        if (found := metric(name))
    }
    # A predictor's own are for those who run it alone: beside a monitor, which tells the same by deployment, nobody
    # scrapes them.
    assert shown == {name for name, one in CATALOGUE.items() if one.source != "predictor"}


def test_prometheus_reads_every_query_of_the_dashboards(promtool: Any, tmp_path: Path) -> None:
    rules = [{"record": f"query_{i}", "expr": filled(one.expr, VALUES)} for i, one in enumerate(SHIPPED)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = promtool("check", "rules", "--lint=none", str(path))
    assert done.returncode == 0, done.stderr


# --- dashboards


def test_the_dashboards_are_those_that_are_generated(tmp_path: Path) -> None:
    """Else: make generate."""
    subprocess.run([sys.executable, str(ROOT / "charts" / "dashboards"), str(tmp_path)], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in (queries.FILES / "dashboards").iterdir()}


def test_there_are_three() -> None:
    assert {uid: one["title"] for uid, one in DASHBOARDS.items()} == {
        "seamark-overview": "Seamark overview",
        "seamark-on-call": "Seamark on call",
        "seamark-data": "Seamark data",
    }


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_lets_choose_and_leads_to_the_others(uid: str) -> None:
    dashboard = DASHBOARDS[uid]
    names = [one["name"] for one in dashboard["templating"]["list"]]
    assert names[:4] == ["datasource", "namespace", "deployment", "revision"]
    assert names[4:] == (["feature"] if uid == "seamark-data" else [])
    (link,) = dashboard["links"]
    assert (link["type"], link["includeVars"], link["keepTime"]) == ("dashboards", True, True)
    assert set(link["tags"]) <= set(dashboard["tags"])
    assert dashboard["schemaVersion"] == 42


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_no_data_source_is_fixed(uid: str) -> None:
    dashboard = DASHBOARDS[uid]
    panels = [one for one in dashboard["panels"] if one["type"] != "row"]
    queried = [one for one in dashboard["templating"]["list"] if one["type"] == "query"]
    users = [
        *panels,
        *(target for one in panels for target in one["targets"]),
        *queried,
        *dashboard["annotations"]["list"],
    ]
    assert {(one["datasource"]["type"], one["datasource"]["uid"]) for one in users} == {("prometheus", "${datasource}")}


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_choices_are_offered_of_metrics_in_the_catalogue(uid: str) -> None:
    for one in DASHBOARDS[uid]["templating"]["list"]:
        if one["type"] == "query":
            selector = one["query"]["query"].removeprefix("label_values(").rpartition(",")[0]
            assert all(metric(name) for name in selected(selector)), selector


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panels_say_what_they_show_and_do_not_lie_on_each_other(uid: str) -> None:
    panels = DASHBOARDS[uid]["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for one in panels:
        place = one["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, one["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if one["type"] != "row":
            assert one["description"].endswith("."), one["title"]
            assert one["fieldConfig"]["defaults"]["unit"]
            assert one["targets"]
    assert len({x + 24 * y for x, y in taken}) == 24 * (1 + max(y for _, y in taken)), "there are holes"


@pytest.mark.parametrize("one", SHIPPED, ids=PLACES)
def test_a_rate_on_a_dashboard_is_over_grafanas_own_interval(one: Shipped) -> None:
    if not one.place.startswith("rule"):
        assert one.expr.count("[") == one.expr.count("[$__rate_interval]")
