"""A watch turns what monitors count and what the log holds into evidence."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from seamark.evidence import Evidence, Pairs, Share, Violation
from seamark_analyzer.packages import Packages
from seamark_analyzer.scrape import DirectSource
from seamark_analyzer.settings import Model, RevisionSource
from seamark_analyzer.watch import Watch

WINDOW = 60.0


def model(revisions: Mapping[str, RevisionSource], **fields: Any) -> Model:
    known = {"deployment": "m", "window": WINDOW, "interval": 1.0, "champion": "m-1", "revisions": dict(revisions)}
    return Model(**{**known, **fields})


class Driver:
    """Ticks a watch on a clock of its own."""

    def __init__(self, world: Any, clock: Any) -> None:
        self.clock = clock
        self.loop = asyncio.Runner()
        self.source, self.packages = DirectSource(clock), Packages()
        self.watch = Watch("m", world.root, self.source, self.packages, clock)

    def tick(self, model: Model, after: float = 1.0) -> Evidence:
        self.clock.now += after
        self.loop.run(self.watch.tick(model))
        assert self.watch.evidence is not None
        return self.watch.evidence

    def close(self) -> None:
        self.loop.run(self.packages.close())
        self.loop.run(self.source.close())
        self.loop.close()


@pytest.fixture
def driver(world: Any, clock: Any) -> Any:
    driver = Driver(world, clock)
    yield driver
    driver.close()


def alarmed(evidence: Evidence) -> dict[tuple[str, str], float]:
    return {(drift.kind, drift.feature): drift.since for drift in evidence.drift if drift.since is not None}


def one_champion(world: Any, **fields: Any) -> tuple[Any, Model]:
    package = world.package("v1")
    monitor = world.monitor("m-1")
    return monitor, model({"m-1": RevisionSource(package, role="champion", targets=(monitor.url,))}, **fields)


def test_no_alarm_comes_without_a_shift(world: Any, driver: Driver) -> None:
    """Forty evaluations of undrifted windows: the budget of one alarm a month allows none in practice."""
    monitor, settings = one_champion(world)
    for _ in range(40):
        monitor.observe(*world.batch(40))
        assert alarmed(driver.tick(settings)) == {}
    assert {(d.kind, d.feature) for d in driver.watch.evidence.drift} == {
        *(("feature", f"f {i}") for i in range(4)),
        ("prediction", "prediction"),
        ("prediction", "score"),
        ("label", ""),
        ("concept", ""),
    }


def test_a_shift_alarms_within_one_window_and_names_exactly_the_shifted_features(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    for _ in range(20):
        monitor.observe(*world.batch(60))
        driver.tick(settings, after=3)
    began = driver.clock.now
    for _ in range(20):
        monitor.observe(*world.batch(60, {1: 1.5, 3: -1.5}))
        evidence = driver.tick(settings, after=3)
    since = alarmed(evidence)
    assert set(since) == {("feature", "f 1"), ("feature", "f 3")}
    assert all(began < moment <= began + WINDOW for moment in since.values())
    assert [drift.feature for drift in evidence.drift[:2]] == ["f 1", "f 3"]  # the more important one first


def test_an_alarm_keeps_its_beginning_through_a_gap_and_ends_when_the_shift_does(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    driver.tick(settings)
    monitor.observe(*world.batch(800, {0: 2.0}))
    since = alarmed(driver.tick(settings))
    assert set(since) == {("feature", "f 0")}
    assert alarmed(driver.tick(settings, after=2 * WINDOW)) == since  # no row in the window
    monitor.status = 500
    assert alarmed(driver.tick(settings, after=2 * WINDOW)) == since  # not even a scrape
    monitor.status = 200
    driver.tick(settings)
    monitor.observe(*world.batch(800))
    assert alarmed(driver.tick(settings, after=20)) == {}


def test_too_few_rows_neither_alarm_nor_clear(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    driver.tick(settings)
    monitor.observe(*world.batch(5, {0: 9.0}))
    evidence = driver.tick(settings)
    assert alarmed(evidence) == {}
    assert {(drift.score, drift.rows) for drift in evidence.drift} == {(0.0, 0)}
    assert len(evidence.drift) == 8


def test_another_champion_begins_without_alarms(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    driver.tick(settings)
    monitor.observe(*world.batch(800, {0: 2.0}))
    assert alarmed(driver.tick(settings))
    package, other = world.package("v2"), world.monitor("m-2")
    revisions = {**settings.revisions, "m-2": RevisionSource(package, role="champion", targets=(other.url,))}
    evidence = driver.tick(model(revisions, champion="m-2"))
    assert alarmed(evidence) == {}
    assert evidence.champion.revision == "m-2"


def test_drift_is_tested_once_an_interval_however_often_counters_are_read(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world, interval=30.0)
    monitor.observe(*world.batch(100))
    driver.tick(settings, after=5)
    monitor.observe(*world.batch(800, {0: 2.0}))
    assert all(not alarmed(driver.tick(settings, after=5)) for _ in range(5))
    assert set(alarmed(driver.tick(settings, after=5))) == {("feature", "f 0")}


def test_a_restarted_target_goes_on_counting(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    driver.tick(settings)
    monitor.observe(*world.batch(30))
    driver.tick(settings)
    monitor.restart()
    monitor.observe(*world.batch(12))
    evidence = driver.tick(settings)
    assert evidence.champion.requests == 42
    assert sum(evidence.champion.latency.counts) == 42


def test_a_vanished_target_counts_until_it_ages_out(world: Any, driver: Driver) -> None:
    package = world.package("v1")
    first, second = world.monitor("m-1"), world.monitor("m-1")
    both = model({"m-1": RevisionSource(package, role="champion", targets=(first.url, second.url))})
    driver.tick(both)
    first.observe(*world.batch(10))
    second.observe(*world.batch(7))
    assert driver.tick(both).champion.requests == 17
    alone = model({"m-1": RevisionSource(package, role="champion", targets=(second.url,))})
    assert driver.tick(alone).champion.requests == 17
    assert driver.tick(alone, after=WINDOW + 5).champion.requests == 0


def test_arms_count_from_the_rollouts_start_however_long_ago(world: Any, driver: Driver) -> None:
    champion, settings = one_champion(world)
    challenger, package = world.monitor("m-2"), world.package("v2")
    revisions = {**settings.revisions, "m-2": RevisionSource(package, role="challenger", targets=(challenger.url,))}
    champion.observe(*world.batch(5))
    challenger.refuse(500, 3)
    waiting = model(revisions, challenger="m-2")
    driver.tick(waiting)
    champion.observe(*world.batch(5))
    assert driver.tick(waiting).challenger is None  # not ready yet: nothing of it counts
    rollout = model(revisions, challenger="m-2", since=driver.clock.now + 0.5)
    driver.tick(rollout)
    for _ in range(10):
        champion.observe(*world.batch(20))
        challenger.observe(*world.batch(10), seconds=0.2)
        challenger.refuse(503, 1)
        evidence = driver.tick(rollout, after=WINDOW)
    assert (evidence.champion.requests, evidence.champion.errors) == (200, 0)
    assert (evidence.challenger.requests, evidence.challenger.errors) == (110, 10)
    assert rollout.since <= evidence.challenger.since <= rollout.since + 1
    alone = model(
        {**revisions, "m-2": RevisionSource(package, role="challenger", targets=())},
        challenger="m-2",
        since=rollout.since,
    )
    for _ in range(3):  # its only target goes, and with it nothing of what it counted
        evidence = driver.tick(alone, after=WINDOW)
    assert (evidence.challenger.requests, evidence.challenger.errors) == (110, 10)


def test_rate_and_p99_are_of_the_last_seconds(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    driver.tick(settings)
    for _ in range(20):
        monitor.observe(*world.batch(5), seconds=3.0)
        driver.tick(settings)
    for _ in range(20):
        monitor.observe(*world.batch(50), seconds=0.01)
        evidence = driver.tick(settings)
    assert evidence.champion.requests_per_second == pytest.approx(50)
    assert 0.008 < evidence.champion.p99 < 0.0125


def test_contract_problems_show_at_once_and_clear_quickly(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    assert driver.tick(settings).contract is None
    monitor.observe(*world.batch(20))
    monitor.violate("f 1", "range", 5)
    contract = driver.tick(settings).contract
    assert (contract.rows, contract.violating, contract.violations) == (25, 5, (Violation("f 1", "range", 5),))
    for _ in range(11):
        monitor.observe(*world.batch(20))
        contract = driver.tick(settings).contract
    assert (contract.violating, contract.violations) == (0, ())


def test_a_failing_target_leaves_the_others_standing_and_is_said_once(
    world: Any, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    package = world.package("v1")
    good, bad = world.monitor("m-1"), world.monitor("m-1")
    settings = model({"m-1": RevisionSource(package, role="champion", targets=(good.url, bad.url))})
    for body in (b"seamark_requests_total{} x\n", b"\xff\xfe", b""):
        bad.body = body
        driver.tick(settings)
        good.observe(*world.batch(10))
        caplog.clear()
        with caplog.at_level("INFO", "seamark.analyzer"):
            driver.tick(settings)
            driver.tick(settings)
        assert not [record for record in caplog.records if bad.url in record.getMessage()]  # said a tick before
    assert driver.watch.evidence.champion.requests == 30


def test_an_unreadable_package_leaves_requests_and_errors_standing(
    world: Any, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, settings = one_champion(world)
    profile = world.folder / "packages" / "v1" / "profile.json"
    content = profile.read_bytes()
    profile.write_bytes(content.replace(b"4000", b"4001"))
    with caplog.at_level("INFO", "seamark.analyzer"):
        driver.tick(settings)
        monitor.observe(*world.batch(10))
        evidence = driver.tick(settings)
        profile.write_bytes(content)
        recovered = driver.tick(settings)
    assert (evidence.champion.requests, evidence.drift) == (10, ())
    assert len(recovered.drift) == 8
    lines = [record.getMessage() for record in caplog.records if "m-1" in record.getMessage()]
    assert ["trouble" in line for line in lines] == [True, False]
    assert "its SHA-256 is" in lines[0]


def test_another_revisions_monitor_on_the_port_is_not_counted(world: Any, driver: Driver) -> None:
    package = world.package("v1")
    stranger = world.monitor("m-9")
    settings = model({"m-1": RevisionSource(package, role="champion", targets=(stranger.url,))})
    driver.tick(settings)
    stranger.observe(*world.batch(10))
    assert driver.tick(settings).champion.requests == 0


def test_deployments_of_one_name_in_two_namespaces_share_nothing(world: Any, driver: Driver) -> None:
    """Not even when one lists the other's monitor, whose address a pod of its own had before."""
    package, other = world.package("v1"), world.package("v2")
    monitors = {space: world.monitor("m-1", namespace=space) for space in ("a", "b")}
    urls = tuple(monitor.url for monitor in monitors.values())
    watches = {
        f"{space}/m": Watch(f"{space}/m", world.root, driver.source, driver.packages, driver.clock) for space in "ab"
    }
    revisions = {"m-1": RevisionSource(package, targets=urls), "m-2": RevisionSource(other)}

    def tick() -> dict[str, Evidence | None]:
        driver.clock.now += 2
        for name, watch in watches.items():
            rollout = {"challenger": "m-2", "since": driver.clock.now - 60, "namespace": name[0]}
            driver.loop.run(watch.tick(model(revisions, **rollout)))
        return {name[0]: watch.evidence for name, watch in watches.items()}

    tick()
    monitors["a"].observe(*world.batch(10))
    monitors["b"].observe(*world.batch(3))
    for revision in ("m-1", "m-2"):
        world.log(revision, ["x", "y"], driver.clock.now, [1, 1], namespace="a")
        world.log(revision, ["x"], driver.clock.now, [0], namespace="b")
    found = tick()
    assert {space: one.champion.requests for space, one in found.items()} == {"a": 10, "b": 3}
    assert {space: one.pairs.agree.total for space, one in found.items()} == {"a": 2, "b": 1}


