"""The model package that the predictor serves, as far as the monitor needs it: never the model itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seamark.contract import Checker, Rule, infer, parse_rules
from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Schema, parse_manifest
from seamark.profile import Column, Profile, parse_profile

__all__ = ["Watched", "load"]

_LARGEST_FILE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Watched:
    """`numbers` and `categories` are the profile's feature columns in the order of `schema.numbers`, `.categories`."""

    schema: Schema
    profile: Profile
    numbers: tuple[Column, ...]
    categories: tuple[Column, ...]
    rules: tuple[Rule, ...]


def load(folder: Path) -> Watched:
    """Reads and checks the package, or raises `InvalidPackage`."""
    manifest = parse_manifest(_read(folder / "seamark.json"))
    content = _read(folder / "profile.json")
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.profile_sha256:
        raise InvalidPackage(
            f"Cannot use {folder / 'profile.json'}: its SHA-256 is {digest}; "
            f"seamark.json says {manifest.profile_sha256}"
        )
    return fit(manifest.schema, parse_profile(content), _rules(folder))


def fit(schema: Schema, profile: Profile, rules: Sequence[Rule] | None = None) -> Watched:
    """Puts the parts together, or raises `InvalidPackage` where they do not fit; without rules they are inferred."""
    columns = {column.name: column for column in profile.features}
    for feature in schema.features:
        found = columns.get(feature.name)
        if found is None or found.type != feature.type:
            got = "none" if found is None else f"a {found.type}"
            raise InvalidPackage(
                f"Cannot use the profile: for feature {feature.name!r}, a {feature.type}, it has {got}"
            )
    if tuple(column.name for column in profile.outputs) != schema.outputs:
        names = [column.name for column in profile.outputs]
        raise InvalidPackage(f"Cannot use the profile: its outputs are {names}, the schema's {list(schema.outputs)}")
    chosen = tuple(rules) if rules is not None else infer(schema, profile)
    Checker(chosen, schema)
    return Watched(
        schema,
        profile,
        tuple(columns[feature.name] for feature in schema.features if feature.type == NUMBER),
        tuple(columns[feature.name] for feature in schema.features if feature.type == CATEGORY),
        chosen,
    )


def _rules(folder: Path) -> tuple[Rule, ...] | None:
    path = folder / "contract.json"
    if not path.exists():
        return None
    try:
        return parse_rules(json.loads(_read(path)))
    except (ValueError, RecursionError) as error:
        raise InvalidPackage(f"Cannot read {path}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InvalidPackage(f"Cannot read {path}: it is larger than {_LARGEST_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InvalidPackage(f"Cannot read {path}: {error.strerror or error}") from error
