"""From a dashboard to the JSON that Grafana reads."""

from __future__ import annotations

from collections.abc import Iterable

from panels import WIDTH, Dashboard, Json, Panel, Query, Row
from queries import EVENTS

__all__ = ["rendered", "variable"]

#: Grafana 12.3's; earlier ones, from 10 on, take it too.
SCHEMA_VERSION = 42
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
TAG = "seamark"
#: Choices are offered of what monitors have: models that serve.
HEARD = "seamark_predictions_total"


def rendered(dashboard: Dashboard) -> Json:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        # The same moment is marked in all panels.
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "links": [_link_to_others()],
        "annotations": {"list": [_rollout_events()]},
        "templating": {"list": _variables(dashboard.variables)},
        "panels": _placed(dashboard.rows),
    }


def variable(name: str, metric: str, matchers: str = "", *, is_one: bool = False) -> Json:
    """A choice of the label's values. is_one: of exactly one; else of any number, at first all."""
    selector = f"{metric}{{{matchers}}}" if matchers else metric
    query = f"label_values({selector}, {name})"
    found: Json = {
        "type": "query",
        "name": name,
        "label": name.capitalize(),
        "datasource": SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        # With the time range: revisions come and go.
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": not is_one,
        "includeAll": not is_one,
        "options": [],
        "current": {},
    }
    everything = {"allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return found if is_one else found | everything


def _variables(more: Iterable[Json]) -> list[Json]:
    """The same first choices everywhere, so that links carry them along."""
    source: Json = {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
        "current": {},
    }
    return [
        source,
        variable("namespace", HEARD),
        variable("deployment", HEARD, 'namespace=~"$namespace"'),
        variable("revision", HEARD, 'namespace=~"$namespace", deployment=~"$deployment"'),
        *more,
    ]


def _rollout_events() -> Json:
    """Marked at the time that the series' value says, not at that of the sample."""
    return {
        "name": "Rollout events",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "expr": EVENTS,
        "titleFormat": "{{event}}",
        "textFormat": "{{namespace}}/{{deployment}} {{revision}}",
        "tagKeys": "deployment,event",
        "useValueForTime": True,
        "step": "60s",
    }


def _link_to_others() -> Json:
    return {
        "type": "dashboards",
        "title": "Seamark",
        "tags": [TAG],
        "includeVars": True,
        "keepTime": True,
        "asDropdown": False,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }


# --- panels


def _placed(rows: Iterable[Row]) -> list[Json]:
    """Each row under its title; its panels from left to right, on a new line where one does not fit."""
    panels: list[Json] = []
    y = 0
    for row in rows:
        panels.append(_row(row.title, len(panels) + 1, y))
        y += 1
        x = line = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, line = 0, y + line, 0
            panels.append(_panel(panel, len(panels) + 1, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return panels


def _row(title: str, number: int, y: int) -> Json:
    place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
    return {"type": "row", "id": number, "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "type": panel.kind,
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [_target(query, chr(ord("A") + i)) for i, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": {"unit": panel.unit, **panel.defaults}, "overrides": list(panel.overrides)},
        "options": panel.options,
        "transformations": list(panel.transformations),
    }


def _target(query: Query, letter: str) -> Json:
    return {
        "refId": letter,
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "format": query.format,
        "instant": query.is_instant,
        "range": not query.is_instant,
        "editorMode": "code",
    }