def test_a_package_comes_from_the_monitor_where_there_is_no_folder(world: Any, driver: Driver) -> None:
    folder = world.package("v1")
    digest = hashlib.sha256((Path(folder) / "seamark.json").read_bytes()).hexdigest()
    monitor = world.monitor("m-1", package=folder)
    settings = model({"m-1": RevisionSource(digest=digest, targets=(monitor.url,))})
    driver.tick(settings)
    monitor.observe(*world.batch(800, {0: 2.0}))
    assert set(alarmed(driver.tick(settings))) == {("feature", "f 0")}
    assert monitor.packages_served == 2


def shadowed(world: Any, driver: Driver, classes: tuple[str, ...] = ("no", "yes")) -> Model:
    now = driver.clock.now
    _, settings = one_champion(world)
    package = world.package("v2", classes=classes)
    revisions = {**settings.revisions, "m-2": RevisionSource(package, role="challenger", targets=())}
    return model(revisions, challenger="m-2", since=now - 10)


def test_pairs_are_exact(world: Any, driver: Driver) -> None:
    settings = shadowed(world, driver)
    now = driver.clock.now
    names = [f"id-{i}" for i in range(8)]
    world.log("m-1", names, now - 5, [0, 0, 1, 1, 0, 1, 0, 1], 0.5)
    world.log("m-2", [*names[:6], "elsewhere"], now - 5, [0, 1, 1, 0, 0, 1, 1], 0.25)
    world.log("m-1", ["old"], now - 20, [0])
    world.log("m-2", ["old"], now - 20, [1])
    world.label([("id-0", "no"), ("id-1", "no"), ("id-2", "no"), ("id-3", "no"), ("id-7", "yes")], 1)
    evidence = driver.tick(settings)
    assert evidence.pairs == Pairs(Share(4, 6), 0.25, both_right=1, only_champion=1, only_challenger=1, neither=1)
    assert evidence.champion.correct == Share(3, 5)
    assert evidence.challenger.correct == Share(2, 4)
    assert evidence.labels_total == 5


