"""The kinds of panels, with what all of a kind have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "SOME_IS_BAD",
    "SOME_IS_NEWS",
    "WIDTH",
    "Column",
    "Dashboard",
    "Json",
    "Panel",
    "Query",
    "Row",
    "bands",
    "bars",
    "dashed",
    "heatmap",
    "limit",
    "lines",
    "number",
    "states",
    "steps",
    "table",
]

Json = dict[str, Any]

#: Of a whole line, in Grafana's units.
WIDTH = 24


@dataclass(frozen=True, slots=True)
class Query:
    """is_instant: the value at the end of the time range, for tables and ranks."""

    expr: str
    legend: str = "__auto"
    is_instant: bool = False
    format: str = "time_series"


@dataclass(frozen=True, slots=True)
class Panel:
    """width of WIDTH. defaults, options, overrides and transformations are Grafana's own."""

    kind: str
    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    width: int
    height: int = 8
    defaults: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """uid never changes: links and bookmarks lead there. variables: choices beyond those that all have."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Json] = ()


# --- colours and lines


def steps(*colors: tuple[float | None, str]) -> Json:
    """Colours from these values on; the first begins at None."""
    return {
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in colors]},
        "color": {"mode": "thresholds"},
    }


PLAIN = steps((None, "text"))
SOME_IS_BAD = steps((None, "green"), (1, "red"))
SOME_IS_NEWS = steps((None, "text"), (1, "blue"))

_LEGEND: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def limit(value: float) -> Json:
    """For `lines`: a dashed line, from which on it is too much."""
    found = steps((None, "transparent"), (value, "red"))["thresholds"]
    return {"custom": {"thresholdsStyle": {"mode": "dashed"}}, "defaults": {"thresholds": found}}


def dashed(prefix: str) -> Json:
    """An override: series whose names begin like this are dashed."""
    dashes = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}}
    return {"matcher": {"id": "byRegexp", "options": f"/^{prefix}/"}, "properties": [dashes]}


# --- panels


def number(
    title: str, description: str, query: str, unit: str = "short", *, colors: Json = PLAIN, height: int = 4
) -> Panel:
    """One number, with its course behind it."""
    options: Json = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _LAST,
        "textMode": "auto",
    }
    return Panel("stat", title, description, [Query(query)], unit, 4, height, colors, options)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    width: int = 8,
    custom: Json | None = None,
    defaults: Json | None = None,
    overrides: Sequence[Json] = (),
) -> Panel:
    """Values over time. custom, defaults: Grafana's, laid over the usual ones."""
    drawn: Json = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "none", "group": "A"},
        **(custom or {}),
    }
    usual: Json = {"color": {"mode": "palette-classic"}, "custom": drawn, "min": 0, **(defaults or {})}
    options: Json = {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
    return Panel("timeseries", title, description, queries, unit, width, 8, usual, options, overrides)


def bands(title: str, description: str, query: Query) -> Panel:
    """Shares of a whole over time."""
    custom = {"stacking": {"mode": "percent", "group": "A"}, "fillOpacity": 70, "lineWidth": 0}
    return lines(title, description, query, unit="percentunit", custom=custom)


def bars(title: str, description: str, query: str, legend: str, colors: Json) -> Panel:
    """One bar for each series, as it is now."""
    options: Json = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "color",
        "showUnfilled": True,
        "reduceOptions": _LAST,
    }
    defaults = {"min": 0, "decimals": 2, **colors}
    queries = [Query(query, legend, is_instant=True)]
    return Panel("bargauge", title, description, queries, "short", 8, 8, defaults, options)


def heatmap(title: str, description: str, buckets: str, unit: str) -> Panel:
    """A histogram over time. buckets: growth by `le`."""
    options: Json = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "reqps"},
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 64, "reverse": False},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"unit": unit, "axisPlacement": "left"},
    }
    return Panel("heatmap", title, description, [Query(buckets, "{{le}}", format="heatmap")], unit, 12, 8, {}, options)


def states(title: str, description: str, query: str, legend: str, names: Sequence[tuple[str, str]]) -> Panel:
    """Which state each series was in, and when. names: (state, colour) of the values 1, 2 and so on."""
    texts = {str(i): {"text": name, "color": color, "index": i} for i, (name, color) in enumerate(names, 1)}
    defaults: Json = {
        "color": {"mode": "thresholds"},
        "mappings": [{"type": "value", "options": texts}],
        "custom": {"fillOpacity": 70, "lineWidth": 0},
    }
    options: Json = {
        "mergeValues": True,
        "showValue": "auto",
        "rowHeight": 0.8,
        "legend": {**_LEGEND, "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return Panel("state-timeline", title, description, [Query(query, legend)], "short", 14, 9, defaults, options)


# --- tables


@dataclass(frozen=True, slots=True)
class Column:
    """A query's values; its labels become columns, too. is_hidden: only the labels are shown."""

    name: str
    unit: str
    query: str
    is_hidden: bool = False


def table(title: str, description: str, *columns: Column, width: int = WIDTH, height: int = 8) -> Panel:
    """What is now; rows with the same labels become one."""
    values = [f"Value #{chr(ord('A') + i)}" if len(columns) > 1 else "Value" for i in range(len(columns))]
    named = dict(zip(values, columns, strict=True))
    organized: Json = {
        "excludeByName": {"Time": True, **{value: True for value, column in named.items() if column.is_hidden}},
        "renameByName": {value: column.name for value, column in named.items()},
        "indexByName": {},
    }
    units = [_override(column.name, "unit", column.unit) for column in columns if not column.is_hidden]
    return Panel(
        "table",
        title,
        description,
        [Query(column.query, is_instant=True, format="table") for column in columns],
        "short",
        width,
        height,
        {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}},
        {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
        [*units, _override("deployment", "links", [_LINK_TO_DATA])],
        [{"id": "merge", "options": {}}, {"id": "organize", "options": organized}],
    )


_LINK_TO_DATA: Json = {
    "title": "Its data",
    "url": "/d/seamark-data?var-namespace=${__data.fields.namespace}&var-deployment=${__data.fields.deployment}"
    "&${datasource:queryparam}&${__url_time_range}",
    "targetBlank": False,
}


def _override(column: str, property_: str, value: Any) -> Json:
    return {"matcher": {"id": "byName", "options": column}, "properties": [{"id": property_, "value": value}]}
