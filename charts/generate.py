"""Writes what is made from the chart's values: `python charts/generate.py`. It is committed; a test compares it.

`values.schema.json` comes from the tables below, and the values in `README.md` from values.yaml and its comments.
"""
# ruff: noqa: TID251  # the ban is the core's: this script reads and writes files

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["generated", "readme", "schema", "values_table"]

CHART = Path(__file__).parent / "seamark"

Schema = dict[str, Any]

# --- values.schema.json

FLAG: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string"}
ANY_MAPPING: Schema = {"type": "object"}
MAPPINGS: Schema = {"type": "array", "items": ANY_MAPPING}


def pattern(expression: str, longest: int | None = None) -> Schema:
    return {"type": "string", "pattern": expression} | ({"maxLength": longest} if longest else {})


def choice(*allowed: str) -> Schema:
    return {"enum": list(allowed)}


def strict(properties: Schema) -> Schema:
    """A mapping with these keys and no others: a misspelt value is a mistake, never ignored."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def defined(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


NAME = pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 63)
ADDRESS = pattern(r"^(https?://[^\s]+)?$")
LABELS, IMAGE = defined("labels"), defined("image")

DEFINITIONS: Schema = {
    "labels": {"type": "object", "additionalProperties": TEXT},
    "tag": pattern(r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"),
    "image": strict(
        {
            "repository": pattern(r"^[a-z0-9][-a-zA-Z0-9._:/]*$"),
            "tag": defined("tag"),
            "digest": pattern(r"^(sha256:[0-9a-f]{64})?$"),
        }
    ),
    "serviceAccount": strict({"create": FLAG, "name": TEXT, "annotations": LABELS}),
    "resources": strict({"requests": ANY_MAPPING, "limits": ANY_MAPPING, "claims": MAPPINGS}),
    "monitor": strict(
        {"enabled": FLAG, "additionalLabels": LABELS, "interval": pattern(r"^([0-9]+(ms|s|m|h))+$")},
    ),
}


def component(**own: Schema) -> Schema:
    """A service of the platform: what all have, and its own."""
    return strict(
        {
            "image": IMAGE,
            **own,
            "serviceAccount": defined("serviceAccount"),
            "resources": defined("resources"),
            "podLabels": LABELS,
            "podAnnotations": LABELS,
            "nodeSelector": LABELS,
            "tolerations": MAPPINGS,
            "affinity": ANY_MAPPING,
            "priorityClassName": TEXT,
        }
    )


VALUES: Schema = {
    "nameOverride": TEXT,
    "fullnameOverride": TEXT,
    "commonLabels": LABELS,
    "image": strict(
        {
            "registry": pattern(r"^[-a-zA-Z0-9._:/]*$"),
            "repository": pattern(r"^[-a-z0-9._/]*$"),
            "tag": defined("tag"),
            "pullPolicy": choice("Always", "IfNotPresent", "Never"),
            "pullSecrets": {"type": "array", "items": NAME},
        }
    ),
    "crds": strict({"enabled": FLAG, "keep": FLAG}),
    "rbac": strict({"create": FLAG, "scope": choice("cluster", "namespaces"), "aggregate": FLAG}),
    "gateway": strict(
        {
            "namespace": NAME,
            "name": pattern(r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", 253),
            "domain": pattern(r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", 190),
            "host": pattern(r"^([-.a-z0-9]|\{name\}|\{namespace\}|\{domain\})+$")
            | {"allOf": [{"pattern": r"\{name\}"}, {"pattern": r"\{namespace\}"}]},
            "confirmUrl": ADDRESS,
        }
    ),
    "alertmanager": strict({"url": ADDRESS}),
    "auth": strict({"existingSecret": TEXT, "keep": FLAG}),
    "operator": component(
        watchNamespaces={"type": "array", "items": NAME, "uniqueItems": True},
        extraArgs={"type": "array", "items": TEXT},
    ),
    "collector": component(
        data=pattern(r"^([a-z0-9]+://.+)?$"),
        envFrom=MAPPINGS,
        requireTokens=FLAG,
        persistence=strict(
            {
                "existingClaim": TEXT,
                "storageClass": TEXT,
                "accessModes": {"type": "array", "minItems": 1, "items": choice("ReadWriteOnce", "ReadWriteMany")},
                "size": pattern(r"^[0-9]+([.][0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"),
                "keep": FLAG,
            }
        ),
    ),
    "analyzer": component(),
    "monitor": strict({"image": IMAGE}),
    "trainer": strict({"image": IMAGE}),
    "runtime": strict({"enabled": FLAG, "image": IMAGE, "resources": defined("resources")}),
    "podSecurityContext": ANY_MAPPING,
    "containerSecurityContext": ANY_MAPPING,
    "metrics": strict(
        {
            "annotations": FLAG,
            "serviceMonitor": defined("monitor"),
            "podMonitor": defined("monitor"),
            "rules": strict({"enabled": FLAG, "additionalLabels": LABELS}),
            "dashboards": strict({"enabled": FLAG, "additionalLabels": LABELS, "folder": TEXT}),
        }
    ),
    "platform": strict(
        {
            "route": strict(
                {"enabled": FLAG, "host": pattern(r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$", 253), "annotations": LABELS}
            )
        }
    ),
    "networkPolicy": strict({"enabled": FLAG, "monitoringFrom": MAPPINGS, "gatewayFrom": MAPPINGS}),
    "podDisruptionBudget": strict(
        {"enabled": FLAG, "maxUnavailable": {"oneOf": [{"type": "integer", "minimum": 0}, pattern("^[0-9]+%$")]}}
    ),
}


def schema() -> str:
    """values.schema.json. Helm adds `global` to the values of a chart that is part of another."""
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Seamark chart",
        **strict({**VALUES, "global": ANY_MAPPING}),
        "definitions": DEFINITIONS,
    }
    return json.dumps(document, indent=2) + "\n"


# --- README.md

TABLE = re.compile(r"(?<=<!-- values: made by charts/generate.py from values.yaml -->\n).*?(?=<!-- end -->)", re.DOTALL)
#: Mappings that are one value.
WHOLE = {"resources", "podSecurityContext", "containerSecurityContext"}


def values_table(text: str) -> str:
    """One row for each value of a values.yaml: its path, default and comment."""
    comments = {path: comment for path, _, comment in _values(text)}
    rows = [
        f"| `{path}` | `{default}` | {comment or _as_operator(path, comments)} |"
        for path, default, comment in _values(text)
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows, ""])


def _as_operator(path: str, comments: dict[str, str]) -> str:
    """What collector and analyzer have in common with the operator is explained once."""
    twin = f"operator.{path.partition('.')[2]}"
    if not comments.get(twin):
        raise ValueError(f"Cannot describe {path}: neither it nor {twin} has a comment")
    return f"as `{twin}`"


def _values(text: str) -> Iterator[tuple[str, str, str]]:
    """Path, default as JSON, and comment of each value. A mapping's comment goes before its first value's."""
    lines = text.splitlines()

    def walk(node: yaml.MappingNode, path: str, before: str) -> Iterator[tuple[str, str, str]]:
        for key, value in node.value:
            place = f"{path}{key.value}"
            comment = " ".join(filter(None, [before, _comment(lines, key.start_mark.line)]))
            before = ""
            if isinstance(value, yaml.MappingNode) and not value.flow_style and key.value not in WHOLE:
                yield from walk(value, f"{place}.", comment)
            else:
                plain = yaml.safe_load(yaml.serialize(value))
                yield place, json.dumps(plain).replace("|", "\\|"), comment

    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from walk(root, "", "")


def _comment(lines: list[str], line: int) -> str:
    """The comment lines right above a line, as one."""
    found: list[str] = []
    while line > 0 and (match := re.fullmatch(r" *# (.*)", lines[line - 1])):
        found.insert(0, match[1])
        line -= 1
    return " ".join(found)


def readme(text: str, values: str) -> str:
    """The README with the values' table in its place."""
    return TABLE.sub(lambda _: values_table(values), text)


def generated() -> dict[Path, str]:
    """What each generated file should hold."""
    page = CHART / "README.md"
    return {
        CHART / "values.schema.json": schema(),
        page: readme(page.read_text(), (CHART / "values.yaml").read_text()),
    }


if __name__ == "__main__":
    for file, content in generated().items():
        file.write_text(content)
