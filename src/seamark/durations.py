"""Durations as people write them in a manifest."""

from __future__ import annotations

__all__ = ["text"]

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def text(seconds: float) -> str:
    """The two largest units, the rest cut off: `7d`, `1h30m`, `42s`; below a second `250ms`."""
    if seconds < 1:
        return f"{int(1000 * seconds)}ms" if seconds > 0 else "0s"
    parts: list[str] = []
    left = int(seconds)
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return "".join(parts[:2])
