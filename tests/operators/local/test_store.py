"""The store keeps what it was told, whole, whoever is killed, and tells it to every process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.actions import Notify
from seamark.state import Revision, State
from seamark_local import store as module
from seamark_local.store import Process, Status, Store

PATH = Path("state.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / PATH


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path)


def event(message: str) -> Notify:
    return Notify("Promoted", "churn-1", "GatesHold", message, {"rows": 3})


# --- manifests


def test_a_manifest_changes_its_generation_only_when_it_changes(store: Store) -> None:
    for document in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}):
        store.apply({"churn": document})
    [manifest] = store.manifests()
    assert (manifest.generation, manifest.document) == (2, {"a": 2})


def test_manifests_are_taken_up_all_or_none(store: Store) -> None:
    with pytest.raises(TypeError):
        store.apply({"churn": {"a": 1}, "other": {"a": object()}})
    assert store.manifests() == []


def test_a_forgotten_manifest_is_gone_and_forgetting_again_is_harmless(store: Store) -> None:
    store.apply({"churn": {}, "other": {}})
    store.forget("churn")
    store.forget("churn")
    assert [manifest.name for manifest in store.manifests()] == ["other"]


# --- decisions


def test_a_decision_is_there_as_it_was_committed(store: Store, path: Path) -> None:
    state = State(revisions=(Revision("churn-1", "file:///x", "d" * 64, "spec", 1.0),), champion="churn-1")
    store.commit("churn", 5.0, state, [event("one"), event("two")], {"ready": True}, (b"{}", b"1", b"2", b"3"))
    store.close()
    again = Store(path)
    assert again.state("churn") == state
    assert again.summary("churn") == {"ready": True}
    assert again.audit("churn") == [(5.0, b"{}", b"1", b"2", b"3")]
    assert [(e["id"], e["message"], e["evidence"]) for e in again.events()] == [
        (1, "one", {"rows": 3}),
        (2, "two", {"rows": 3}),
    ]


def test_nothing_is_known_of_a_deployment_that_was_never_decided(store: Store) -> None:
    assert store.state("churn") is None
    assert store.summary("churn") == {}
    assert store.audit("churn") == []


def test_events_are_read_from_where_a_reader_stopped_and_by_name(store: Store) -> None:
    store.commit("churn", 1.0, State(), [event("one")])
    store.commit("other", 2.0, State(), [event("two")])
    assert [e["message"] for e in store.events(after=1)] == ["two"]
    assert [e["message"] for e in store.events(name="churn")] == ["one"]
    assert store.events(after=2) == []


def test_what_grows_for_ever_is_cut_to_its_newest_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", {"events": 3, "audit": 2})
    for i in range(10):
        store.commit("churn", float(i), State(), [event(str(i))], audit=(b"s", b"b", b"s", b"d"))
    assert [e["message"] for e in store.events()] == ["7", "8", "9"]
    assert [row[0] for row in store.audit("churn")] == [8.0, 9.0]


def test_a_failed_commit_leaves_nothing_of_itself(store: Store) -> None:
    store.commit("churn", 1.0, State(message="before"))
    unwritable = Notify("Promoted", "churn-1", "x", "y", {"bad": object()})
    with pytest.raises(TypeError):
        store.commit("churn", 2.0, State(message="after"), [event("new"), unwritable])
    state = store.state("churn")
    assert state is not None
    assert state.message == "before"
    assert store.events() == []


WRITER = """
import sys
from pathlib import Path
from seamark.actions import Notify
from seamark.state import State
from seamark_local.store import Store
store = Store(Path(sys.argv[1]))
for i in range(1, 10**9):
    store.commit("churn", float(i), State(generation=i), [Notify("Promoted", "r", "x", str(i))], {"at": i})
    print(i, flush=True)
"""


def test_a_killed_writer_leaves_whole_decisions_only(path: Path) -> None:
    Store(path).close()
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split(b"\n")[:-1])])
        writer.stdout.close()
        writer.wait()
        store = Store(path)
        state = store.state("churn")
        assert state is not None
        assert state.generation >= acknowledged
        assert store.summary("churn") == {"at": state.generation}
        assert store.events()[-1]["message"] == str(state.generation)
        store.close()


# --- commands


def test_commands_have_growing_ids_and_are_read_by_deployment(store: Store) -> None:
    ids = [
        store.command("churn", "promote", "ann", "good"),
        store.command("other", "abort"),
        store.command("churn", "pause"),
    ]
    assert ids == sorted(set(ids))
    assert [(c.verb, c.by, c.reason) for c in store.commands("churn", 0)] == [
        ("promote", "ann", "good"),
        ("pause", "", ""),
    ]
    assert [c.verb for c in store.commands("churn", ids[0])] == ["pause"]


# --- processes

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=10)
processes = st.builds(
    Process,
    name=texts,
    argv=st.lists(texts, max_size=3).map(tuple),
    env=st.dictionaries(texts, texts, max_size=3),
    kind=st.sampled_from(["service", "job"]),
    port=st.integers(0, 65535),
    ready=texts,
    deadline=st.floats(0, 1e6),
    retries=st.integers(0, 10),
)


@given(st.lists(processes, max_size=5, unique_by=lambda process: process.name))
def test_desired_processes_come_back_as_they_were(wanted: list[Process]) -> None:
    memory: Any = ":memory:"
    store = Store(memory)
    store.desire(wanted)
    store.desire(wanted)
    assert sorted(store.desired(), key=lambda p: p.name) == sorted(wanted, key=lambda p: p.name)
    store.undesire([process.name for process in wanted])
    assert store.desired() == []
    store.close()


def test_statuses_are_replaced_by_name_and_removed_by_name(store: Store) -> None:
    store.report([Status("a", "starting"), Status("b", "ready", pid=7)])
    store.report([Status("a", "failed", finished=2.0, exit_status=1, message="m", result="r")])
    store.remove_status("b")
    assert store.statuses() == {"a": Status("a", "failed", finished=2.0, exit_status=1, message="m", result="r")}


def test_facts_are_any_json(store: Store) -> None:
    assert store.fact("gateway") is None
    for value in ({"port": 1}, [1, "x"], None, 2.5):
        store.set_fact("gateway", value)
        assert store.fact("gateway") == value


def test_writers_in_several_threads_wait_for_each_other(path: Path) -> None:
    Store(path).close()

    def write(name: str) -> None:
        own = Store(path)
        for i in range(30):
            own.report([Status(name, "running", restarts=i)])
        own.close()

    threads = [threading.Thread(target=write, args=(f"p{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status.restarts for status in Store(path).statuses().values()] == [29] * 4


def test_a_reader_never_waits_for_a_writer(store: Store, path: Path) -> None:
    store.apply({"churn": {"a": 1}})
    reader = Store(path)
    with store._write() as db:
        db.execute("DELETE FROM manifests")
        began = time.monotonic()
        assert [manifest.name for manifest in reader.manifests()] == ["churn"]
        assert time.monotonic() - began < 5


OPENER = """
import sys, time
from pathlib import Path
from seamark_local.store import Store
time.sleep(max(0, float(sys.argv[2]) - time.time()))
Store(Path(sys.argv[1])).set_fact(sys.argv[3], 1)
"""


def test_several_processes_may_make_the_database_at_once(path: Path) -> None:
    at = str(time.time() + 1.0)
    openers = [subprocess.Popen([sys.executable, "-c", OPENER, str(path), at, str(i)]) for i in range(6)]
    assert [opener.wait(timeout=30) for opener in openers] == [0] * 6
    assert [Store(path).fact(str(i)) for i in range(6)] == [1] * 6
