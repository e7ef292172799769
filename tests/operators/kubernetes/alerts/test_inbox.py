"""The inbox: what was accepted survives a kill, what could not be stored is not accepted, and all of it is bounded."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seamark.errors import Conflict, NotFound, SeamarkError, Unavailable
from seamark_kubernetes import inbox as module
from seamark_kubernetes.api import CONFIG_MAP
from seamark_kubernetes.inbox import LIFETIME, MAX_ENTRIES, MAX_FINGERPRINTS, NAME, Inbox, Key
from seamark_kubernetes.testing import FakeApi

SYSTEM = "seamark-system"
CHURN: Key = ("team", "churn")
FRAUD: Key = ("team", "fraud")


async def opened(api: Any, **clocks: Any) -> Inbox:
    inbox = Inbox(api, SYSTEM, **clocks)
    await inbox.load()
    return inbox


def config_map(**data: str) -> dict[str, Any]:
    return {"metadata": {"name": NAME, "namespace": SYSTEM}, "data": data}


class Slow(FakeApi):
    """Holds patches until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def patch(self, *arguments: Any, **options: Any) -> Any:
        await self.go.wait()
        return await super().patch(*arguments, **options)


def test_a_hint_survives_a_kill(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        assert await (await opened(api, now=kit.Clock(5.0))).put([(CHURN, "a1")]) == (1, 0)
        assert kit.stored(api) == {"team.churn": {"received": 5.0, "fingerprints": ["a1"]}}
        assert (await opened(api, now=kit.Clock(6.0))).pending() == {CHURN}

    asyncio.run(run())


def test_a_thousand_of_the_same_at_once_are_one_hint_and_one_write(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        results = await asyncio.gather(*(inbox.put([(CHURN, "a1")]) for _ in range(1000)))
        assert sorted(results) == [(0, 1)] * 999 + [(1, 0)]
        assert api.calls["patch"] + api.calls["create"] == 2  # there was no ConfigMap yet
        assert await inbox.put([(CHURN, "a1")]) == (0, 1)
        assert api.calls["patch"] == 1
        assert kit.stored(api)["team.churn"]["fingerprints"] == ["a1"]

    asyncio.run(run())


def test_many_deployments_at_once_are_written_together(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        keys = [("team", f"m{number}") for number in range(50)]
        await asyncio.gather(*(inbox.put([(key, f"{number:x}")]) for number, key in enumerate(keys)))
        assert inbox.pending() == set(keys)
        assert len(kit.stored(api)) == 50
        assert api.calls["patch"] == 1

    asyncio.run(run())


def test_another_alert_of_a_waiting_deployment_is_added_to_its_entry(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api, now = FakeApi(), kit.Clock(5.0)
        inbox = await opened(api, now=now)
        await inbox.put([(CHURN, "a1")])
        now.now = 9.0
        assert await inbox.put([(CHURN, "a1"), (CHURN, "b2"), (FRAUD, "c3")]) == (2, 1)
        assert kit.stored(api) == {
            "team.churn": {"received": 5.0, "fingerprints": ["a1", "b2"]},
            "team.fraud": {"received": 9.0, "fingerprints": ["c3"]},
        }

    asyncio.run(run())


def test_of_more_fingerprints_than_are_kept_the_rest_is_known(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        hints = [(CHURN, f"{number:x}") for number in range(MAX_FINGERPRINTS + 1)]
        assert await inbox.put(hints) == (MAX_FINGERPRINTS, 1)
        assert len(kit.stored(api)["team.churn"]["fingerprints"]) == MAX_FINGERPRINTS

    asyncio.run(run())


@pytest.mark.parametrize("odd", ["", "x" * 16, "A1", "a" * 33, "a1\n"])
def test_what_is_no_fingerprint_is_a_hint_but_not_stored(kit: SimpleNamespace, odd: str) -> None:
    async def run() -> None:
        api = FakeApi()
        assert await (await opened(api)).put([(CHURN, odd), (CHURN, odd)]) == (1, 1)
        assert kit.stored(api)["team.churn"]["fingerprints"] == []

    asyncio.run(run())


@pytest.mark.parametrize("error", [Unavailable("away"), Conflict("odd"), RuntimeError("a mistake of ours")])
def test_what_cannot_be_written_is_not_accepted_and_may_come_again(kit: SimpleNamespace, error: Exception) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        api.fail_next("patch", error)
        both = await asyncio.gather(inbox.put([(CHURN, "a1")]), inbox.put([(CHURN, "a1")]), return_exceptions=True)
        assert [type(result) for result in both] == [Unavailable, Unavailable]
        assert (inbox.pending(), kit.stored(api)) == (set(), {})
        assert await inbox.put([(CHURN, "a1")]) == (1, 0)
        assert inbox.pending() == {CHURN}

    asyncio.run(run())


def test_a_write_whose_answer_was_lost_is_refused_and_harmless(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        await api.create(CONFIG_MAP, SYSTEM, config_map())
        inbox = await opened(api)
        api.fail_next("patch", Unavailable("no answer"), late=True)
        with pytest.raises(Unavailable, match="Cannot store alerts: no answer"):
            await inbox.put([(CHURN, "a1")])
        assert await inbox.put([(CHURN, "a1")]) == (1, 0)
        assert list(kit.stored(api)) == ["team.churn"]

    asyncio.run(run())


def test_a_slow_api_server_is_not_waited_for_and_the_late_write_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        api = Slow()
        inbox = await opened(api)
        monkeypatch.setattr(module, "PATIENCE", 0.1)
        for _ in range(2):  # the second comes while the first is being written
            with pytest.raises(Unavailable, match="did not answer within"):
                await inbox.put([(CHURN, "a1")])
        assert inbox.pending() == set()
        api.go.set()
        await inbox.close()
        assert inbox.pending() == {CHURN}
        assert await inbox.put([(CHURN, "a1")]) == (0, 1)

    asyncio.run(run())


def test_a_full_inbox_takes_no_new_deployment_until_one_is_done() -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        await inbox.put([(("team", f"m{number}"), "a1") for number in range(MAX_ENTRIES - 1)])
        with pytest.raises(Unavailable, match="999 deployments wait; at most 1000 may"):
            await inbox.put([(CHURN, "a1"), (FRAUD, "a1")])
        assert await inbox.put([(CHURN, "a1")]) == (1, 0)
        with pytest.raises(Unavailable):
            await inbox.put([(FRAUD, "a1")])
        assert await inbox.put([(CHURN, "b2")]) == (1, 0)
        inbox.done(CHURN)
        assert await inbox.put([(FRAUD, "a1")]) == (1, 0)

    asyncio.run(run())


def test_what_waits_to_be_written_counts_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        inbox = await opened(FakeApi())
        monkeypatch.setattr(module, "MAX_ENTRIES", 2)
        tries = (inbox.put([(("team", f"m{number}"), "a1")]) for number in range(5))
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert [isinstance(result, Unavailable) for result in results] == [False, False, True, True, True]

    asyncio.run(run())


def test_the_largest_inbox_fits_into_a_config_map(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api, now=kit.Clock(1_800_000_000.123456))
        prints = [f"{number:032x}" for number in range(MAX_FINGERPRINTS)]
        longest = [("n" * 63, f"{number:040d}") for number in range(MAX_ENTRIES)]
        await inbox.put([(key, text) for key in longest for text in prints])
        (document,) = api.all(CONFIG_MAP)
        assert sum(len(name) + len(text) for name, text in document["data"].items()) < 2**20 * 0.6

    asyncio.run(run())


def test_a_hint_is_done_for_looks_after_it_and_not_for_looks_before_it(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api, clock = FakeApi(), kit.Clock(100.0)
        inbox = await opened(api, clock=clock)
        await inbox.put([(CHURN, "a1")])
        assert not inbox.done(CHURN, 99.0)
        assert not inbox.done(CHURN, 100.0)
        clock.now = 110.0
        assert await inbox.put([(CHURN, "a1")]) == (0, 1)  # it came again: an older look is not enough any more
        assert not inbox.done(CHURN, 105.0)
        assert inbox.pending() == {CHURN}
        assert inbox.done(CHURN, 110.5)
        assert inbox.pending() == set()
        await inbox.close()
        assert kit.stored(api) == {}

    asyncio.run(run())


def test_any_look_settles_a_hint_from_before_the_start() -> None:
    async def run() -> None:
        api = FakeApi()
        await (await opened(api)).put([(CHURN, "a1")])
        inbox = await opened(api)
        assert not inbox.done(CHURN, float("-inf"))  # Alertmanager has not answered yet
        assert inbox.done(CHURN, 0.0)
        assert inbox.done(CHURN, 0.0)
        assert inbox.done(FRAUD)

    asyncio.run(run())


def test_a_removal_that_could_not_be_written_is_written_with_the_next_hint(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        await inbox.put([(CHURN, "a1")])
        api.fail_next("patch", Unavailable("away"))
        inbox.done(CHURN)
        await inbox.close()
        assert (inbox.pending(), list(kit.stored(api))) == (set(), ["team.churn"])
        await inbox.put([(FRAUD, "a1")])
        assert list(kit.stored(api)) == ["team.fraud"]

    asyncio.run(run())


def test_a_hint_that_comes_right_after_the_look_stays(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        await inbox.put([(CHURN, "a1")])
        inbox.done(CHURN)
        assert await inbox.put([(CHURN, "a1")]) == (1, 0)
        assert inbox.pending() == {CHURN}
        assert list(kit.stored(api)) == ["team.churn"]

    asyncio.run(run())


def test_a_config_map_that_somebody_deleted_is_made_again_with_all_hints(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        await inbox.put([(CHURN, "a1")])
        api.remove(CONFIG_MAP, SYSTEM, NAME)
        await inbox.put([(FRAUD, "a1")])
        assert sorted(kit.stored(api)) == ["team.churn", "team.fraud"]

    asyncio.run(run())


def test_a_config_map_that_somebody_else_made_meanwhile_is_used(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox = await opened(api)
        await api.create(CONFIG_MAP, SYSTEM, config_map())
        api.fail_next("patch", NotFound("not yet"))
        assert await inbox.put([(CHURN, "a1")]) == (1, 0)
        assert list(kit.stored(api)) == ["team.churn"]

    asyncio.run(run())


BROKEN = {
    "no-dot": '{"received": 1}',
    "team..churn": '{"received": 1}',
    "team.UPPER": '{"received": 1}',
    "team.a": "",
    "team.b": "{",
    "team.c": "[]",
    "team.d": '{"received": "yesterday"}',
    "team.e": "[" * 100_000,
}


def test_entries_that_cannot_be_read_are_dropped(kit: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        api = FakeApi()
        await api.create(CONFIG_MAP, SYSTEM, config_map(**BROKEN, **{"team.churn": '{"received": 1, "later": true}'}))
        assert (await opened(api, now=kit.Clock(2.0))).pending() == {CHURN}

    asyncio.run(run())
    assert caplog.text.count("event=inbox_entry_dropped") == len(BROKEN)


def test_a_hint_is_dropped_when_it_is_older_than_its_lifetime(kit: SimpleNamespace) -> None:
    async def run() -> None:
        api, now = FakeApi(), kit.Clock(0.0)
        inbox = await opened(api, now=now)
        await inbox.put([(CHURN, "a1")])
        now.now = LIFETIME
        await inbox.put([(FRAUD, "a1")])
        assert inbox.pending() == {CHURN, FRAUD}
        now.now = LIFETIME + 1
        assert (await opened(api, now=now)).pending() == {FRAUD}
        await inbox.put([(FRAUD, "b2")])
        assert list(kit.stored(api)) == ["team.fraud"]

    asyncio.run(run())


def test_a_start_without_the_api_server_says_so() -> None:
    async def run() -> None:
        api = FakeApi()
        api.fail_next("get", Unavailable("away"))
        with pytest.raises(Unavailable, match="away"):
            await opened(api)

    asyncio.run(run())


KEYS = st.sampled_from([("a", "m"), ("a", "n"), ("b", "m")])
STEPS = st.one_of(
    st.tuples(st.just("put"), st.lists(st.tuples(KEYS, st.sampled_from("ab")), min_size=1, max_size=3)),
    st.tuples(st.just("done"), KEYS),
    st.tuples(st.just("fail"), st.booleans()),
    st.tuples(st.just("kill"), st.none()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=12))
def test_whatever_happens_what_was_accepted_and_not_done_is_there_after_a_kill(
    at_once: None, kit: SimpleNamespace, steps: list[tuple[str, Any]]
) -> None:
    async def run() -> None:
        api = FakeApi()
        inbox, accepted = await opened(api), set[Key]()
        for what, given_ in steps:
            match what:
                case "put":
                    try:
                        await inbox.put(given_)
                    except SeamarkError:
                        continue
                    accepted |= {key for key, _ in given_}
                case "done":
                    inbox.done(given_)
                    accepted.discard(given_)
                case "fail":
                    api.fail_next("patch", Unavailable("away"), late=given_)
                case "kill":
                    await killed()
                    inbox = await opened(api)
            assert accepted <= inbox.pending()
        await killed()
        assert accepted <= (await opened(api)).pending()

    asyncio.run(run())


async def killed() -> None:
    """Whatever a process was about to write is lost with it."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_entries_are_plain_json_for_people(kit: SimpleNamespace) -> None:
    async def run() -> str:
        api = FakeApi()
        await (await opened(api, now=kit.Clock(1.5))).put([(CHURN, "a1")])
        (document,) = api.all(CONFIG_MAP)
        assert document["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "seamark"}
        return str(document["data"]["team.churn"])

    assert json.loads(asyncio.run(run())) == {"received": 1.5, "fingerprints": ["a1"]}
