"""Texts of others, made fit for our messages."""

from __future__ import annotations

__all__ = ["first_line"]


def first_line(problem: object, instead: str = "no reason given", most: int | None = 300) -> str:
    """The first line of what another library complains, at most so many characters; `instead` where it says nothing."""
    return (str(problem).strip().splitlines() or [instead])[0][:most]