def test_classes_are_compared_by_name_when_a_challenger_orders_them_otherwise(world: Any, driver: Driver) -> None:
    settings = shadowed(world, driver, classes=("yes", "no"))
    now = driver.clock.now
    world.log("m-1", ["a", "b"], now, [0, 1])
    world.log("m-2", ["a", "b"], now, [1, 1])
    world.label([("a", "no"), ("b", "yes")], 1)
    evidence = driver.tick(settings)
    assert evidence.pairs.agree == Share(1, 2)
    assert (evidence.champion.correct, evidence.challenger.correct) == (Share(2, 2), Share(1, 2))


def test_compaction_between_reads_neither_doubles_nor_loses(world: Any, driver: Driver) -> None:
    settings = shadowed(world, driver)
    now = driver.clock.now
    for part in range(4):
        names = [f"id-{part}-{i}" for i in range(5)]
        world.log("m-1", names, now, [1] * 5)
        world.log("m-2", names, now, [1] * 4 + [0])
        world.label([(name, "yes") for name in names], part + 1)
        if part in (1, 3):
            world.compact("predictions")
            world.compact("labels")
        evidence = driver.tick(settings)
        assert evidence.pairs.agree == Share(4 * (part + 1), 5 * (part + 1))
        assert evidence.champion.correct == Share(5 * (part + 1), 5 * (part + 1))
        assert evidence.labels_total == 5 * (part + 1)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[("a", "yes")]], Share(1, 1)),
        ([[("a", "yes")], [("a", "yes")]], Share(1, 1)),
        ([[("a", "yes")], [("a", "no")]], Share(0, 1)),
        ([[("a", "no"), ("a", "yes")]], Share(1, 1)),
        ([[("a", "maybe")]], None),
        ([[("a", "yes")], [("a", "maybe")]], None),
        ([[("unknown", "yes")]], None),
    ],
    ids=[
        "a label counts once",
        "a repeated label counts once",
        "a contradicting label received later wins",
        "of two in one request the later wins",
        "a label that is no class says nothing",
        "a correction to no class takes the label back",
        "a label of an unknown prediction says nothing",
    ],
)
@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("first", ["prediction", "label"])
def test_labels_meet_predictions_in_any_order(
    world: Any,
    driver: Driver,
    labels: list[list[tuple[str, str]]],
    expected: Share | None,
    first: str,
    compacted: bool,
) -> None:
    _, settings = one_champion(world)
    if first == "prediction":
        world.log("m-1", ["a"], driver.clock.now, [1])
        driver.tick(settings)
    for sequence, batch in enumerate(labels, 1):
        world.label(batch, sequence)
    if compacted:
        world.compact("labels")
    driver.tick(settings)
    if first == "label":
        world.log("m-1", ["a"], driver.clock.now, [1])
    evidence = driver.tick(settings, after=2)
    assert evidence.champion.correct == expected
    assert evidence.champion.recent == expected


