"""The API in memory keeps the real one's rules."""

from __future__ import annotations

import asyncio

import pytest

from seamark.errors import Conflict, InvalidSpec, NotFound, Unavailable
from seamark_kubernetes.api import CONFIG_MAP, JOB, MODEL_DEPLOYMENT, POD, STATE, Owner
from seamark_kubernetes.testing import FakeApi


def document(name="x", **fields):
    return {"metadata": {"name": name}, **fields}


def test_what_is_created_has_an_identity_and_comes_back(run):
    async def work():
        api = FakeApi()
        made = await api.create(JOB, "n", document(spec={"a": 1}))
        assert made == await api.get(JOB, "n", "x")
        assert (made["apiVersion"], made["kind"], made["spec"]) == ("batch/v1", "Job", {"a": 1})
        assert {"uid", "resourceVersion", "generation", "namespace", "name"} <= set(made["metadata"])
        with pytest.raises(Conflict):
            await api.create(JOB, "n", document())
        other = await api.create(JOB, "m", document())
        assert other["metadata"]["uid"] != made["metadata"]["uid"]

    run(work())


def test_documents_are_copies(run):
    async def work():
        api = FakeApi()
        given = document(spec={"a": [1]})
        made = await api.create(JOB, "n", given)
        given["spec"]["a"].append(2)
        made["spec"]["a"].append(3)
        (await api.list(JOB, None, {}))[0][0]["spec"]["a"].append(4)
        assert (await api.get(JOB, "n", "x"))["spec"] == {"a": [1]}

    run(work())


def test_the_status_is_written_apart(run):
    async def work():
        api = FakeApi()
        await api.create(JOB, "n", document(spec={"a": 1}, status={"no": 1}))
        assert "status" not in await api.get(JOB, "n", "x")
        await api.apply(JOB, "n", document(spec={"no": 1}, status={"s": 1}), status=True)
        found = await api.get(JOB, "n", "x")
        assert (found["spec"], found["status"], found["metadata"]["generation"]) == ({"a": 1}, {"s": 1}, 1)
        await api.apply(JOB, "n", document(spec={"b": 1}, status={"no": 1}))
        found = await api.get(JOB, "n", "x")
        assert (found["status"], found["metadata"]["generation"]) == ({"s": 1}, 2)
        with pytest.raises(NotFound):
            await api.apply(JOB, "n", document("other", status={}), status=True)

    run(work())


def test_replace_needs_the_newest_version(run):
    async def work():
        api = FakeApi()
        first = await api.create(STATE, "n", document(memory={"a": 1}))
        with pytest.raises(InvalidSpec, match="must be specified"):
            await api.replace(STATE, "n", document())
        second = await api.replace(STATE, "n", first | {"memory": {"b": 1}})
        assert second["memory"] == {"b": 1}
        with pytest.raises(Conflict):
            await api.replace(STATE, "n", first)
        with pytest.raises(NotFound):
            await api.replace(STATE, "n", document("other"))

    run(work())


def test_apply_adds_changes_and_takes_back_its_own_fields_only(run):
    async def work():
        api = FakeApi()
        await api.apply(JOB, "n", document(spec={"a": 1, "b": {"c": 1, "d": 1}}))
        api.edit(JOB, "n", "x", lambda found: found["spec"].update(alien=1))
        found = await api.apply(JOB, "n", document(spec={"b": {"c": 2}}))
        assert found["spec"] == {"b": {"c": 2}, "alien": 1}

    run(work())


def test_applying_the_same_again_changes_nothing(run):
    async def work():
        api = FakeApi()
        first = await api.apply(JOB, "n", document(spec={"a": 1}))
        assert await api.apply(JOB, "n", document(spec={"a": 1})) == first

    run(work())


def test_apply_with_a_version_is_a_precondition(run):
    async def work():
        api = FakeApi()
        stale = {"metadata": {"name": "x", "resourceVersion": "1"}}
        with pytest.raises(Conflict):
            await api.apply(JOB, "n", stale)
        await api.create(JOB, "n", document())
        with pytest.raises(Conflict):
            await api.apply(JOB, "n", stale)
        with pytest.raises(Conflict):
            await api.patch(JOB, "n", "x", stale)

    run(work())


