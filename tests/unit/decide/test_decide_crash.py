"""A driver that dies between any two actions, before it has written the decision down, changes nothing in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seamark.spec import Hold, Shadow, Trigger, Weight

Make = Callable[..., Any]
Story = list[tuple[int, Callable[[Any], None]]]


def _fail_the_gates(world: Any) -> None:
    world.outcome = "Worse"
    world.name_model("c")


#: What happens from outside, by tick: drift, a trained model, its end, a broken model, a person who gives up.
STORY: Story = [
    (4, lambda world: world.drift_in("age")),
    (8, lambda world: world.job_ends("b") if world.state.retraining.job else None),
    (30, lambda world: world.no_drift("age")),
    (34, lambda world: world.violate(50)),
    (37, lambda world: world.violate(0)),
    (40, _fail_the_gates),
    (50, lambda world: setattr(world, "outcome", "Equivalent")),
    (52, lambda world: world.name_model("d")),
    (56, lambda world: world.command("abort")),
    (62, lambda world: world.name_model("e")),
    (66, lambda world: world.name_model("f")),
]
TICKS = 95


def play(make_world: Make, crash: tuple[int, int] | None) -> tuple[Any, int]:
    """Plays the story; the driver dies in tick crash[0] after crash[1] actions. Returns also that tick's actions."""
    world = make_world(
        rollout={"steps": (Shadow(100, 3), Weight(10), Hold(3), Weight(50), Hold(3)), "progress_deadline": 20.0},
        retraining={"on": (Trigger(drift="feature"),), "min_labels": 1},
    )
    world.labels = (10, 10)
    count = 0
    for tick in range(TICKS):
        for at, happens in STORY:
            if at == tick:
                happens(world)
        if crash and crash[0] == tick:
            world.now += 0.1
            decision = world.decide()
            count = len(decision.actions)
            for action in decision.actions[: crash[1]]:
                world.apply(action)
            world.tick(0.1)
        world.tick(1)
    return world, count


def outcome(world: Any) -> Any:
    phases = [(revision.name, revision.phase, revision.origin) for revision in world.state.revisions]
    return (
        phases,
        world.state.champion,
        world.state.rollout,
        [(event.kind, event.revision, event.reason) for event in world.events],
        [(record.what, record.revision) for record in world.records],
        [job.job for job in world.started],
        world.route,
        sorted(world.revisions),
    )


def test_a_crash_after_any_action_of_any_tick_ends_as_no_crash_does(make_world: Make) -> None:
    expected, _ = play(make_world, None)
    assert expected.kinds() == [
        "Deployed", "Alarm", "RetrainingStarted", "RetrainingFinished",
        "ShadowStarted", "WeightChanged", "WeightChanged", "WeightChanged", "Promoted", "AlarmCleared",
        "ContractViolated", "RetrainingBlocked", "RolledBack",
        "ShadowStarted", "RolledBack", "ShadowStarted", "RolledBack",
        "ShadowStarted", "WeightChanged", "WeightChanged", "WeightChanged", "Promoted",
    ]  # fmt: skip
    points = 0
    for tick in range(TICKS):
        applied, count = 0, 1
        while applied <= count:
            world, count = play(make_world, (tick, applied))
            if count == 0:
                break
            assert outcome(world) == outcome(expected), f"crash in tick {tick} after {applied} of {count} actions"
            applied, points = applied + 1, points + 1
    assert points > 60
