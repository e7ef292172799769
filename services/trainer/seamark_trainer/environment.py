"""The Job's inputs: environment variables, checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from seamark.errors import UserError

__all__ = ["Config", "Job", "parse"]

MAX_ROWS = 200_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: A job's name is its package's folder too.
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TOKEN = re.compile(r"[\x21-\x7e]{0,4096}")
#: Year 9999; later times have no date.
_LAST_TIME = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Config:
    """`spec.retraining.trainer.config`. candidates: names tried, none for the task's defaults."""

    candidates: tuple[str, ...] = ()
    seed: int = 0
    min_rows: int = 100
    max_rows: int = MAX_ROWS


@dataclass(frozen=True, slots=True)
class Job:
    """One retraining. since: Unix seconds; output: the folder that gets the package's folder.

    data: the log's root, or a collector's http: address, which `token` opens.
    """

    name: str
    namespace: str
    deployment: str
    data: str
    since: float
    champion: Path
    output: Path
    config: Config
    token: str = field(default="", repr=False)


def parse(environment: Mapping[str, str]) -> Job:
    """The job, or `UserError` naming the variable, what it holds and what is allowed."""
    return Job(
        name=_match(environment, "SEAMARK_JOB", _JOB, "a name of at most 128 letters, digits, dots, dashes"),
        namespace=_match(environment, "SEAMARK_NAMESPACE", _NAME, "a name of lower-case letters, digits and dashes"),
        deployment=_match(environment, "SEAMARK_DEPLOYMENT", _NAME, "a name of lower-case letters, digits and dashes"),
        data=_data(_need(environment, "SEAMARK_DATA")),
        since=_since(_need(environment, "SEAMARK_DATA_SINCE")),
        champion=_folder("SEAMARK_CHAMPION_PACKAGE", _need(environment, "SEAMARK_CHAMPION_PACKAGE")),
        output=_folder("SEAMARK_OUTPUT", _need(environment, "SEAMARK_OUTPUT")),
        config=_config(environment.get("SEAMARK_CONFIG", "") or "{}"),
        token=_token(environment.get("SEAMARK_TOKEN", "").strip()),
    )


def _need(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise UserError(f"Cannot read {name}: it is not set")
    return value


def _match(environment: Mapping[str, str], name: str, pattern: re.Pattern[str], allowed: str) -> str:
    value = _need(environment, name)
    if not pattern.fullmatch(value):
        raise UserError(f"Cannot read {name}: {value[:80]!r} is not {allowed}")
    return value


def _data(address: str) -> str:
    if address.startswith(("http://", "https://")):
        try:
            parts = urlsplit(address)
            is_plain = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        except ValueError:
            is_plain = False
        if not is_plain or parts.query or parts.fragment or not address.isprintable() or " " in address:
            raise UserError("Cannot read SEAMARK_DATA: an http: address holds a host and maybe a port and a path")
    return address


def _token(text: str) -> str:
    """Never shown, not even where it is wrong."""
    if not _TOKEN.fullmatch(text):
        raise UserError("Cannot read SEAMARK_TOKEN: it holds other than printable ASCII characters, or over 4096")
    return text


def _since(text: str) -> float:
    try:
        since = float(text)
    except ValueError:
        since = math.nan
    if not 0 <= since <= _LAST_TIME:
        raise UserError(f"Cannot read SEAMARK_DATA_SINCE: {text[:80]!r} is not a time in Unix seconds")
    return since


def _folder(name: str, text: str) -> Path:
    """A path, or a file: address."""
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if "://" in text:
        raise UserError(f"Cannot read {name}: {text[:80]!r} is neither a path nor a file: address")
    return Path(text)


def _config(text: str) -> Config:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Cannot read SEAMARK_CONFIG: {error}") from error
    if not isinstance(document, dict):
        raise UserError("Cannot read SEAMARK_CONFIG: it is not a JSON object")
    allowed = ("candidates", "seed", "minRows", "maxRows")
    for key in document:
        if key not in allowed:
            raise UserError(f"Cannot read SEAMARK_CONFIG: {key[:60]!r} is unknown; allowed: {', '.join(allowed)}")
    return Config(
        candidates=_names(document.get("candidates", [])),
        seed=_integer(document, "seed", 0, 0, 2**32 - 1),
        min_rows=_integer(document, "minRows", 100, 10, 10**9),
        max_rows=_integer(document, "maxRows", MAX_ROWS, 100, 5_000_000),
    )


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, list) and len(value) <= 10 and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise UserError("Cannot read SEAMARK_CONFIG: candidates is not a list of at most 10 names")


def _integer(document: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = document.get(key, default)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise UserError(f"Cannot read SEAMARK_CONFIG: {key} is {str(value)[:60]}, not a whole number from {low} to {high}")
