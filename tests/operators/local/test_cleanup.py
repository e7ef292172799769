"""The disk stays bounded: what something names is never touched, what nothing names goes after its grace."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seamark import spec as manifests
from seamark.spec import ModelDeployment
from seamark.state import RetrainingState, Revision, State
from seamark_local import cleanup, wanted
from seamark_local.cleanup import GRACE, LOG_GRACE, MOST_ENDED, MOST_STRANDED, REJECTED_GRACE, Cleanup
from seamark_local.home import Home, make_home
from seamark_local.packages import Packages
from seamark_local.store import Process, Status, Store
from seamark_local.wanted import Served, Wanted

START = 1_700_000_000.0
DIGESTS = {letter: letter * 64 for letter in "abcdef"}


def parse(name: str = "m", uri: str = "/models/m") -> ModelDeployment:
    return manifests.parse(
        {
            "apiVersion": "seamark.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": {"model": {"uri": uri}},
        }
    )


class World:
    """A home whose time is told; `later` is how tests wait."""

    def __init__(self, root: Path) -> None:
        self.home: Home = make_home(root / "home")
        self.store = Store(self.home.database)
        self.now = START
        self.cleanup = Cleanup(self.home, self.store, Packages(self.home.root), lambda: self.now)
        self.specs = [parse()]
        wanted.adopt(self.store, "m")

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.cleanup.run(self.specs)

    def make(self, path: str) -> Path:
        """A folder with a file in it, or a file where the path has an ending, from the beginning of time."""
        made = self.home.root / path
        file = made if made.suffix in (".log", ".1", ".result", ".sock") else made / "seamark.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
        self.age(made)
        if made.parent.parent == self.home.packages / "trained":
            self.age(made.parent)
        return made

    def spool(self, name: str, unsent: int = 0, rejected: bool = False) -> Path:
        folder = self.home.root / "spool" / name
        folder.mkdir(parents=True)
        (folder / "lock").touch()
        (folder / "000000000001-0123456789abcdef.segment").write_bytes(bytes(100))
        (folder / "cursor.json").write_text(json.dumps({"start": {"segment": 1, "offset": 100 - unsent}}))
        if rejected:
            (folder / "rejected").mkdir()
            (folder / "rejected" / "000000000001.msgpack").write_bytes(b"x")
        self.age(folder)
        return folder

    def age(self, path: Path) -> None:
        for one in (*path.rglob("*"), path):
            os.utime(one, (START, START))

    def commit(self, state: State, name: str = "m") -> None:
        self.store.commit(name, self.now, state)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # Short, so that sockets are inside the home.
    world = World(tmp_path_factory.mktemp("w"))
    yield world
    world.store.close()


def revision(name: str, uri: str, digest: str) -> Revision:
    return Revision(name, uri, digest, "retraining", 1.0, phase="Retired")


# --- packages


def test_packages_that_something_names_stay_and_the_others_go_after_their_grace(world: World) -> None:
    a, b, c, f = (world.make(f"packages/{DIGESTS[letter]}") for letter in "abcf")
    trained = [world.make(f"packages/trained/m-retrain-{number}/package") for number in range(1, 6)]
    world.commit(
        State(
            revisions=(revision("m-b", f"file://{trained[0]}", DIGESTS["b"]),),
            retraining=RetrainingState(episode=3, job="m-retrain-3"),
        )
    )
    wanted.save(world.store, "m", Wanted({"m-a": Served(str(trained[1]), DIGESTS["a"], 1, retiring=True)}))
    world.store.desire(
        [
            Process("monitor-m-c-0", ("python", "--package", str(c))),
            Process("trainer-m-retrain-4", (), env={"SEAMARK_OUTPUT": str(trained[3].parent)}),
        ]
    )
    world.later(GRACE - 1)
    assert f.exists()
    for _ in range(3):
        world.later(GRACE)
    assert all(path.exists() for path in (a, b, c, *trained[:4]))
    assert [path.exists() for path in (f, trained[4], trained[4].parent)] == [False] * 3


def test_the_grace_begins_when_a_package_was_last_needed(world: World) -> None:
    package = world.make(f"packages/{DIGESTS['a']}")
    world.commit(State(revisions=(revision("m-a", "/models/m", DIGESTS["a"]),)))
    world.later(10 * GRACE)
    world.commit(State())
    world.later(GRACE - 1)
    assert package.exists()
    world.later(2)
    assert not package.exists()


def test_a_manifest_may_name_a_package_that_a_job_made(world: World) -> None:
    trained = world.make("packages/trained/other-retrain-1/package")
    world.specs = [parse(uri=f"file://{trained}")]
    world.later(10 * GRACE)
    assert trained.exists()


def test_a_home_reached_through_a_link_is_the_same_home(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    world = World(tmp_path / "link")
    trained = world.make("packages/trained/m-retrain-1/package")
    world.specs = [parse(uri=str(trained.resolve()))]
    world.later(10 * GRACE)
    assert trained.exists()
    world.store.close()


def test_what_a_user_put_beside_the_copies_is_never_touched(world: World) -> None:
    users = [world.make(f"packages/{name}") for name in ("v1", "ABC", f"{DIGESTS['a']}.bak", f"x{DIGESTS['b']}")]
    elsewhere = world.make("mine")
    (world.home.packages / DIGESTS["c"]).symlink_to(elsewhere)
    world.later(100 * GRACE)
    assert all(path.exists() for path in (*users, elsewhere))


@pytest.mark.parametrize("name", [f".{DIGESTS['a']}.draft", f".{DIGESTS['a']}.gone", "trained/.m-retrain-1.x"])
def test_what_a_kill_left_half_made_or_half_removed_goes(world: World, name: str) -> None:
    left = world.make(f"packages/{name}")
    world.later(GRACE - 1)
    assert left.exists()
    world.later(2)
    assert not left.exists()


def test_a_kill_while_removing_leaves_no_half_that_passes_for_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = world.make(f"packages/{DIGESTS['a']}")

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    monkeypatch.setattr(cleanup.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        world.later(GRACE + 1)
    assert not package.exists()
    monkeypatch.undo()
    world.later(GRACE + 1)
    assert list(world.home.packages.iterdir()) == []


def test_what_cannot_be_removed_is_told_and_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (world.make(f"packages/{DIGESTS[letter]}") for letter in "ab")
    remove = cleanup._remove

    def refuse(folder: Path) -> None:
        if folder == first:
            raise PermissionError(13, "Permission denied")
        remove(folder)

    monkeypatch.setattr(cleanup, "_remove", refuse)
    world.later(GRACE + 1)
    assert (first.exists(), second.exists()) == (True, False)
    assert "event=cleanup_failed" in caplog.text


# --- spools


def test_a_delivered_spool_goes_when_its_monitor_is_gone(world: World) -> None:
    spool, held, desired, ending = (world.spool(f"m-{number}-0") for number in range(4))
    world.store.desire([Process("monitor-m-2-0", ())])
    world.store.report([Status("monitor-m-3-0", "ready")])
    with (held / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world.later(GRACE - 1)
        assert spool.exists()
        world.later(2)
        assert [path.exists() for path in (spool, held, desired, ending)] == [False, True, True, True]
    world.store.remove_status("monitor-m-3-0")
    world.later(1)
    assert [path.exists() for path in (held, desired, ending)] == [False, True, False]


def test_unsent_predictions_are_never_removed_while_they_are_few(world: World, caplog: Any) -> None:
    kept = [world.spool(f"m-{number}-0", unsent=1) for number in range(MOST_STRANDED)]
    for _ in range(3):
        world.later(1000 * GRACE)
    assert all(path.exists() for path in kept)
    assert caplog.text.count("event=spool_stranded") == MOST_STRANDED, "each is told once"


def test_of_too_many_stranded_spools_the_oldest_is_given_up_aloud(world: World, caplog: Any) -> None:
    spools = [world.spool(f"m-{number}-0", unsent=7) for number in range(MOST_STRANDED + 1)]
    os.utime(spools[3] / "lock", (START - 1, START - 1))
    for path in (*spools[3].iterdir(), spools[3]):
        os.utime(path, (START - 1, START - 1))
    with caplog.at_level(logging.ERROR):
        world.later(1)
    assert [path for path in spools if not path.exists()] == [spools[3]]
    assert "event=spool_given_up spool=m-3-0 unsent_bytes=7" in caplog.text


def test_refused_batches_are_kept_for_people_for_a_week(world: World) -> None:
    spool = world.spool("m-1-0", rejected=True)
    world.later(REJECTED_GRACE - 1)
    assert spool.exists()
    world.later(2)
    assert not spool.exists()


# --- logs, results, sockets


def test_logs_results_and_sockets_of_what_ended_go_and_the_others_stay(world: World) -> None:
    world.store.desire([Process("monitor-m-1-0", ("--socket", str(world.home.run / "sockets" / "kept.sock")))])
    world.store.report([Status("trainer-m-retrain-1", "running")])
    stay = [
        *("log/supervisor.log", "log/supervisor.log.1", "log/monitor-m-1-0.log", "log/.monitor-m-1-0.log.1"),
        *("log/trainer-m-retrain-1.log", "run/trainer-m-retrain-1.result", "run/sockets/kept.sock"),
    ]
    go = ["run/trainer-m-retrain-0.result", "run/.trainer-m-retrain-0.result.x8", "run/sockets/gone.sock"]
    go_later = ["log/predictor-m-0-0.log", "log/predictor-m-0-0.log.1"]
    (world.home.run / ".trainer-m-retrain-0.result.x8").touch()
    world.age(world.home.run)
    made = {path: world.home.root / path for path in (*stay, *go, *go_later)}
    for path in made:
        if not made[path].exists():
            world.make(path)
    world.later(GRACE + 1)
    assert [path for path, file in made.items() if not file.exists()] == go
    world.later(LOG_GRACE)
    assert [path for path, file in made.items() if not file.exists()] == go + go_later


def test_nothing_else_in_a_home_is_touched(world: World) -> None:
    kept = [world.make(path) for path in ("data/default/m/predictions", "examples", "envoy", "log/folder", "run/x")]
    world.later(1000 * LOG_GRACE)
    assert all(path.exists() for path in kept)
    assert world.home.database.exists()


# --- statuses


def test_statuses_of_ended_jobs_are_bounded_and_those_that_matter_stay(world: World) -> None:
    def status(number: int, phase: Any = "stopped", finished: float | None = None) -> Status:
        return Status(f"trainer-m-retrain-{number}", phase, finished=finished)

    world.commit(State(retraining=RetrainingState(episode=2, job="m-retrain-2")))
    world.store.desire([Process("trainer-m-retrain-1", (), kind="job")])
    world.store.report([status(1, "succeeded", 1.0), status(2, "failed"), status(3, "running")])
    world.store.report([status(number, "stopped", float(number)) for number in range(4, 4 + MOST_ENDED + 3)])
    world.later(1)
    left = sorted(int(name.rpartition("-")[2]) for name in world.store.statuses())
    assert left == [1, 2, 3, *range(7, 4 + MOST_ENDED + 3)]


# --- deployments and time


def test_a_deleted_deployment_frees_its_disk_but_never_its_log(world: World) -> None:
    package, spool = world.make(f"packages/{DIGESTS['a']}"), world.spool("m-a-0")
    logged = world.make("data/default/m/predictions")
    world.commit(State(revisions=(revision("m-a", "/models/m", DIGESTS["a"]),)))
    world.later(10 * GRACE)
    assert package.exists()
    world.commit(State(retraining=RetrainingState(episode=4)))
    wanted.forget(world.store, "m")
    world.specs = []
    world.later(GRACE + 1)
    assert [path.exists() for path in (package, spool, logged)] == [False, False, True]


def test_one_deployments_package_outlives_another_that_names_it_too(world: World) -> None:
    package = world.make(f"packages/{DIGESTS['a']}")
    state = State(revisions=(revision("m-a", "/models/m", DIGESTS["a"]),))
    world.specs.append(parse("n"))
    world.commit(state)
    world.commit(state, "n")
    world.later(10 * GRACE)
    world.commit(replace(state, revisions=()))
    world.later(10 * GRACE)
    assert package.exists()


def test_it_runs_once_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    times = iter([0.0, 0.2, cleanup.INTERVAL - 0.1, cleanup.INTERVAL])
    monkeypatch.setattr(world.cleanup, "run", runs.append)
    monkeypatch.setattr(cleanup.time, "monotonic", lambda: next(times))
    for _ in range(4):
        world.cleanup.tick(world.specs)
    assert len(runs) == 2