def test_a_fall_of_accuracy_is_concept_drift_even_when_labels_are_late(world: Any, driver: Driver) -> None:
    _, settings = one_champion(world)
    driver.tick(settings)
    day_ago = driver.clock.now - 86400
    names = [f"id-{i}" for i in range(400)]
    world.log("m-1", names, day_ago, [float(i % 2) for i in range(400)])
    world.label([(name, ("no", "yes")[i % 2]) for i, name in enumerate(names)], 1)
    assert alarmed(driver.tick(settings)) == {}
    later = [f"late-{i}" for i in range(400)]
    world.log("m-1", later, day_ago + 2 * WINDOW, [float(i % 2) for i in range(400)])
    world.label([(name, ("no", "yes")[i % 2 if i % 4 else 1 - i % 2]) for i, name in enumerate(later)], 2)
    evidence = driver.tick(settings)
    assert ("concept", "") in alarmed(evidence)
    assert evidence.champion.recent == Share(300, 400)


def test_label_drift_is_of_its_own_kind(world: Any, driver: Driver) -> None:
    _, settings = one_champion(world)
    names = [f"id-{i}" for i in range(400)]
    world.log("m-1", names, driver.clock.now, [1.0] * 400)
    world.label([(name, "yes") for name in names], 1)
    assert set(alarmed(driver.tick(settings))) == {("label", "")}


