"""Shared by the chart's tests: the definitions, the cases, and what the API server checks of a structural schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "seamark"
Schema = dict[str, Any]
Check = Callable[[Schema, object, str], list[str]]

#: Keywords that say nothing about a value, or that other tests look at.
SILENT = {"description", "format", "x-kubernetes-validations", "x-kubernetes-list-map-keys"}
LIST_TYPES = ("atomic", "map")


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session")
def definitions() -> dict[str, Schema]:
    """CustomResourceDefinitions by kind."""
    found = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "files" / "crds").glob("*.yaml"))]
    return {crd["spec"]["names"]["kind"]: crd for crd in found}


@pytest.fixture(scope="session")
def schemas(definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Schemas of the only version, by kind."""
    return {kind: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind, crd in definitions.items()}


@pytest.fixture(scope="session")
def check() -> Check:
    """Paths at which a value does not fit a schema, as the API server with strict field validation finds them."""
    return lambda schema, value, path: [place.removeprefix(".") for place in mistakes(schema, value, path)]


def mistakes(schema: Schema, value: object, path: str) -> Iterator[str]:
    if value is None:
        if not schema.get("nullable"):
            yield path
        return
    if "type" in schema and not IS[schema["type"]](value):
        yield path
        return
    for keyword, bound in schema.items():
        if keyword not in SILENT and not KEYWORDS[keyword](bound, value, schema):
            yield path
    yield from inner_mistakes(schema, value, path)


def inner_mistakes(schema: Schema, value: object, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from mistakes(schema["items"], item, f"{path}[{i}]")
    if isinstance(value, dict):
        yield from (f"{path}.{name}" for name in schema.get("required", ()) if value.get(name) is None)
        for name, item in value.items():
            yield from field_mistakes(schema, name, item, f"{path}.{name}")


def field_mistakes(schema: Schema, name: str, item: object, path: str) -> Iterator[str]:
    inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
    if inner is not None:
        # The API server drops a field that is null and may not be.
        yield from mistakes(inner, item, path) if item is not None else ()
    elif not (schema.get("x-kubernetes-preserve-unknown-fields") or path == f".metadata.{name}"):
        yield path


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


IS: dict[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": is_number,
    "integer": lambda value: is_number(value) and float(value).is_integer(),  # type: ignore[arg-type]  # a number
}


def has_distinct_keys(value: list[Any], schema: Schema) -> bool:
    found = [tuple(item.get(key) for key in schema["x-kubernetes-list-map-keys"]) for item in value]
    return len(set(found)) == len(found)


#: Each takes the keyword's value, the document's and the schema; a keyword for another type is fulfilled.
KEYWORDS: dict[str, Callable[[Any, Any, Schema], bool]] = {
    "type": lambda bound, value, schema: True,
    "nullable": lambda bound, value, schema: True,
    "properties": lambda bound, value, schema: True,
    "items": lambda bound, value, schema: True,
    "required": lambda bound, value, schema: True,
    "additionalProperties": lambda bound, value, schema: True,
    "x-kubernetes-preserve-unknown-fields": lambda bound, value, schema: bound is True,
    "enum": lambda bound, value, schema: value in bound,
    "minimum": lambda bound, value, schema: not is_number(value) or value >= bound,
    "maximum": lambda bound, value, schema: not is_number(value) or value <= bound,
    "minLength": lambda bound, value, schema: not isinstance(value, str) or len(value) >= bound,
    "maxLength": lambda bound, value, schema: not isinstance(value, str) or len(value) <= bound,
    "maxItems": lambda bound, value, schema: len(value) <= bound,
    "pattern": lambda bound, value, schema: not isinstance(value, str) or bool(go_search(bound, value)),
    "allOf": lambda bound, value, schema: not any(list(mistakes(part, value, "")) for part in bound),
    "x-kubernetes-list-type": lambda bound, value, schema: (
        bound in LIST_TYPES and (bound != "map" or has_distinct_keys(value, schema))
    ),
}


def go_search(pattern: str, text: str) -> re.Match[str] | None:
    """In Go `$` is the end of the text; in Python also the place before a last line break."""
    return re.search(re.sub(r"\$$", r"\\Z", pattern), text)
