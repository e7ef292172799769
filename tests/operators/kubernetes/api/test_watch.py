"""The newest known objects, whatever the watch misses. The clock jumps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from seamark.errors import NotFound, Unavailable
from seamark_kubernetes import names, watch
from seamark_kubernetes.api import JOB, MODEL_DEPLOYMENT, POD, STATE, Owner
from seamark_kubernetes.testing import FakeApi
from seamark_kubernetes.watch import KINDS, Cluster

A, B = ("x", "a"), ("y", "b")


def pod(name, deployment="a", **metadata):
    labels = names.labels(deployment, "serving")
    return {"metadata": {"name": name, "labels": labels, "managedFields": [{"manager": "m"}], **metadata}}


def manifest(name="a"):
    return {"metadata": {"name": name}, "spec": {"model": {"uri": "pvc://claim/path"}}}


@asynccontextmanager
async def watching(api, scopes=()) -> AsyncIterator[tuple[Cluster, list]]:
    told: list[tuple[str, str]] = []
    cluster = Cluster(api, scopes, told.append)
    task = asyncio.create_task(cluster.run())
    try:
        await cluster.wait_synced()
        await asyncio.sleep(0.1)
        yield cluster, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_what_is_there_is_known_before_it_says_that_it_is_synced(run):
    async def work():
        api = FakeApi()
        for kind in KINDS:
            await api.create(kind, "x", pod("one"))
        await api.create(MODEL_DEPLOYMENT, "x", manifest())
        assert not Cluster(api, (), print).synced
        async with watching(api) as (cluster, told):
            assert cluster.synced
            assert cluster.missing == ()
            assert all(cluster.find(kind, A, "one") for kind in KINDS)
            assert list(cluster.deployments) == [A]
            assert set(told) == {A}

    run(work())


def test_it_says_what_it_still_waits_for(run, caplog):
    async def work():
        api = FakeApi()
        api.fail_next("list", NotFound("Cannot list jobs: no such kind"), times=3, kind=JOB)
        cluster = Cluster(api, (), lambda _: None)
        assert cluster.missing == tuple(sorted(kind.plural for kind in (*KINDS, MODEL_DEPLOYMENT)))
        task = asyncio.create_task(cluster.run())
        await asyncio.sleep(2.0)
        assert (cluster.synced, cluster.missing) == (False, ("jobs",))
        await asyncio.sleep(30.0)
        assert (cluster.synced, cluster.missing) == (True, ())
        task.cancel()

    run(work())
    assert caplog.messages == ["event=watch_failed kind=jobs namespace=* error='Cannot list jobs: no such kind'"] * 3


def test_every_change_is_told_once(run):
    async def work():
        api = FakeApi()
        async with watching(api) as (cluster, told):
            await api.create(POD, "x", pod("one"))
            await asyncio.sleep(0.1)
            assert (told, bool(cluster.find(POD, A, "one"))) == ([A], True)
            api.edit(POD, "x", "one", lambda document: document.update(status={"phase": "Running"}))
            await asyncio.sleep(0.1)
            assert told == [A, A]
            assert cluster.objects(POD, A)[0]["status"] == {"phase": "Running"}
            await api.delete(POD, "x", "one")
            await asyncio.sleep(0.1)
            assert (told, cluster.objects(POD, A)) == ([A, A, A], [])

    run(work())


def test_objects_of_others_are_not_kept(run):
    async def work():
        api = FakeApi()
        await api.create(POD, "x", {"metadata": {"name": "alien", "labels": {names.DEPLOYMENT: "a"}}})
        await api.create(POD, "x", {"metadata": {"name": "ours", "labels": {names.MANAGED_BY: "seamark"}}})
        async with watching(api) as (cluster, told):
            assert (cluster.objects(POD, A), told) == ([], [])

    run(work())


def test_only_the_watched_namespaces_are_listed(run):
    async def work():
        api = FakeApi()
        for namespace in ("x", "y", "z"):
            await api.create(POD, namespace, pod("one"))
            await api.create(MODEL_DEPLOYMENT, namespace, manifest())
        async with watching(api, ("x", "y")) as (cluster, _):
            assert set(cluster.deployments) == {("x", "a"), ("y", "a")}
            assert [bool(cluster.objects(POD, (namespace, "a"))) for namespace in "xyz"] == [True, True, False]

    run(work())


def test_managed_fields_take_no_memory(run):
    async def work():
        api = FakeApi()
        await api.create(POD, "x", pod("one"))
        async with watching(api) as (cluster, _):
            api.edit(POD, "x", "one", lambda document: document.update(spec={"nodeName": "n"}))
            await asyncio.sleep(0.1)
            cluster.put_deployment({"metadata": {"name": "a", "namespace": "x", "managedFields": []}})
            found = [*cluster.objects(POD, A), *cluster.deployments.values()]
            assert [set(document["metadata"]) & {"managedFields"} for document in found] == [set(), set()]

    run(work())


# --- faults


def test_a_watch_that_ends_goes_on_where_it_was_without_a_new_list(run):
    async def work():
        api = FakeApi()
        async with watching(api) as (cluster, told):
            lists = api.calls["list"]
            api.end_watches()
            await api.create(POD, "x", pod("one"))
            await asyncio.sleep(5.0)
            assert bool(cluster.find(POD, A, "one"))
            assert (told, api.calls["list"]) == ([A], lists)

    run(work())


def test_after_410_everything_is_listed_and_every_difference_is_told(run):
    async def work():
        api = FakeApi()
        for name, deployment in (("gone", "a"), ("changed", "b"), ("same", "c")):
            await api.create(POD, "x", pod(name, deployment))
        async with watching(api) as (cluster, told):
            told.clear()
            api.end_watches()
            api.remove(POD, "x", "gone")
            api.edit(POD, "x", "changed", lambda document: document.update(spec={"nodeName": "n"}))
            await api.create(POD, "x", pod("new", "d"))
            api.forget_events()
            await asyncio.sleep(30.0)
            assert sorted(told) == [("x", "a"), ("x", "b"), ("x", "d")]
            assert cluster.objects(POD, ("x", "a")) == []
            assert cluster.find(POD, ("x", "b"), "changed")["spec"] == {"nodeName": "n"}
            assert cluster.find(POD, ("x", "d"), "new")

    run(work())


def test_an_api_server_that_is_away_is_asked_less_and_less_often_and_found_again(run, caplog):
    async def work():
        api = FakeApi()
        async with watching(api) as (cluster, _):
            api.fail_next("list", Unavailable("Cannot list: away"), times=8, kind=POD)
            api.fail_next("watch", Unavailable("Cannot watch: away"), kind=POD)
            api.end_watches()
            before = api.calls["list"]
            await asyncio.sleep(60.0)
            asked = api.calls["list"] - before
            await api.create(POD, "x", pod("one"))
            await asyncio.sleep(400.0)
            assert asked < 8
            assert cluster.find(POD, A, "one")

    with caplog.at_level(logging.WARNING):
        run(work())
    assert "event=watch_failed kind=pods namespace=* error='Cannot watch: away'" in caplog.messages


def test_when_the_api_server_is_back_every_deployment_is_looked_at_again_soon(run):
    async def work():
        api = FakeApi()
        await api.create(MODEL_DEPLOYMENT, "x", manifest("a"))
        await api.create(MODEL_DEPLOYMENT, "y", manifest("b"))
        async with watching(api) as (_, told):
            for verb in ("list", "watch"):
                api.fail_next(verb, Unavailable("away"), times=10_000)
            api.end_watches()
            await asyncio.sleep(3600.0)
            told.clear()
            api.fail_never()
            await asyncio.sleep(watch.LONGEST)
            assert set(told) == {A, B}

    run(work())


def test_watches_that_end_at_once_do_not_become_a_storm(run):
    class Closing(FakeApi):
        async def watch(self, *arguments):
            self.calls["watch"] += 1
            return
            yield

    async def work():
        api = Closing()
        async with watching(api):
            await asyncio.sleep(3600.0)
            return api.calls["watch"] / len(KINDS)

    # One in 20 s, and jitter.
    assert run(work()) < 300


def test_an_error_of_its_own_does_not_end_watching(run, caplog):
    async def work():
        api = FakeApi()
        api.fail_next("list", ZeroDivisionError("oops"), kind=POD)
        async with watching(api) as (cluster, _):
            await api.create(POD, "x", pod("one"))
            await asyncio.sleep(5.0)
            assert cluster.find(POD, A, "one")

    run(work())
    assert [record.exc_info[1].args for record in caplog.records] == [("oops",)]


# --- ModelDeployments, which kopf tells of


def test_a_deployment_that_is_told_is_known_and_told_on_once_for_each_version(run):
    async def work():
        api = FakeApi()
        async with watching(api) as (cluster, told):
            document = await api.create(MODEL_DEPLOYMENT, "x", manifest())
            cluster.put_deployment(document)
            cluster.put_deployment(document)
            assert told == [A]
            cluster.put_deployment(api.edit(MODEL_DEPLOYMENT, "x", "a", lambda found: found.update(spec={})))
            assert (told, cluster.deployments[A]["spec"]) == ([A, A], {})
            cluster.drop_deployment(A)
            cluster.drop_deployment(A)
            assert (told, cluster.deployments) == ([A, A, A], {})

    run(work())


def test_what_kopf_missed_is_found_within_minutes(run, caplog):
    async def work():
        api = FakeApi()
        await api.create(MODEL_DEPLOYMENT, "x", manifest("a"))
        await api.create(MODEL_DEPLOYMENT, "y", manifest("b"))
        async with watching(api) as (cluster, told):
            told.clear()
            api.remove(MODEL_DEPLOYMENT, "x", "a")
            api.edit(MODEL_DEPLOYMENT, "y", "b", lambda found: found.update(spec={}))
            await api.create(MODEL_DEPLOYMENT, "x", manifest("c"))
            await asyncio.sleep(watch.HEAL + 5.0)
            assert set(cluster.deployments) == {B, ("x", "c")}
            assert cluster.deployments[B]["spec"] == {}
            assert sorted(told) == [A, ("x", "c"), B]

    with caplog.at_level(logging.INFO):
        run(work())
    assert caplog.messages == ["event=missed_deletion namespace=x deployment=a"]


@pytest.mark.parametrize("hint", ["its memory went", "somebody doubts"])
def test_a_hint_that_a_deployment_is_gone_is_followed_at_once(run, hint):
    async def work():
        api = FakeApi()
        found = await api.create(MODEL_DEPLOYMENT, "x", manifest("a"))
        memory = pod("a")
        memory["metadata"]["ownerReferences"] = [Owner("x", "a", found["metadata"]["uid"]).reference()]
        await api.create(STATE, "x", memory)
        async with watching(api) as (cluster, _):
            await asyncio.sleep(10.0)
            if hint == "somebody doubts":
                api.edit(STATE, "x", "a", lambda document: document["metadata"].pop("ownerReferences"))
            api.remove(MODEL_DEPLOYMENT, "x", "a")
            if hint == "somebody doubts":
                cluster.doubt(A)
            await asyncio.sleep(1.0)
            assert cluster.deployments == {}

    run(work())


def test_doubts_do_not_become_a_storm_of_lists(run):
    async def work():
        api = FakeApi()
        await api.create(MODEL_DEPLOYMENT, "x", manifest("a"))
        async with watching(api) as (cluster, _):
            before = api.calls["list"]
            for _ in range(1000):
                cluster.doubt(A)
                await asyncio.sleep(0.01)
            assert api.calls["list"] - before <= 10.0 / watch.REST + 1
            assert list(cluster.deployments) == [A]

    run(work())


def test_news_that_comes_while_all_are_being_listed_is_not_undone_by_the_older_list(run):
    class Slow(FakeApi):
        """The answer is taken at once and arrives a second later."""

        async def list(self, kind, namespace, labels):
            found = await super().list(kind, namespace, labels)
            if kind == MODEL_DEPLOYMENT:
                await asyncio.sleep(1.0)
            return found

    async def work():
        api = Slow()
        for name in ("gone", "changed"):
            await api.create(MODEL_DEPLOYMENT, "x", manifest(name))
        async with watching(api) as (cluster, _):
            await asyncio.sleep(10.0)
            cluster.doubt(("x", "gone"))
            await asyncio.sleep(0.5)
            api.remove(MODEL_DEPLOYMENT, "x", "gone")
            cluster.drop_deployment(("x", "gone"))
            cluster.put_deployment(api.edit(MODEL_DEPLOYMENT, "x", "changed", lambda found: found.update(spec={})))
            cluster.put_deployment(await api.create(MODEL_DEPLOYMENT, "x", manifest("new")))
            await asyncio.sleep(5.0)
            assert set(cluster.deployments) == {("x", "changed"), ("x", "new")}
            assert cluster.deployments["x", "changed"]["spec"] == {}

    run(work())


def test_idle_it_asks_for_little(run):
    class Quiet(FakeApi):
        """Ends watches as a real server does."""

        async def watch(self, *arguments):
            self.calls["watch"] += 1
            await asyncio.sleep(570.0)
            return
            yield

    async def work():
        api = Quiet()
        async with watching(api):
            before = api.calls.total()
            await asyncio.sleep(36_000.0)
            return (api.calls.total() - before) / 600

    assert run(work()) < 1.0
