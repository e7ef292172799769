"""The model package that the predictor serves, as far as the monitor needs it: never the model itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seamark.contract import Checker, Rule, infer, parse_rules
from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Schema, parse_manifest
from seamark.profile import Column, Profile, parse_profile

__all__ = ["FILES", "Watched", "load", "missing"]

MANIFEST, PROFILE, CONTRACT = FILES = ("seamark.json", "profile.json", "contract.json")
_LARGEST_FILE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Watched:
    """`numbers` and `categories` are the profile's feature columns in the order of `schema.numbers`, `.categories`.

    files: the bytes that all this was read from, by file name.
    """

    schema: Schema
    profile: Profile
    numbers: tuple[Column, ...]
    categories: tuple[Column, ...]
    rules: tuple[Rule, ...]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def missing(folder: Path) -> Path | None:
    """A file that a package cannot be without and that is not there; what the files hold is not looked at."""
    return next((path for path in (folder / MANIFEST, folder / PROFILE) if _is_missing(path)), None)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def load(folder: Path) -> Watched:
    """Reads and checks the package, or raises `InvalidPackage`."""
    files = {name: _read(folder / name) for name in (MANIFEST, PROFILE)}
    if (folder / CONTRACT).exists():
        files[CONTRACT] = _read(folder / CONTRACT)
    manifest = parse_manifest(files[MANIFEST])
    digest = hashlib.sha256(files[PROFILE]).hexdigest()
    if digest != manifest.profile_sha256:
        raise InvalidPackage(
            f"Cannot use {folder / PROFILE}: its SHA-256 is {digest}; {MANIFEST} says {manifest.profile_sha256}"
        )
    rules = _rules(folder / CONTRACT, files[CONTRACT]) if CONTRACT in files else None
    return replace(fit(manifest.schema, parse_profile(files[PROFILE]), rules), files=files)


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


def _rules(path: Path, content: bytes) -> tuple[Rule, ...]:
    try:
        return parse_rules(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise InvalidPackage(f"Cannot read {path}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InvalidPackage(f"Cannot read {path}: it is larger than {_LARGEST_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InvalidPackage(f"Cannot read {path}: {error.strerror or error}") from error
