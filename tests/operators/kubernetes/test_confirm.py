"""A route counts only when the gateway's controller has accepted it and a request through the gateway shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from seamark.errors import NotFound
from seamark.state import Route
from seamark_kubernetes import confirm, routes
from seamark_kubernetes.api import Kind, Owner
from seamark_kubernetes.confirm import PATIENCE, PROBES, Confirmer, accepted
from seamark_kubernetes.settings import Images, Settings

OWNER = Owner("shop", "churn", "uid-1")
GATEWAY = ("kserve", "kserve-ingress-gateway")
SETTINGS = Settings(images=Images("p", "m", "t"))


class _Api:
    """Knows one Gateway."""

    def __init__(self, gateway: dict[str, Any] | None) -> None:
        self.gateway = gateway

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        if self.gateway is None:
            raise NotFound(f"Cannot get {kind.plural} {namespace}/{name}")
        return self.gateway


CHAMPION = Route({"churn-aaaaaaaa": 100})


def _document(generation: int = 3, observed: int = 3, status: str = "True", route: Route = CHAMPION) -> dict[str, Any]:
    document = routes.http_route(SETTINGS, OWNER, route, has_sticky_rule=True)
    document["metadata"]["generation"] = generation
    conditions = [
        {"type": kind, "status": status, "observedGeneration": observed, "message": "no such Service"}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    parent = {"parentRef": {"namespace": GATEWAY[0], "name": GATEWAY[1]}, "conditions": conditions}
    document["status"] = {"parents": [parent]}
    return document


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (_document(), ""),
        (_document(observed=2), "the gateway has not looked at the route yet"),
        (_document(status="False"), "the gateway refuses the route: no such Service"),
        ({"metadata": {"generation": 1}}, "the gateway kserve/kserve-ingress-gateway says nothing about the route"),
    ],
    ids=["accepted", "an older generation", "refused", "no status"],
)
def test_the_controller_accepts_this_very_generation(document: dict[str, Any], problem: str) -> None:
    assert accepted(document, GATEWAY) == problem


#: What a model server says of a page that it does not have, and what a gateway says without a way to a server.
SERVER = (404, "no such page")
OWN = [(500, ""), (503, "")]


class _Answers:
    """What the gateway answers: users by their headers, and everybody else. now: the confirmer's clock."""

    def __init__(self, mark: str = "") -> None:
        self.mark = mark
        self.everybody = SERVER
        self.testers: tuple[int, str] | None = None
        self.silent = False
        self.users: list[dict[str, str]] = []
        self.now = 1000.0

    def serve(self, headers: Mapping[str, str]) -> tuple[int, str]:
        self.users.append({name.lower(): value for name, value in headers.items()})
        is_tester = self.testers is not None and "x-tester" in headers
        return self.testers if is_tester and self.testers else self.everybody


def _with_gateway(
    shown: Callable[[], str],
    check: Callable[[Confirmer, list[str]], Awaitable[None]],
    answers: _Answers | None = None,
) -> None:
    """Runs `check` with a gateway that shows the fingerprint `shown()` and answers as `answers` says; the list has the
    hosts whose fingerprint it was asked for.
    """
    served = answers or _Answers()

    async def run() -> None:
        hosts: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            hosts.append(request.headers["host"])
            mark = shown()
            if not mark:
                return web.Response(status=404)
            return web.Response(status=302, headers={"location": f"http://{request.host}/seamark/route/{mark}"})

        app = web.Application()

        async def serve(request: web.Request) -> web.Response:
            if served.silent:
                await asyncio.sleep(10)
            status, text = served.serve(request.headers)
            return web.Response(status=status, text=text)

        app.router.add_get("/seamark/route", answer)
        app.router.add_get("/", serve)
        async with TestServer(app) as server:
            gateway = {
                "spec": {"listeners": [{"protocol": "HTTPS", "port": 443}, {"protocol": "HTTP", "port": server.port}]},
                "status": {"addresses": [{"value": "127.0.0.1"}]},
            }
            api: Any = _Api(gateway)  # it is only asked for the gateway
            confirmer = Confirmer(SETTINGS, api, clock=lambda: served.now)
            try:
                await check(confirmer, hosts)
            finally:
                await confirmer.close()

    asyncio.run(run())


