"""kopf against an API server of plain HTTP: it tells of ModelDeployments, and writes nothing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from seamark_kubernetes import handlers
from seamark_kubernetes.api import MODEL_DEPLOYMENT

MANIFEST = {"metadata": {"name": "m"}, "spec": {"model": {"uri": "pvc://claim/path"}}}
PATH = "/apis/seamark.dev/v1alpha1"


class Told:
    def __init__(self) -> None:
        self.all: list[tuple[str, str, str]] = []
        self.threads: set[int] = set()

    def put(self, document) -> None:
        self._add("put", (document["metadata"]["namespace"], document["metadata"]["name"]))

    def drop(self, key) -> None:
        self._add("drop", key)

    def _add(self, what, key) -> None:
        self.all.append((what, *key))
        self.threads.add(threading.get_ident())


def during(work, watch=()):
    """Runs kopf while `work(told)` runs."""
    told = Told()

    async def both():
        kopf = asyncio.create_task(handlers.run(watch, told.put, told.drop))
        try:
            await work(told)
        finally:
            kopf.cancel()
            await asyncio.gather(kopf, return_exceptions=True)

    asyncio.run(both())
    return told


@pytest.mark.parametrize("watch", [(), ("shop",)])
def test_it_tells_of_what_is_there_what_changes_and_what_is_deleted_and_writes_nothing(api_server, eventually, watch):
    server, api = api_server.server, api_server.server.api
    api_server.do(api.create(MODEL_DEPLOYMENT, "shop", MANIFEST))

    async def work(told):
        await eventually(lambda: told.all == [("put", "shop", "m")])
        await eventually(lambda: api.calls["watch"])
        api_server.call(api.edit, MODEL_DEPLOYMENT, "shop", "m", lambda found: found.update(spec={}))
        await eventually(lambda: len(told.all) == 2)
        api_server.call(api.remove, MODEL_DEPLOYMENT, "shop", "m")
        await eventually(lambda: len(told.all) == 3)

    told = during(work, watch)
    assert told.all == [("put", "shop", "m"), ("put", "shop", "m"), ("drop", "shop", "m")]
    assert told.threads == {threading.get_ident()}
    assert {method for method, _ in server.requests} == {"GET"}
    # No right to list namespaces or definitions is needed.
    assert not [path for _, path in server.requests if path.endswith(("/namespaces", "/customresourcedefinitions"))]


def test_in_namespaces_it_asks_for_these_only(api_server, eventually):
    server, api = api_server.server, api_server.server.api

    async def work(told):
        await eventually(lambda: api.calls["watch"] == 2)

    during(work, ("shop", "bank"))
    assert {path for _, path in server.requests if path.endswith("/modeldeployments")} == {
        f"{PATH}/namespaces/shop/modeldeployments",
        f"{PATH}/namespaces/bank/modeldeployments",
    }


def test_when_its_token_is_refused_it_reads_the_file_again(api_server, eventually):
    server, api = api_server.server, api_server.server.api

    async def work(told):
        await eventually(lambda: api.calls["watch"])
        api_server.token_file.write_text("second")
        server.refused = "first"
        api_server.call(api.end_watches)
        await eventually(lambda: api.calls["watch"] == 2)
        api_server.do(api.create(MODEL_DEPLOYMENT, "shop", MANIFEST))
        await eventually(lambda: told.all == [("put", "shop", "m")])

    during(work)
    assert server.tokens == {"first", "second"}


def test_when_it_finds_no_credentials_it_looks_again_soon(api_server, eventually, monkeypatch, caplog):
    monkeypatch.setattr(handlers, "LOGIN_AGAIN", 0.1)
    api = api_server.server.api
    kubeconfig = api_server.kubeconfig.read_text()
    api_server.kubeconfig.write_text("{}")

    async def work(told):
        await eventually(lambda: "Cannot connect to Kubernetes" in caplog.text)
        api_server.kubeconfig.write_text(kubeconfig)
        api_server.do(api.create(MODEL_DEPLOYMENT, "shop", MANIFEST))
        await eventually(lambda: told.all == [("put", "shop", "m")])

    during(work)
    assert "Traceback" not in caplog.text


def test_when_it_fails_while_it_runs_it_is_started_again(api_server, eventually, monkeypatch, caplog):
    monkeypatch.setattr(handlers, "PAUSE", 0.1)
    server, api = api_server.server, api_server.server.api

    async def work(told):
        await eventually(lambda: api.calls["watch"])
        server.is_broken = True
        api_server.call(api.end_watches)
        await eventually(lambda: "event=kopf_ended" in caplog.text)
        server.is_broken = False
        api_server.do(api.create(MODEL_DEPLOYMENT, "shop", MANIFEST))
        await eventually(lambda: told.all == [("put", "shop", "m")])

    during(work)


def test_its_settings_keep_it_quiet_and_bounded():
    settings = handlers.make_settings()
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True
    assert settings.networking.request_timeout == 30.0
    assert settings.watching.inactivity_timeout == 70.0
    assert settings.process.ultimate_exiting_timeout is None