def test_labels_since_drift_count_from_where_the_score_crossed(world: Any, driver: Driver) -> None:
    monitor, settings = one_champion(world)
    driver.tick(settings)
    now = driver.clock.now
    world.log("m-1", ["old", "new", "bare"], [now - 0.1 * WINDOW, now + WINDOW / 2, now + WINDOW / 2], [1, 1, 1])
    world.label([("old", "yes"), ("new", "yes")], 1)
    assert driver.tick(settings).labels_since_drift == 0
    monitor.observe(*world.batch(800, {0: 2.0}))
    assert driver.tick(settings).labels_since_drift == 1


def test_labels_of_a_regression_count_though_nothing_is_right_or_wrong(
    make_world: Callable[..., Any], clock: Any
) -> None:
    """Else a retraining that waits for labels since the drift began would wait for ever."""
    world = make_world(task="regression")
    driver = Driver(world, clock)
    monitor, settings = one_champion(world)
    driver.tick(settings)
    now = driver.clock.now
    monitor.observe(*world.batch(800, {0: 2.0}))
    driver.tick(settings)
    names = [f"id-{i}" for i in range(200)]
    world.log("m-1", names, now + 2, [0.1] * 200)
    world.label([(name, "9.5") for name in names], 1)
    evidence = driver.tick(settings)
    driver.close()
    assert evidence.labels_since_drift == 200
    assert (evidence.champion.correct, evidence.champion.recent) == (None, None)
    assert set(alarmed(evidence)) == {("feature", "f 0"), ("label", "")}


def test_a_label_that_is_no_class_is_said_until_good_ones_come(
    world: Any, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """Such labels are stored and count for nothing: a silent typo would look like no labels at all."""
    _, settings = one_champion(world)
    with caplog.at_level("INFO", "seamark.analyzer"):
        world.label([("a", "yes"), ("b", "Yes"), ("c", "x" * 500)], 1)
        driver.tick(settings)
        world.label([("d", "no")], 2)
        driver.tick(settings)
    lines = [record.getMessage() for record in caplog.records if "about=labels" in record.getMessage()]
    assert "Cannot use label 'Yes', nor 1 more of 3: the classes are 'no', 'yes'" in lines[0]
    assert ["recovered" in line for line in lines] == [False, True]


def test_a_champion_that_is_not_chosen_yet_is_no_data(world: Any, driver: Driver) -> None:
    evidence = driver.tick(model({}, champion=None))
    assert (evidence.champion, evidence.drift, evidence.contract) == (None, (), None)


def test_a_broken_log_leaves_the_counters_standing(
    world: Any, driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, settings = one_champion(world)
    world.log("m-1", ["a"], driver.clock.now, [1])
    log = world.folder / "data" / "predictions" / "default" / "m" / "_delta_log"
    broken = log / "00000000000000000000.json"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with caplog.at_level("INFO", "seamark.analyzer"):
        driver.tick(settings)
        monitor.observe(*world.batch(10))
        assert driver.tick(settings).champion.requests == 10
        broken.write_bytes(content)
        world.label([("a", "yes")], 1)
        assert driver.tick(settings).champion.correct == Share(1, 1)
    lines = [record.getMessage() for record in caplog.records if "about=log" in record.getMessage()]
    assert ["trouble" in line for line in lines] == [True, False]


def test_evidence_is_never_infinite(world: Any, driver: Driver, make_world: Callable[..., Any]) -> None:
    """JSON has no infinity: a p99 beyond the last bucket reads as its bound."""
    monitor, settings = one_champion(world)
    driver.tick(settings)
    monitor.observe(*world.batch(50), seconds=60.0)
    assert driver.tick(settings).champion.p99 == pytest.approx(10.3, rel=0.2)