def test_traffic_confirms_what_the_controller_accepted_and_is_asked_once() -> None:
    document = _document()

    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        assert await confirmer.confirmed(OWNER, document)
        assert await confirmer.confirmed(OWNER, document)
        assert hosts == ["churn-shop.example.com"] * PROBES
        assert confirmer.problem(OWNER) == ""
        assert not await confirmer.confirmed(OWNER, _document(observed=2))
        assert await confirmer.confirmed(OWNER, document)
        assert len(hosts) == 2 * PROBES

    _with_gateway(lambda: routes.fingerprint(document), check)


@pytest.mark.parametrize(("mark", "said"), [("0123456789ab", "it shows 0123456789ab"), ("", "it shows none")])
def test_a_gateway_that_shows_another_route_confirms_nothing(mark: str, said: str) -> None:
    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        assert not await confirmer.confirmed(OWNER, _document())
        assert said in confirmer.problem(OWNER)
        assert len(hosts) == 1

    _with_gateway(lambda: mark, check)


def test_one_of_several_replicas_that_lags_confirms_nothing() -> None:
    document = _document()
    marks = iter([routes.fingerprint(document), "0123456789ab"])

    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        assert not await confirmer.confirmed(OWNER, document)
        assert len(hosts) == 2

    _with_gateway(lambda: next(marks), check)


def _moved(mark: str) -> dict[str, Any]:
    """A later route, which shows `mark`."""
    document = _document()
    document["spec"]["rules"][0]["filters"][0]["requestRedirect"]["path"]["replaceFullPath"] = f"/seamark/route/{mark}"
    return document


@pytest.mark.parametrize("answer", [*OWN, (503, "no healthy upstream")])
def test_a_first_route_counts_only_with_an_answer_however_long_that_takes(answer: tuple[int, str]) -> None:
    document = _document()
    answers = _Answers(routes.fingerprint(document))
    answers.everybody = answer

    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        for _ in range(3):
            assert not await confirmer.confirmed(OWNER, document)
            assert confirmer.problem(OWNER).endswith(f"has the route, but answers {answer[0]} itself")
            answers.now += PATIENCE
        answers.everybody = SERVER
        assert await confirmer.confirmed(OWNER, document)
        answers.everybody = answer
        again = Owner(OWNER.namespace, OWNER.name, uid="uid-2")
        confirmer.forget(again)
        assert not await confirmer.confirmed(again, document)

    _with_gateway(lambda: answers.mark, check, answers)


def _then(answer: tuple[int, str], check: Callable[[Confirmer, _Answers], Awaitable[None]]) -> None:
    """Runs `check` when a first route has brought an answer, and a second one, of another mark, brings `answer`."""
    first = _document()
    answers = _Answers(routes.fingerprint(first))

    async def run(confirmer: Confirmer, hosts: list[str]) -> None:
        assert await confirmer.confirmed(OWNER, first)
        answers.mark, answers.everybody = "2" * 12, answer
        await check(confirmer, answers)

    _with_gateway(lambda: answers.mark, run, answers)


@pytest.mark.parametrize("answer", OWN)
def test_a_later_route_that_the_gateway_answers_itself_waits_for_a_while(answer: tuple[int, str]) -> None:
    """For a while only: a return to the champion is confirmed although it is down for the moment."""

    async def check(confirmer: Confirmer, answers: _Answers) -> None:
        assert not await confirmer.confirmed(OWNER, _moved(answers.mark))
        answers.now += PATIENCE - 0.1
        assert not await confirmer.confirmed(OWNER, _moved(answers.mark))
        assert confirmer.problem(OWNER).endswith(f"has the route, but answers {answer[0]} itself")
        answers.now += 0.2
        assert await confirmer.confirmed(OWNER, _moved(answers.mark))
        assert confirmer.problem(OWNER) == ""

    _then(answer, check)


