"""Texts in objects: bounded, because objects are."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["LONGEST", "listed", "shortened"]

#: Characters of a message; the API server takes 1024 in an Event.
LONGEST = 1000
_LISTED = 10


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def listed(items: Sequence[str]) -> list[str]:
    """The first ten, and how many more there are."""
    more = len(items) - _LISTED
    return [*items[:_LISTED], *([f"and {more} more"] if more > 0 else [])]