def test_patch_merges_and_null_removes(run):
    async def work():
        api = FakeApi()
        await api.create(CONFIG_MAP, "n", document(data={"a": "1", "b": "2"}))
        found = await api.patch(
            CONFIG_MAP, "n", "x", {"data": {"a": None, "c": "3"}, "metadata": {"labels": {"l": "1"}}}
        )
        assert (found["data"], found["metadata"]["labels"]) == ({"b": "2", "c": "3"}, {"l": "1"})
        with pytest.raises(NotFound):
            await api.patch(CONFIG_MAP, "n", "other", {})

    run(work())


def test_deleting_takes_everything_along_that_is_owned(run):
    async def work():
        api = FakeApi()
        owner = await api.create(MODEL_DEPLOYMENT, "n", document("m"))
        reference = Owner("n", "m", owner["metadata"]["uid"]).reference()
        job = await api.create(JOB, "n", {"metadata": {"name": "j", "ownerReferences": [reference]}})
        mine = {"kind": "Job", "name": "j", "uid": job["metadata"]["uid"]}
        await api.create(POD, "n", {"metadata": {"name": "p", "ownerReferences": [mine]}})
        await api.create(POD, "n", document("free"))
        await api.delete(MODEL_DEPLOYMENT, "n", "m")
        await api.delete(MODEL_DEPLOYMENT, "n", "m")
        assert (api.all(MODEL_DEPLOYMENT), api.all(JOB)) == ([], [])
        assert [found["metadata"]["name"] for found in api.all(POD)] == ["free"]

    run(work())


def test_a_watch_tells_what_happened_since_and_what_leaves_its_selection(run):
    async def work():
        api = FakeApi()
        await api.create(POD, "n", {"metadata": {"name": "old", "labels": {"l": "1"}}})
        _, version = await api.list(POD, "n", {"l": "1"})
        told = []

        async def watch():
            async for event, found in api.watch(POD, "n", {"l": "1"}, version):
                told.append((event, found["metadata"]["name"]))

        await api.create(POD, "n", {"metadata": {"name": "before", "labels": {"l": "1"}}})
        task = asyncio.create_task(watch())
        await asyncio.sleep(0.1)
        await api.create(POD, "other", {"metadata": {"name": "elsewhere", "labels": {"l": "1"}}})
        await api.create(POD, "n", document("unlabelled"))
        api.edit(POD, "n", "unlabelled", lambda found: found["metadata"].update(labels={"l": "1"}))
        api.edit(POD, "n", "unlabelled", lambda found: found.update(spec={}))
        api.edit(POD, "n", "unlabelled", lambda found: found["metadata"].update(labels={}))
        api.remove(POD, "n", "old")
        await asyncio.sleep(0.1)
        api.end_watches()
        await task
        return told

    assert run(work()) == [
        ("ADDED", "before"),
        ("ADDED", "unlabelled"),
        ("MODIFIED", "unlabelled"),
        ("DELETED", "unlabelled"),
        ("DELETED", "old"),
    ]


def test_a_forgotten_version_cannot_be_watched_from(run):
    async def work():
        api = FakeApi()
        _, version = await api.list(POD, None, {})
        api.forget_events()
        with pytest.raises(Unavailable, match="too old"):
            await anext(api.watch(POD, None, {}, version))
        _, version = await api.list(POD, None, {})
        task = asyncio.ensure_future(anext(api.watch(POD, None, {}, version)))
        await asyncio.sleep(0.1)
        await api.create(POD, "n", document())
        assert (await task)[0] == "ADDED"

    run(work())


def test_calls_fail_on_demand_in_order_before_or_after_they_were_carried_out(run):
    async def work():
        api = FakeApi()
        api.fail_next("create", Unavailable("early"), kind=JOB)
        api.fail_next("create", Unavailable("late"), kind=JOB, late=True)
        await api.create(POD, "n", document())
        with pytest.raises(Unavailable, match="early"):
            await api.create(JOB, "n", document())
        assert api.all(JOB) == []
        with pytest.raises(Unavailable, match="late"):
            await api.create(JOB, "n", document())
        assert len(api.all(JOB)) == 1
        await api.create(JOB, "n", document("y"))
        assert api.calls == {"create": 4}

    run(work())
