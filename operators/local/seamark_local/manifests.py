"""Manifest files, read: bounded, checked, and with paths that no longer depend on where the file is."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seamark.admission import admit
from seamark.errors import InvalidSpec, UserError
from seamark.spec import ModelDeployment, parse
from seamark_local.packages import resolve_model

__all__ = ["Given", "check_models", "load_documents", "read"]

MAX_FILE = 2**20
#: Values in one document, aliases counted wherever they stand: a few nested aliases can stand for billions.
MAX_VALUES = 50_000


@dataclass(frozen=True, slots=True)
class Given:
    """A manifest from a file: as it is stored, and as it was understood. `where` names the file and the document."""

    where: str
    document: dict[str, Any]
    deployment: ModelDeployment


class _Loader(yaml.SafeLoader):
    """YAML 1.2's reading of plain words, as Kubernetes tools have it: `on` and `yes` are words and dates are text."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")


def load_documents(text: str | bytes) -> list[Any]:
    """Every document of a YAML text that is not empty; raises `yaml.YAMLError`."""
    return [document for document in yaml.load_all(text, _Loader) if document is not None]


def read(files: Sequence[Path]) -> list[Given]:
    """Every manifest in the files, in order; raises `UserError` at the first mistake, with file and document."""
    given = [manifest for file in files for manifest in _read_file(file)]
    seen: dict[str, str] = {}
    for manifest in given:
        name = manifest.deployment.name
        if name in seen:
            raise UserError(f"{manifest.where}: metadata.name: {name!r} is also in {seen[name]}; names are used once")
        seen[name] = manifest.where
    return given


def check_models(given: Sequence[Given]) -> None:
    """Raises `UserError` for the first model package that cannot be read, or is not what its manifest allows."""
    for manifest in given:
        model = manifest.deployment.model
        seen = admit(resolve_model(model.uri), model)
        if seen.error:
            raise UserError(f"{manifest.where}: spec.model.uri: {seen.error}")


def _read_file(file: Path) -> Iterator[Given]:
    documents = _documents(file)
    if not documents:
        raise UserError(f"Cannot read {file}: it holds no manifest")
    for number, document in enumerate(documents, start=1):
        where = f"{file}: document {number}"
        try:
            _is_plain(document)
            yield Given(where, *_understood(document, file.parent.absolute()))
        except InvalidSpec as error:
            raise UserError(f"{where}: {error}") from error


def _documents(file: Path) -> list[Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}") from error
    if len(content) > MAX_FILE:
        raise UserError(f"Cannot read {file}: it is longer than {MAX_FILE} bytes")
    try:
        return load_documents(content)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"Cannot read {file}: {line}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"Cannot read {file}: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise UserError(f"Cannot read {file}: it is nested too deeply") from error


def _is_plain(document: object) -> None:
    """Refuses what cannot be JSON, which is what the store keeps, and what is far too much."""
    values = 0
    left: list[tuple[str, object]] = [("", document)]
    while left:
        path, value = left.pop()
        values += 1
        if values > MAX_VALUES:
            raise InvalidSpec(path or "document", f"has more than {MAX_VALUES} values")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise InvalidSpec(f"{path}.{key}".lstrip("."), f"the name {key!r} is not a text; put it in quotes")
            left.extend((f"{path}.{key}".lstrip("."), item) for key, item in value.items())
        elif isinstance(value, list):
            left.extend((f"{path}[{i}]", item) for i, item in enumerate(value))
        elif isinstance(value, bytes | set | datetime.date) or value in (float("inf"), float("-inf")) or value != value:
            raise InvalidSpec(path, f"{value!r} has no place in a manifest")


def _understood(document: Any, folder: Path) -> tuple[dict[str, Any], ModelDeployment]:
    deployment = parse(document)
    uri = _absolute(deployment.model.uri, folder)
    if uri != deployment.model.uri:
        model = {**document["spec"]["model"], "uri": uri}
        document = {**document, "spec": {**document["spec"], "model": model}}
    return document, parse(document)


def _absolute(uri: str, folder: Path) -> str:
    """A path, or `file:` with one, that does not depend on the current folder; any other URI as it is."""
    if "://" in uri or uri.startswith("models:"):
        return uri
    path = uri.removeprefix("file:")
    return str((folder / Path(path).expanduser()).resolve())
