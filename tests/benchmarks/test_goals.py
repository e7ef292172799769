"""Goals: every one names servers, wires and cases that exist, and is judged on the right side of its limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.serving.catalogue import CASES, SERVERS
from benchmarks.serving.figures import Key, Measurement, Measurements
from benchmarks.serving.goals import Goal, read

GOALS = read()


@pytest.mark.parametrize("goal", GOALS, ids=[goal.text for goal in GOALS])
def test_a_goal_is_about_what_is_measured(goal: Goal) -> None:
    cases = {(case.model, case.rows, case.connections) for case in CASES}
    for key in filter(None, (goal.of, goal.against)):
        assert key.wire in SERVERS[key.server].wires
        assert (key.model, key.rows, key.connections) in cases


@pytest.mark.parametrize(
    ("at_least", "value", "reached"),
    [(True, 15.0, True), (True, 14.9, False), (False, 15.0, True), (False, 15.1, False)],
)
def test_a_limit_is_reached_at_the_limit(at_least: bool, value: float, reached: bool) -> None:
    goal = Goal("speed", "requests", Key("a", "logistic", "v1", 1, 1), None, 15.0, at_least)
    assert goal.is_reached(value) is reached


def test_a_goal_without_a_second_server_is_about_the_figure(measured: Callable[..., Measurement]) -> None:
    goal = next(goal for goal in GOALS if goal.figure == "start")
    assert goal.value(Measurements([measured(str(goal.of), start=0.7)])) == 0.7
    assert goal.value(Measurements([])) is None


@pytest.mark.parametrize(
    "entry",
    [
        'figure = "speed"\nof = "a b c 1x1"\nat_least = 1',
        'figure = "requests"\nof = "a b c 1x1"',
        'figure = "requests"\nof = "a b c 1x1"\nat_least = 1\nat_most = 2',
        'figure = "requests"\nof = "a b c 1x1"\nat_least = 1\nmore = 2',
        'figure = "requests"\nof = "a b c"\nat_least = 1',
    ],
)
def test_a_goal_that_says_too_little_or_too_much_is_refused(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "goals.toml"
    file.write_text(f'[[goal]]\ntext = "fast"\n{entry}\n')
    with pytest.raises(ValueError, match="Cannot read"):
        read(file)
