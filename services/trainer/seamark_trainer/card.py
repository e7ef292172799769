"""The package's card: one page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seamark.package import Manifest

__all__ = ["card"]

TOP = 10


def card(
    manifest: Manifest,
    importance: Mapping[str, float],
    excluded: Mapping[str, int],
    *,
    measured: str = "Measured on the newest rows, which it was not fitted on",
) -> str:
    """Markdown: what it is, how it was measured, what it looks at, what was left out. measured: the metrics' title."""
    ranked = sorted(importance.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    sections = [
        f"# {manifest.name} {manifest.version}",
        _intro(manifest),
        _table(measured, manifest.metrics.items()),
        _table("Most important features (share of the loss that shuffling adds)", ranked),
        _table("Hyperparameters", manifest.hyperparameters.items()),
        _table("Lineage", manifest.lineage.items()),
        _table("Rows left out", excluded.items()),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _intro(manifest: Manifest) -> str:
    schema = manifest.schema
    classes = f" of {', '.join(map(str, schema.classes))}" if schema.classes else ""
    return f"A {schema.task} model{classes} on {len(schema.features)} features, made {manifest.created}."


def _table(title: str, items: Any) -> str:
    rows: Sequence[tuple[str, Any]] = list(items)
    if not rows:
        return ""
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *lines])


def _cell(value: object) -> str:
    small = isinstance(value, float) and abs(value) < 10_000
    text = f"{value:.4g}" if small else str(value)
    return text.replace("|", "\\|").replace("\n", " ")[:200]
