"""A route counts only when the gateway's controller has accepted it and a request through the gateway shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from seamark.errors import NotFound
from seamark.state import Route
from seamark_kubernetes import routes
from seamark_kubernetes.api import Kind, Owner
from seamark_kubernetes.confirm import PROBES, Confirmer, accepted
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


def _document(generation: int = 3, observed: int = 3, status: str = "True") -> dict[str, Any]:
    document = routes.http_route(SETTINGS, OWNER, Route({"churn-aaaaaaaa": 100}))
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


def _with_gateway(
    shown: Callable[[], str],
    check: Callable[[Confirmer, list[str]], Awaitable[None]],
    served: Callable[[], int] = lambda: 404,
) -> None:
    """Runs `check` with a gateway that shows the fingerprint `shown()` and answers `served()`; the list has the hosts
    whose fingerprint it was asked for.
    """

    async def run() -> None:
        hosts: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            hosts.append(request.headers["host"])
            mark = shown()
            if not mark:
                return web.Response(status=404)
            return web.Response(status=302, headers={"location": f"http://{request.host}/seamark/route/{mark}"})

        app = web.Application()

        async def serve(_: web.Request) -> web.Response:
            return web.Response(status=served())

        app.router.add_get("/seamark/route", answer)
        app.router.add_get("/", serve)
        async with TestServer(app) as server:
            gateway = {
                "spec": {"listeners": [{"protocol": "HTTPS", "port": 443}, {"protocol": "HTTP", "port": server.port}]},
                "status": {"addresses": [{"value": "127.0.0.1"}]},
            }
            confirmer = Confirmer(SETTINGS, _Api(gateway))  # type: ignore[arg-type]  # it only gets the gateway
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


def test_a_first_route_must_bring_an_answer_and_later_ones_need_not() -> None:
    """A rollback is confirmed although the champion is down for the moment."""
    first, then = _document(), _document()
    then["spec"]["rules"][0]["filters"][0]["requestRedirect"]["path"]["replaceFullPath"] = "/seamark/route/0123456789ab"
    marks = [routes.fingerprint(first)]
    statuses = [503]

    async def check(confirmer: Confirmer, hosts: list[str]) -> None:
        assert not await confirmer.confirmed(OWNER, first)
        assert confirmer.problem(OWNER).endswith("has the route, but nobody answers there yet")
        statuses[0] = 404
        assert await confirmer.confirmed(OWNER, first)
        statuses[0], marks[0] = 503, "0123456789ab"
        assert await confirmer.confirmed(OWNER, then)
        confirmer.forget(Owner(OWNER.namespace, OWNER.name, uid=""))
        assert not await confirmer.confirmed(OWNER, then)

    _with_gateway(lambda: marks[0], check, lambda: statuses[0])


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
