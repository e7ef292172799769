"""The memory survives as an object, is written on the newest only, and is never another deployment's."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import Conflict, InvalidSpec, NotFound
from seamark.seen import ModelSeen
from seamark.state import RetrainingState, Revision, RolloutState, Route, State
from seamark_kubernetes import memory
from seamark_kubernetes.api import STATE, Document, Owner
from seamark_kubernetes.memory import Entry, Memory, Resolved, Written
from seamark_kubernetes.testing import FakeApi

OWNER = Owner("shop", "churn", "uid-1")

times = st.floats(0, 4e9, allow_nan=False)
texts = st.text(max_size=20)
revisions = st.builds(
    Revision, texts, texts, texts, st.sampled_from(["spec", "retraining"]), times, texts, st.sampled_from(["Champion"])
)
routes = st.builds(
    Route,
    st.dictionaries(texts, st.integers(0, 100), max_size=2),
    st.none() | st.tuples(texts, st.integers(1, 100)),
    st.none() | texts,
    st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)
states = st.builds(
    State,
    revisions=st.lists(revisions, max_size=3).map(tuple),
    champion=st.none() | texts,
    rollout=st.none() | st.builds(RolloutState, texts, times, step_since=st.none() | times),
    retraining=st.builds(RetrainingState, st.integers(0, 9), starts=st.lists(times, max_size=3).map(tuple)),
    alarms=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    route=st.none() | routes,
    asked=st.lists(st.tuples(texts, times), max_size=3).map(tuple),
)
entries = st.builds(
    Entry,
    st.integers(1, 10**9),
    times,
    st.sampled_from(["event", "record", "stop"]),
    texts,
    texts,
    evidence=st.dictionaries(texts, st.none() | st.integers(-5, 5) | texts, max_size=2),
)
models = st.builds(ModelSeen, texts, texts, texts, texts, texts)
memories = st.builds(
    Memory,
    states,
    st.lists(entries, max_size=3).map(tuple),
    st.integers(0, 10**12),
    texts,
    st.none() | st.builds(Resolved, models, texts, st.integers(1, 9), times, st.integers(0, 9)),
    st.just("7"),
)


@given(memories)
def test_what_is_written_is_what_is_read(known: Memory) -> None:
    stored = json.loads(json.dumps(memory.document(known, OWNER)))
    assert memory.load(stored, OWNER) == known


def test_numbers_that_lost_their_point_on_the_way_are_the_same() -> None:
    """The API server writes 5.0 as 5."""
    known = Memory(State(route_asked=5.0), resource_version="7")
    stored = memory.document(known, OWNER)
    stored["memory"]["route_asked"] = 5
    assert memory.load(stored, OWNER) == known


def test_without_an_object_there_is_no_memory() -> None:
    assert memory.load(None, OWNER) == Memory()


def test_another_deployments_memory_is_none_of_ours() -> None:
    theirs = memory.document(Memory(State(champion="churn-1")), Owner("shop", "churn", "uid-0"))
    assert memory.load(theirs, OWNER) == Memory()


def test_a_memory_without_an_owner_is_adopted() -> None:
    stored = memory.document(Memory(State(champion="churn-1"), resource_version="7"), OWNER)
    del stored["metadata"]["ownerReferences"]
    assert memory.load(stored, OWNER).state.champion == "churn-1"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"memory": {"champion": 5}}, "cannot be read: Expected `str | null`, got `int` - at `$.champion`"),
        ({"outbox": [{"sequence": "x"}]}, "cannot be read"),
        ({"sequence": "one"}, "cannot be read"),
    ],
)
def test_a_memory_that_cannot_be_read_says_what_to_do(change: Document, cause: str) -> None:
    stored = memory.document(Memory(resource_version="7"), OWNER) | change
    with pytest.raises(InvalidSpec, match="ModelDeploymentState shop/churn: ") as caught:
        memory.load(stored, OWNER)
    assert cause in str(caught.value)
    assert str(caught.value).endswith("mend it, or delete it to begin anew")


def test_a_memory_without_its_content_says_so() -> None:
    stored = memory.document(Memory(resource_version="7"), OWNER)
    del stored["memory"]
    with pytest.raises(InvalidSpec, match="is missing 'memory'"):
        memory.load(stored, OWNER)


def test_fields_of_a_later_version_are_passed_over() -> None:
    stored = memory.document(Memory(resource_version="7"), OWNER)
    stored["memory"]["later"] = {"a": 1}
    assert memory.load(stored, OWNER) == Memory(resource_version="7")


def test_the_first_of_two_commits_wins() -> None:
    async def both() -> None:
        api = FakeApi()
        first = memory.load(await memory.commit(api, OWNER, Memory()), OWNER)
        with pytest.raises(Conflict):
            await memory.commit(api, OWNER, Memory())
        await memory.commit(api, OWNER, Memory(State(message="one"), resource_version=first.resource_version))
        with pytest.raises(Conflict):
            await memory.commit(api, OWNER, Memory(State(message="two"), resource_version=first.resource_version))
        assert memory.load(await api.get(STATE, "shop", "churn"), OWNER).state.message == "one"

    asyncio.run(both())


def test_a_deleted_memory_is_not_written_back() -> None:
    with pytest.raises(NotFound):
        asyncio.run(memory.commit(FakeApi(), OWNER, Memory(resource_version="7")))


def numbered(version: str) -> Document:
    return {"metadata": {"resourceVersion": version}}


@pytest.mark.parametrize(
    ("cached", "is_behind"),
    [(None, True), (numbered("9"), True), (numbered("10"), False), (numbered("11"), False), (numbered("x"), True)],
    ids=["not there", "older, though later in the alphabet", "the same", "newer", "unreadable"],
)
def test_the_cache_is_behind_until_it_has_what_was_written(cached: Document | None, is_behind: bool) -> None:
    written = Written()
    written.put(("a", "b", "State"), numbered("10"))
    assert written.is_behind(("a", "b", "State"), cached) == is_behind
    assert written.newest(("a", "b", "State"), cached) == (numbered("10") if is_behind else cached)


def test_once_the_cache_had_it_an_empty_cache_is_believed() -> None:
    """Then the object was deleted."""
    written = Written()
    written.put(("a", "b"), numbered("10"))
    assert not written.is_behind(("a", "b"), numbered("10"))
    assert not written.is_behind(("a", "b"), None)


def test_forgetting_takes_all_of_one_deployment() -> None:
    written = Written()
    for name in [("a", "b", "State"), ("a", "b", "ModelRevision", "r"), ("a", "bb", "State")]:
        written.put(name, numbered("10"))
    written.forget("a", "b")
    assert not written.is_behind(("a", "b", "ModelRevision", "r"), None)
    assert written.is_behind(("a", "bb", "State"), None)
