"""`key=value` lines on standard error, and lines that are written once although their cause comes back every tick."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping

__all__ = ["Troubles", "configure", "event"]

_LOG = logging.getLogger("seamark.analyzer")
#: Characters of one value; a scraped body must not fill the log.
LONGEST = 500


def configure() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("time=%(asctime)s level=%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _LOG.setLevel(logging.INFO)


def event(name: str, /, **fields: object) -> None:
    """One line: `event=<name> key=value ...`; texts with spaces are quoted as JSON."""
    _write(logging.INFO, name, fields)


def _write(level: int, name: str, fields: Mapping[str, object]) -> None:
    _LOG.log(level, "%s", " ".join([f"event={name}", *(f"{key}={_text(value)}" for key, value in fields.items())]))


def _text(value: object) -> str:
    text = str(value)[:LONGEST]
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


class Troubles:
    """Says a trouble once when it begins or changes, and once when it is over. One per model."""

    def __init__(self, **fields: object) -> None:
        self._fields = fields
        self._known: dict[str, str] = {}

    def report(self, topic: str, problem: str) -> None:
        """`problem` is empty when all is well with the topic."""
        known = self._known.get(topic, "")
        if problem == known:
            return
        if problem:
            self._known[topic] = problem
            _write(logging.ERROR, "trouble", {**self._fields, "about": topic, "problem": problem})
            return
        del self._known[topic]
        event("recovered", **self._fields, about=topic)

    def keep(self, topics: set[str]) -> None:
        """Forget all other topics: their subject is gone."""
        self._known = {topic: problem for topic, problem in self._known.items() if topic in topics}
