"""Every query that the chart ships, in dashboards and rules, and what a query asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "FILES",
    "Shipped",
    "dashboards",
    "filled",
    "has_values",
    "rules",
    "selected",
    "selectors",
    "shipped",
    "used_labels",
]

FILES = Path(__file__).parents[3] / "charts" / "seamark" / "files"

# --- what is shipped


@dataclass(frozen=True, slots=True)
class Shipped:
    """A query and where it stands, as `Seamark data: Quality`; of several in a panel the later ones bear a letter."""

    place: str
    expr: str


def dashboards() -> dict[str, dict[str, Any]]:
    """Grafana's JSON by uid."""
    found = [json.loads(path.read_text()) for path in sorted((FILES / "dashboards").glob("*.json"))]
    return {dashboard["uid"]: dashboard for dashboard in found}


def rules() -> list[dict[str, Any]]:
    """All rules of all files."""
    groups = [
        group
        for path in sorted((FILES / "rules").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


def shipped() -> list[Shipped]:
    return [*_of_dashboards(), *(Shipped(f"rule {rule['alert']}", rule["expr"]) for rule in rules())]


def _of_dashboards() -> Iterator[Shipped]:
    for dashboard in dashboards().values():
        for note in dashboard["annotations"]["list"]:
            yield Shipped(f"{dashboard['title']}: marks of {note['name'].lower()}", note["expr"])
        row = ""
        for panel in dashboard["panels"]:
            row = panel["title"] if panel["type"] == "row" else row
            for target in panel.get("targets", []):
                letter = "" if target["refId"] == "A" else f" {target['refId']}"
                yield Shipped(f"{dashboard['title']}: {row}: {panel['title']}{letter}", target["expr"])


def filled(expr: str, values: Mapping[str, str]) -> str:
    """With the dashboard's choices in it, as Grafana fills them in. values: by name, without the dollar."""
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace(f"${name}", values[name])
    assert "$" not in expr, expr
    return expr


# --- what a query asks for

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\s*\{([^}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\b\s*(?:\(([^)]*)\))?")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_NAME = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])")
_WORDS = {"and", "or", "unless", "bool"}


def selected(expr: str) -> dict[str, set[str]]:
    """The series' names, each with the labels that it is matched by."""
    bare = _STRING.sub('""', expr)
    found: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(bare):
        assert name, f"a selector without a name: {expr}"
        found.setdefault(name, set()).update(_MATCHER.findall(matchers))
    rest = _GROUPING.sub(" ", _RANGE.sub(" ", _SELECTOR.sub(" ", bare)))
    for name in _NAME.findall(rest):
        if name not in _WORDS:
            found.setdefault(name, set())
    return found


def selectors(expr: str) -> list[str]:
    """What the query reads, each by itself, as `up{job="a"}`."""
    bare = {name for name in selected(expr) if not re.search(rf"\b{name}\s*\{{", expr)}
    return sorted(bare | {found[0] for found in re.finditer(r"[a-zA-Z_:][\w:]*\{[^}]*\}", expr)})


def has_values(samples: list[dict[str, Any]]) -> bool:
    """Whether an answer of Prometheus says anything: what 0 / 0 gives is nothing."""
    return any(sample["value"][1] != "NaN" for sample in samples)


def used_labels(expr: str) -> set[str]:
    """The labels that results are grouped or matched by."""
    groups = _GROUPING.findall(_STRING.sub('""', expr))
    return {label.strip() for group in groups for label in group.split(",") if label.strip()}
