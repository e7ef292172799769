"""`key=value` lines on standard error."""

from __future__ import annotations

import json
import logging
import sys

__all__ = ["configure", "event"]

_LOG = logging.getLogger("seamark.monitor")
#: Characters of one value; a hostile body must not fill the log.
LONGEST = 300


def configure() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("time=%(asctime)s level=%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _LOG.setLevel(logging.INFO)


def event(name: str, /, level: int = logging.INFO, **fields: object) -> None:
    """One line: `event=<name> key=value ...`; texts with spaces are quoted as JSON."""
    _LOG.log(level, "%s", " ".join([f"event={name}", *(f"{key}={_text(value)}" for key, value in fields.items())]))


def _text(value: object) -> str:
    text = str(value)[:LONGEST]
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