def test_another_route_is_waited_for_anew(caplog: pytest.LogCaptureFixture) -> None:
    async def check(confirmer: Confirmer, answers: _Answers) -> None:
        assert not await confirmer.confirmed(OWNER, _moved(answers.mark))
        answers.now += PATIENCE
        answers.mark = "3" * 12
        assert not await confirmer.confirmed(OWNER, _moved(answers.mark))
        assert "route_unanswered" not in caplog.text
        answers.now += PATIENCE
        assert await confirmer.confirmed(OWNER, _moved(answers.mark))
        assert "event=route_unanswered deployment=shop/churn" in caplog.text

    _then((500, ""), check)


def test_an_answer_ends_the_waiting() -> None:
    async def check(confirmer: Confirmer, answers: _Answers) -> None:
        assert not await confirmer.confirmed(OWNER, _moved(answers.mark))
        answers.everybody = SERVER
        assert await confirmer.confirmed(OWNER, _moved(answers.mark))

    _then((500, ""), check)


@pytest.mark.parametrize("answer", [(503, "no healthy upstream"), (500, "cannot compute"), (200, ""), (404, "")])
def test_what_a_server_says_after_a_first_route_is_for_the_gates_to_judge(answer: tuple[int, str]) -> None:
    async def check(confirmer: Confirmer, answers: _Answers) -> None:
        assert await confirmer.confirmed(OWNER, _moved(answers.mark))

    _then(answer, check)


def test_a_server_that_says_nothing_holds_a_first_route_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "TIMEOUT", aiohttp.ClientTimeout(total=0.3))
    first = _document()
    answers = _Answers(routes.fingerprint(first))

    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        answers.silent = True
        assert not await confirmer.confirmed(OWNER, first)
        assert "TimeoutError" in confirmer.problem(OWNER)
        answers.silent = False
        assert await confirmer.confirmed(OWNER, first)
        answers.silent, answers.mark = True, "2" * 12
        assert await confirmer.confirmed(OWNER, _moved(answers.mark))

    _with_gateway(lambda: answers.mark, check, answers)


@pytest.mark.parametrize("answer", OWN)
def test_testers_must_have_an_answer_too(answer: tuple[int, str]) -> None:
    route = replace(CHAMPION, match=(("x-tester", "yes"),), match_to="churn-bbbbbbbb", fallback="churn-aaaaaaaa")
    document = _document(route=route)
    answers = _Answers(routes.fingerprint(document))
    answers.testers = answer

    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        assert not await confirmer.confirmed(OWNER, document)
        answers.testers = SERVER
        assert await confirmer.confirmed(OWNER, document)

    _with_gateway(lambda: answers.mark, check, answers)


def test_users_who_stay_on_one_side_are_asked_for_on_both() -> None:
    weights = {"churn-aaaaaaaa": 50, "churn-bbbbbbbb": 50}
    document = _document(route=Route(weights, fallback="churn-aaaaaaaa", sticky="x-user-id"))
    answers = _Answers(routes.fingerprint(document))

    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        assert await confirmer.confirmed(OWNER, document)
        assert len({user["x-user-id"] for user in answers.users}) == len(routes.probes(document))

    _with_gateway(lambda: answers.mark, check, answers)


def test_what_stands_against_asking_is_said() -> None:
    async def ask(gateway: dict[str, Any] | None, settings: Settings = SETTINGS) -> str:
        confirmer = Confirmer(settings, _Api(gateway))  # type: ignore[arg-type]  # it only gets the gateway
        assert not await confirmer.confirmed(OWNER, _document())
        await confirmer.close()
        return confirmer.problem(OWNER)

    listener = [{"protocol": "HTTP", "port": 80}]
    assert "no address in its status" in asyncio.run(ask({"spec": {"listeners": listener}}))
    status = {"addresses": [{"value": "127.0.0.1"}]}
    assert "--confirm-url" in asyncio.run(ask({"spec": {"listeners": []}, "status": status}))
    assert "Cannot get gateways" in asyncio.run(ask(None))
    nobody = replace(SETTINGS, confirm="http://127.0.0.1:1")
    assert "Cannot ask the gateway at http://127.0.0.1:1" in asyncio.run(ask(None, nobody))
