"""Markdown tables of what was measured and of the goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks.serving.catalogue import SERVERS
from benchmarks.serving.figures import Key, Measurements
from benchmarks.serving.goals import Goal

__all__ = ["figures_tables", "goals_table", "table"]

_NONE = "–"
#: A load generator busier than this limits what is measured; more of a core than this taken by others disturbs it.
_BUSY, _FOREIGN = 0.9, 0.1


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need, the first to the left and figures to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.0f}" if size else _NONE


_COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("requests/s", "requests", lambda v: f"{v:,.0f}"),
    ("rows/s", "rows", lambda v: f"{v:,.0f}"),
    ("p50 ms", "p50", _milliseconds),
    ("p99 ms", "p99", _milliseconds),
    ("CPU s/1,000", "cpu", lambda v: f"{v:.3f}"),
    ("monitor's", "sidecar_cpu", lambda v: f"{v:.3f}" if v else _NONE),
    ("MB", "memory", _megabytes),
    ("monitor's", "sidecar_memory", _megabytes),
    ("start s", "start", lambda v: f"{v:.1f}"),
)


def figures_tables(measurements: Measurements) -> str:
    """One table for each model and load, the medians of its servers.

    `*`: the load generator was the limit. `!`: other programs kept the machine busy.
    """
    keys = measurements.keys()
    loads = dict.fromkeys((key.model, key.rows, key.connections) for key in keys)
    parts = []
    for model, rows, connections in loads:
        found = [key for key in keys if (key.model, key.rows, key.connections) == (model, rows, connections)]
        shape = "1 row" if rows == 1 else f"{rows} rows"
        over = "1 connection" if connections == 1 else f"{connections} connections"
        lines = table(["server", *(head for head, _, _ in _COLUMNS)], [_line(key, measurements) for key in found])
        parts.append(f"### {model}, {shape} a request, {over}\n\n{lines}")
    return "\n\n".join(parts)


def _line(key: Key, measurements: Measurements) -> list[str]:
    marks = " *" if (measurements.median(key, "busy") or 0.0) > _BUSY else ""
    marks += " !" if (measurements.median(key, "foreign") or 0.0) > _FOREIGN else ""
    server = SERVERS.get(key.server)
    title = f"{server.title if server else key.server}, {key.wire}{marks}"
    cells = []
    for _, figure, show in _COLUMNS:
        value = measurements.median(key, figure)
        cells.append(_NONE if value is None else show(value))
    return [title, *cells]


def goals_table(goals: Iterable[Goal], measurements: Measurements) -> str:
    """Every goal that this run can judge, with what was reached; and how many it cannot."""
    lines = []
    left = 0
    for goal in goals:
        value = goal.value(measurements)
        if value is None:
            left += 1
            continue
        limit = f"{'≥' if goal.at_least else '≤'} {_amount(goal, goal.limit)}"
        lines.append([goal.text, limit, _amount(goal, value), "yes" if goal.is_reached(value) else "no"])
    told = f"{left} more goals: their servers or cases were not measured."
    return "\n\n".join(
        [*([table(["goal", "limit", "measured", "reached"], lines)] if lines else []), *([told] if left else [])]
    )


def _amount(goal: Goal, value: float) -> str:
    if goal.against is not None:
        return f"{value:.2f}x"
    units = {"memory": (1e-6, " MB"), "start": (1, " s"), "cpu": (1, " s"), "watched": (100, " %")}
    factor, unit = units.get(goal.figure, (1, ""))
    return f"{value * factor:.3g}{unit}"
