"""Prometheus text: reading the catalogue's counters fast, and merging whole texts into one.

The general parser of the Prometheus client takes some ten times as long; a tick reads thousands of lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from seamark.metrics import CATALOGUE, COMMON

__all__ = ["Reader", "Series", "merge"]

#: A counter's name, then its labels' values in the catalogue's order (for a histogram's bucket: `le`).
Series = tuple[str, ...]

#: Series read from one target; more are left out, so that a target gone wild costs no memory.
MOST_SERIES = 20_000

_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_ESCAPE = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


def _wanted() -> dict[str, tuple[str, ...]]:
    """Sample names to the labels that tell their series apart."""
    names: dict[str, tuple[str, ...]] = {}
    for metric in CATALOGUE.values():
        if metric.source == "monitor" and metric.kind == "counter":
            names[metric.name] = metric.labels
        if metric.source == "monitor" and metric.kind == "histogram":
            names[f"{metric.name}_bucket"] = (*metric.labels, "le")
    return names


_WANTED = _wanted()


class Reader:
    """Reads one target's texts. What a line's head means is worked out once and remembered."""

    def __init__(self, namespace: str, deployment: str, revision: str) -> None:
        self._owner = dict(zip(COMMON, (namespace, deployment, revision), strict=True))
        self._heads: dict[str, Series | None] = {}

    def read(self, text: str) -> dict[Series, float]:
        """The catalogue's counters of this reader's revision; other lines are passed over.

        Another revision's series are left out: its monitor may have got the port that this target had before.
        Raises ValueError where a counter's line cannot be read: half a text must not count as a whole one.
        """
        values: dict[Series, float] = {}
        for line in text.split("\n"):
            if not line.startswith("seamark_"):
                continue
            head, tail = _split(line)
            series = self._series(head)
            if series is not None:
                values[series] = _number(tail)
        return values

    def _series(self, head: str) -> Series | None:
        try:
            return self._heads[head]
        except KeyError:
            if len(self._heads) >= MOST_SERIES:
                return None
            return self._heads.setdefault(head, self._parse(head))

    def _parse(self, head: str) -> Series | None:
        name, _, rest = head.partition("{")
        names = _WANTED.get(name.strip())
        if names is None:
            return None
        labels = _labels(rest[:-1])
        if any(labels.get(key) != value for key, value in self._owner.items()):
            return None
        return (name.strip(), *(labels.get(label, "") for label in names))


def _split(line: str) -> tuple[str, str]:
    """A sample's line as (name and labels, value and perhaps time); labels may hold blanks and braces."""
    end = line.rfind("}")
    if end >= 0:
        return line[: end + 1], line[end + 1 :]
    name, _, tail = line.partition(" ")
    return name, tail


def _number(tail: str) -> float:
    value = float(tail.split(None, 1)[0]) if tail.strip() else math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"a counter has the value {tail.strip()[:40]!r}; allowed: a number from 0")
    return value


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    position = 0
    while match := _LABEL.match(text, position):
        labels[match[1]] = _ESCAPE.sub(lambda found: _UNESCAPED.get(found[1], found[0]), match[2])
        position = match.end()
    if text[position:].strip():
        raise ValueError(f'labels {text[:80]!r} are not name="value" pairs')
    return labels


_FAMILY_SUFFIXES = ("_bucket", "_count", "_sum", "_created", "_total")


class _Family:
    def __init__(self) -> None:
        self.help = ""
        self.type = ""
        self.samples: list[str] = []


def merge(texts: Mapping[str, str], own: str = "") -> str:
    """One text of several: samples grouped by family, each with an `instance` label naming the text it came from.

    Without that label two replicas of a revision would export the same series twice, which no scraper accepts.
    `own` is added without the label.
    """
    families: dict[str, _Family] = {}
    for instance, text in texts.items():
        _collect(families, text, f'instance="{_escape(instance)}"')
    _collect(families, own, "")
    lines: list[str] = []
    for family in families.values():
        if family.samples:
            lines += [line for line in (family.help, family.type) if line]
            lines += family.samples
    return "".join(f"{line}\n" for line in lines)


def _collect(families: dict[str, _Family], text: str, label: str) -> None:
    for line in text.split("\n"):
        if line.startswith("#"):
            _describe(families, line)
        elif line.strip():
            head, tail = _split(line)
            name = head.partition("{")[0].strip()
            family = families.setdefault(_family_name(families, name), _Family())
            family.samples.append(f"{_with_label(head, label)} {tail.strip()}")


def _describe(families: dict[str, _Family], line: str) -> None:
    words = line.split(None, 3)
    if len(words) < 3 or words[1] not in ("HELP", "TYPE"):
        return
    family = families.setdefault(words[2], _Family())
    if words[1] == "HELP":
        family.help = family.help or line
    if words[1] == "TYPE":
        family.type = family.type or line


def _family_name(families: Mapping[str, _Family], name: str) -> str:
    if name in families:
        return name
    return next((known for known in _stems(name) if known in families), name)


def _stems(name: str) -> Iterable[str]:
    return (name.removesuffix(suffix) for suffix in _FAMILY_SUFFIXES if name.endswith(suffix))


def _with_label(head: str, label: str) -> str:
    if not label:
        return head
    name, brace, rest = head.partition("{")
    if not brace:
        return f"{name}{{{label}}}"
    return f"{name}{{{label}}}" if rest.strip() == "}" else f"{name}{{{label},{rest}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
