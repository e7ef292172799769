"""The alert webhook over real HTTP: nothing is acknowledged that is not stored, nothing bad is asked for twice."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from seamark.errors import Unavailable
from seamark_kubernetes import webhook
from seamark_kubernetes.inbox import MAX_ENTRIES
from seamark_kubernetes.testing import FakeApi
from seamark_kubernetes.webhook import MAX_BODY

Play = Callable[[Callable[[Any, FakeApi], Awaitable[None]]], None]


@pytest.fixture
def play(kit: SimpleNamespace, token_file: Path) -> Play:
    """Runs a scene with an operator and its API."""

    def run(scene: Callable[[Any, FakeApi], Awaitable[None]]) -> None:
        async def whole() -> None:
            api = FakeApi()
            async with kit.operator(api, token_file) as operator:
                await scene(operator, api)

        asyncio.run(whole())

    return run


def test_an_alert_is_stored_answered_and_makes_the_operator_look(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        sent = kit.notification(kit.alert(1), kit.alert(2, kind="concept", feature=None))
        assert await operator.post(sent) == (200, {"stored": 2, "duplicate": 0, "quarantined": 0})
        assert operator.woken == [("team", "churn")]
        assert list(kit.stored(api)) == ["team.churn"]
        assert operator.counted("stored") == 2

    play(scene)


def test_a_thousand_concurrent_posts_of_the_same_are_one_hint_and_999_duplicates(
    play: Play, kit: SimpleNamespace
) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        sent = json.dumps(kit.notification(kit.alert())).encode()
        answers = await asyncio.gather(*(operator.post(sent) for _ in range(1000)))
        assert {status for status, _ in answers} == {200}
        assert sum(answer["stored"] for _, answer in answers) == 1
        assert (operator.counted("stored"), operator.counted("duplicate")) == (1, 999)
        assert kit.stored(api)["team.churn"]["fingerprints"] == [f"{1:016x}"]
        assert api.calls["patch"] + api.calls["create"] == 2
        assert set(operator.woken) == {("team", "churn")}

    play(scene)


def test_a_notification_replayed_a_month_later_is_a_hint_and_nothing_more(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        recorded = json.dumps(kit.notification(kit.alert())).encode()
        await operator.post(recorded)
        operator.inbox.done(("team", "churn"))
        assert await operator.post(recorded) == (200, {"stored": 1, "duplicate": 0, "quarantined": 0})
        # What it is worth is what Alertmanager says at the look; after that it is gone again.
        operator.inbox.done(("team", "churn"))
        await operator.inbox.close()
        assert kit.stored(api) == {}

    play(scene)


def test_an_outage_of_the_api_server_loses_nothing(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        sent = kit.notification(kit.alert())
        api.fail_next("patch", Unavailable("Cannot patch configmap: connection refused"), times=3)
        for _ in range(3):
            status, answer = await operator.post(sent)
            assert status == 503
            assert operator.headers["Retry-After"] == "1"
            assert answer == {"error": "Cannot store alerts: Cannot patch configmap: connection refused"}
            assert (operator.woken, operator.inbox.pending()) == ([], set())
        assert await operator.post(sent) == (200, {"stored": 1, "duplicate": 0, "quarantined": 0})
        assert (operator.counted("unstored"), operator.counted("stored")) == (3, 1)
        assert operator.woken == [("team", "churn")]

    play(scene)


def test_nothing_is_acknowledged_while_the_inbox_cannot_be_written(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        api.fail_next("patch", Unavailable("no space left on device"), times=20)
        answers = await asyncio.gather(
            *(operator.post(kit.notification(kit.alert(n), kit.alert(n))) for n in range(20))
        )
        assert {status for status, _ in answers} == {503}
        assert kit.stored(api) == {}
        assert operator.counted("unstored") == 40
        assert operator.counted("stored") + operator.counted("duplicate") == 0

    play(scene)


def test_an_answer_comes_within_a_second_though_the_api_server_hangs(kit: SimpleNamespace, token_file: Path) -> None:
    class Hanging(FakeApi):
        async def patch(self, *arguments: Any, **options: Any) -> Any:
            await released.wait()
            return await super().patch(*arguments, **options)

    released = asyncio.Event()

    async def run() -> None:
        async with kit.operator(Hanging(), token_file) as operator:
            async with asyncio.timeout(1.5):  # a second, and some for a busy machine
                status, _ = await operator.post(kit.notification(kit.alert()))
            assert status == 503
            released.set()

    asyncio.run(run())


def test_a_full_inbox_sends_alerts_away_to_come_again(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        await operator.inbox.put([(("other", f"m{number}"), "a1") for number in range(MAX_ENTRIES)])
        status, answer = await operator.post(kit.notification(kit.alert()))
        assert (status, answer["error"]) == (503, "Cannot store alerts: 1000 deployments wait; at most 1000 may")

    play(scene)


def test_before_the_deployments_are_known_alerts_are_sent_away_to_come_again(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        operator.known, operator.unready = set(), "Cannot decide yet: ModelDeployments are being read"
        assert await operator.post(kit.notification(kit.alert())) == (503, {"error": operator.unready})
        operator.known, operator.unready = {("team", "churn")}, ""
        assert (await operator.post(kit.notification(kit.alert())))[0] == 200

    play(scene)


def test_alerts_that_alertmanager_left_out_are_counted(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        sent = kit.notification(kit.alert(), truncatedAlerts=3)
        assert await operator.post(sent) == (200, {"stored": 1, "duplicate": 0, "quarantined": 0})
        await operator.post(kit.notification(kit.alert(), truncatedAlerts=-3))
        assert operator.counted("truncated") == 3

    play(scene)


def test_alerts_of_fifty_models_at_once_wake_them_all(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        names = [f"model-{number}" for number in range(50)]
        operator.known = {("team", name) for name in names}
        posts = (operator.post(kit.notification(kit.alert(n, deployment=name))) for n, name in enumerate(names))
        assert {status for status, _ in await asyncio.gather(*posts)} == {200}
        assert operator.inbox.pending() == set(operator.woken) == operator.known

    play(scene)


def test_a_moved_start_is_the_same_alert(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        await operator.post(kit.notification(kit.alert()))
        moved = kit.alert() | {"startsAt": "2026-11-21T05:00:00Z"}
        assert await operator.post(kit.notification(moved)) == (200, {"stored": 0, "duplicate": 1, "quarantined": 0})

    play(scene)


def test_that_drift_is_over_is_a_hint_too(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        sent = kit.notification(kit.alert() | {"status": "resolved"}, status="resolved")
        assert await operator.post(sent) == (200, {"stored": 1, "duplicate": 0, "quarantined": 0})

    play(scene)


def test_fields_of_a_later_alertmanager_are_accepted(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        sent = kit.notification(kit.alert() | {"new": [1, {"x": None}]}, notification_reason="first", route={"id": 7})
        assert (await operator.post(sent))[1] == {"stored": 1, "duplicate": 0, "quarantined": 0}

    play(scene)


UNREADABLE = {
    "nothing": b"",
    "no JSON": b"alerts",
    "JSON cut off": b'{"version": "4", "alerts": [',
    "a list": b"[]",
    "invalid UTF-8": b'{"version": "4", "receiver": "\xff", "alerts": []}',
    "NaN": b'{"version": "4", "alerts": [], "truncatedAlerts": NaN}',
    "nested too deep": b'{"version": "4", "alerts": ' + b"[" * 200_000,
    "no version": b'{"alerts": []}',
    "version as a number": b'{"version": 4, "alerts": []}',
    "another version": b'{"version": "5", "alerts": []}',
    "no alerts": b'{"version": "4"}',
    "alerts as a map": b'{"version": "4", "alerts": {}}',
    "packed": gzip.compress(b'{"version": "4", "alerts": []}'),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_set_aside_and_not_asked_for_again(
    play: Play, kit: SimpleNamespace, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        packed = {"Content-Encoding": "gzip"} if body.startswith(b"\x1f") else {}
        answer = await operator.post(body, headers=packed)
        assert answer == (200, {"stored": 0, "duplicate": 0, "quarantined": 1})
        assert operator.counted("quarantined") == 1
        assert (operator.woken, kit.stored(api)) == ([], {})

    with caplog.at_level(logging.WARNING, "seamark.operator"):
        play(scene)
    (record,) = caplog.records
    assert "event=alerts_quarantined count=1" in record.getMessage()
    assert len(record.getMessage()) < 2000
    assert "\n" not in record.getMessage()


USELESS: dict[str, Any] = {
    "no namespace": {"namespace": None},
    "no deployment": {"deployment": None},
    "no kind": {"kind": None},
    "empty kind": {"kind": ""},
    "unknown deployment": {"deployment": "nobody"},
    "unknown namespace": {"namespace": "elsewhere"},
    "a name that could not be stored": {"deployment": "churn/../x\n" * 20},
    "another alert": {"alertname": "Watchdog"},
    "no alert name": {"alertname": None},
}


@pytest.mark.parametrize("labels", USELESS.values(), ids=USELESS.keys())
def test_an_alert_that_cannot_be_used_spoils_no_other(play: Play, kit: SimpleNamespace, labels: dict[str, Any]) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        sent = kit.notification(kit.alert(1, **labels), kit.alert(2))
        assert await operator.post(sent) == (200, {"stored": 1, "duplicate": 0, "quarantined": 1})
        assert (operator.counted("stored"), operator.counted("quarantined")) == (1, 1)
        assert operator.woken == [("team", "churn")]

    play(scene)


@pytest.mark.parametrize(
    "bad", [1, None, "x", {}, {"labels": []}, {"labels": {"kind": 3}}, {"labels": {}, "fingerprint": 1}]
)
def test_an_alert_of_another_shape_spoils_no_other(play: Play, kit: SimpleNamespace, bad: Any) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        assert (await operator.post(kit.notification(bad, kit.alert())))[1] == {
            "stored": 1,
            "duplicate": 0,
            "quarantined": 1,
        }

    play(scene)


def test_alerts_set_aside_are_not_counted_again_when_the_others_could_not_be_stored(
    play: Play, kit: SimpleNamespace
) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        api.fail_next("patch", Unavailable("away"))
        sent = kit.notification(kit.alert(1, kind=None), kit.alert(2))
        assert (await operator.post(sent))[0] == 503
        assert (await operator.post(sent))[0] == 200
        assert (operator.counted("quarantined"), operator.counted("unstored")) == (1, 1)

    play(scene)


def padded(kit: SimpleNamespace, size: int) -> bytes:
    """A good notification of so many bytes."""
    text = json.dumps(kit.notification(kit.alert()))
    return (text + " " * (size - len(text))).encode()


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """Sent without saying how long it is."""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "status"), [(MAX_BODY, 200), (MAX_BODY + 1, 413), (10 * MAX_BODY, 413)])
def test_a_notification_may_be_one_mebibyte_long(
    play: Play, kit: SimpleNamespace, size: int, status: int, chunked: bool
) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        body = padded(kit, size)
        headers = {"Authorization": f"Bearer {kit.token}"}
        try:
            data = chunks(body) if chunked else io.BytesIO(body)
            async with operator.client.post(f"{operator.address}/v1/alerts", data=data, headers=headers) as answer:
                assert answer.status == status
        except aiohttp.ClientConnectionError:
            # The server answered and hung up while the body was still being sent.
            assert status == 413
        assert operator.counted("refused") == (status == 413)
        assert bool(operator.woken) == (status == 200)

    play(scene)


def test_a_label_of_ten_megabytes_is_refused(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        headers = {"Authorization": f"Bearer {kit.token}", "Content-Length": str(10 * 2**20), "Expect": "100-continue"}
        async with operator.client.post(f"{operator.address}/v1/alerts", headers=headers) as answer:
            assert answer.status == 413

    play(scene)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic correct-horse", "correct-horse", "Bearer correct-horse x",
     "Bearer Correct-horse", "Bearer correct-horsé", "Bearer " + "x" * 5000],
)  # fmt: skip
def test_a_wrong_token_is_refused_before_anything_is_read(play: Play, kit: SimpleNamespace, header: str | None) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        headers = {} if header is None else {"Authorization": header}
        status, answer = await operator.post(kit.notification(kit.alert()), None, headers=headers)
        assert (status, answer) == (401, {"error": "Cannot take alerts: the bearer token is missing or wrong"})
        assert operator.headers["WWW-Authenticate"] == "Bearer"
        assert (operator.counted("refused"), operator.woken) == (1, [])

    play(scene)


def test_the_scheme_is_read_in_any_case(play: Play, kit: SimpleNamespace) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        headers = {"Authorization": f"bearer  {kit.token} "}
        assert (await operator.post(kit.notification(kit.alert()), None, headers=headers))[0] == 200

    play(scene)


def test_without_a_token_file_everybody_is_refused(kit: SimpleNamespace) -> None:
    async def run() -> None:
        async with kit.operator(FakeApi(), None) as operator:
            for token in (None, "", kit.token):
                status, answer = await operator.post(kit.notification(kit.alert()), token)
                assert status == 403
                assert answer == {"error": "Cannot take alerts: the operator was started without a token for them"}

    asyncio.run(run())


def test_a_changed_token_counts_at_once(play: Play, kit: SimpleNamespace, token_file: Path) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        assert (await operator.post(kit.notification(kit.alert())))[0] == 200
        kit.change(token_file, b"battery-staple")
        assert (await operator.post(kit.notification(kit.alert())))[0] == 401
        assert (await operator.post(kit.notification(kit.alert()), "battery-staple"))[0] == 200

    play(scene)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff", b"two\nlines", b"x" * 5000])
def test_a_token_file_that_cannot_be_used_is_trouble_that_passes(
    play: Play, kit: SimpleNamespace, token_file: Path, content: bytes | None
) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        kit.change(token_file, content)
        status, answer = await operator.post(kit.notification(kit.alert()), "")
        assert status == 503
        assert str(token_file) in answer["error"]
        assert operator.counted("unstored") == 1

    play(scene)


def test_a_body_that_never_ends_is_given_up(play: Play, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        monkeypatch.setattr(webhook, "READ_SECONDS", 0.1)

        async def trickle() -> AsyncIterator[bytes]:
            yield b'{"version": '
            await asyncio.sleep(60)

        headers = {"Authorization": f"Bearer {kit.token}"}
        async with operator.client.post(f"{operator.address}/v1/alerts", data=trickle(), headers=headers) as answer:
            assert answer.status == 503
            assert await answer.json() == {"error": "Cannot read alerts: took longer than 0.1 s"}

    play(scene)


def test_senders_that_hang_up_keep_no_other_out(
    play: Play, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(operator: Any, api: FakeApi) -> None:
        host, port = operator.address.removeprefix("http://").split(":")
        head = f"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {kit.token}\r\nContent-Length: 9\r\n\r\n"
        hanging = [await asyncio.open_connection(host, int(port)) for _ in range(webhook.MAX_READING)]
        for _, writer in hanging:
            writer.write(head.encode())
        # Those that hang up instead free their place at once.
        for _, writer in hanging:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(5):
            assert (await operator.post(kit.notification(kit.alert())))[0] == 200

    play(scene)


def test_hints_of_before_a_kill_are_known_after_it(kit: SimpleNamespace, token_file: Path) -> None:
    async def run() -> None:
        api = FakeApi()
        async with kit.operator(api, token_file) as operator:
            await operator.post(kit.notification(kit.alert()))
        async with kit.operator(api, token_file) as operator:
            assert operator.inbox.pending() == {("team", "churn")}
            assert (await operator.post(kit.notification(kit.alert())))[1]["duplicate"] == 1

    asyncio.run(run())
