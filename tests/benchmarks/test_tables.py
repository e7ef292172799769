"""Tables: aligned Markdown, one for each load, with marks where a figure cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.serving.figures import Key, Measurement, Measurements
from benchmarks.serving.goals import Goal
from benchmarks.serving.tables import figures_tables, goals_table, table

Make = Callable[..., Measurement]
KEY = "kserve logistic v1 1x32"


def test_columns_are_as_wide_as_they_need() -> None:
    assert table(["server", "MB"], [["a", "1,000"], ["longer", "2"]]).splitlines() == [
        "| server |    MB |",
        "|--------|------:|",
        "| a      | 1,000 |",
        "| longer |     2 |",
    ]


def test_a_load_has_a_table_with_the_medians_of_its_servers(measured: Make) -> None:
    lines = figures_tables(Measurements([measured(KEY, 1), measured(KEY, 2, requests=3000, sidecar_memory=70_000_000)]))
    assert lines.startswith("### logistic, 1 row a request, 32 connections\n")
    cells = [cell.strip() for cell in lines.splitlines()[-1].strip("|").split("|")]
    assert cells == ["KServe, as it ships, v1", "2,000", "2,000", "1.00", "2.00", "0.333", "–", "80", "35", "0.5"]


def test_loads_are_apart(measured: Make) -> None:
    lines = figures_tables(Measurements([measured(KEY), measured("kserve forest v1 100x1")]))
    assert [line for line in lines.splitlines() if line.startswith("#")] == [
        "### logistic, 1 row a request, 32 connections",
        "### forest, 100 rows a request, 1 connection",
    ]


def test_a_busy_load_generator_and_a_busy_machine_are_marked(measured: Make) -> None:
    lines = figures_tables(Measurements([measured(KEY, busy=0.95, foreign=0.5)]))
    assert "| KServe, as it ships, v1 * ! |" in lines


def test_goals_say_what_was_measured_and_how_many_were_not(measured: Make) -> None:
    of, against = Key("seamark", "logistic", "v1", 1, 32), Key("kserve", "logistic", "v1", 1, 32)
    goals = [
        Goal("Speed", "requests", of, against, 15, True),
        Goal("Memory", "memory", of, None, 75e6, False),
        Goal("Other", "start", Key("other", "logistic", "v1", 1, 1), None, 1, False),
    ]
    found = Measurements([measured(str(of), requests=20_000), measured(KEY)])
    lines = goals_table(goals, found).splitlines()
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:4]] == [
        ["Speed", "≥ 15.00x", "20.00x", "yes"],
        ["Memory", "≤ 75 MB", "80 MB", "no"],
    ]
    assert lines[-1] == "1 more goals: their servers or cases were not measured."
