"""The lines a newcomer can paste: a request made from the model's own profile, feedback, evidence, metrics."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

from seamark.errors import InvalidPackage
from seamark.package import NUMBER
from seamark.profile import Column, Profile, parse_profile
from seamark_local.home import Home

__all__ = ["curl_lines", "example_row"]

MAX_PROFILE = 16 * 2**20
#: Characters of a request that still fit a line of a terminal; a longer one goes to a file.
INLINE = 60


def curl_lines(home: Home, name: str, package: Path, gateway: str) -> list[str]:
    """Commands to paste; without a readable profile those that need a row are left out."""
    model = f"{gateway}/v1/models/{name}"
    rest = [
        f"curl -s {model}/evidence",
        f"curl -s {gateway}/metrics",
    ]
    profile = _profile_of(package)
    if profile is None:
        return rest
    row = example_row(profile)
    feedback = {"deployment": name, "labels": [{"prediction_id": "first-one", "label": _label_of(package, profile)}]}
    predict = f"curl -s -H 'x-request-id: first-one' {model}:predict -d {_data(home, name, {'instances': [row]})}"
    label = f"curl -s {gateway}/v1/feedback -H 'content-type: application/json' -d {quote(json.dumps(feedback))}"
    return [predict, label, *rest]


def example_row(profile: Profile) -> list[float | str]:
    """The most ordinary row there is: each feature's median, or its commonest value."""
    return [_typical(column) for column in profile.features]


def _typical(column: Column) -> float | str:
    if column.type == NUMBER:
        median = column.edges[len(column.edges) // 2] if column.edges else (column.low or 0.0)
        return float(f"{median:.4g}")
    return column.values[0] if column.values else ""


def _profile_of(package: Path) -> Profile | None:
    try:
        with (package / "profile.json").open("rb") as file:
            return parse_profile(file.read(MAX_PROFILE))
    except (OSError, InvalidPackage):
        return None


def _label_of(package: Path, profile: Profile) -> Any:
    """A label the model knows: its first class, or the most ordinary quantity."""
    try:
        with (package / "seamark.json").open("rb") as file:
            classes = json.loads(file.read(MAX_PROFILE)).get("classes", [])
    except (OSError, ValueError):
        classes = []
    if classes:
        return classes[0]
    quantities = [column for column in (profile.label, *profile.outputs) if column and column.type == NUMBER]
    return _typical(quantities[0]) if quantities else 0


def _data(home: Home, name: str, request: dict[str, Any]) -> str:
    """The request as curl's -d takes it, for a shell."""
    text = json.dumps(request)
    if len(text) <= INLINE and "'" not in text:
        return f"'{text}'"
    home.examples.mkdir(exist_ok=True)
    file = home.examples / f"{name}.json"
    file.write_text(text + "\n")
    # Absolute: the line is pasted into another terminal, which may be anywhere.
    return quote(f"@{file}")
