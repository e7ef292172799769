"""The Kubernetes API over HTTP: tries, time limits, pages, watches. The clock jumps."""

from __future__ import annotations

import asyncio
import itertools
import json

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import Cluster, User

from seamark.errors import Conflict, NotFound, Unavailable
from seamark_kubernetes import client as clients
from seamark_kubernetes.api import CONFIG_MAP, POD
from seamark_kubernetes.calls import list_call
from seamark_kubernetes.client import Client

OBJECT = {"metadata": {"name": "x"}}


class Answers:
    """Answers requests one after the other: a status, an exception, a response, or seconds to be silent for."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.times: list[float] = []
        self.verbs: list[str] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = 200
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx2.Response(answer, json={"kind": "Status", "message": "so", "metadata": {}})
        return answer

    def client(self) -> Client:
        config = KubeConfig.from_one(cluster=Cluster(server="http://api"), user=User(token="secret")).get()
        return Client(config, self.verbs.append, httpx2.MockTransport(self))


def calls(client: Client):
    """Each verb's call, by whether it is idempotent."""
    return [
        (True, lambda: client.get(CONFIG_MAP, "n", "x")),
        (True, lambda: client.list(CONFIG_MAP, "n", {})),
        (True, lambda: client.apply(CONFIG_MAP, "n", OBJECT)),
        (True, lambda: client.delete(CONFIG_MAP, "n", "x")),
        (False, lambda: client.create(CONFIG_MAP, "n", OBJECT)),
        (False, lambda: client.replace(CONFIG_MAP, "n", OBJECT)),
        (False, lambda: client.patch(CONFIG_MAP, "n", "x", {})),
    ]


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize(
    ("trouble", "others_too"),
    [
        (429, True),
        (500, False),
        (503, False),
        (httpx2.ConnectError("refused"), True),
        (httpx2.ConnectTimeout("slow"), True),
        (httpx2.ReadTimeout("slow"), False),
        (httpx2.RemoteProtocolError("broke off"), False),
    ],
)
def test_only_what_cannot_be_done_twice_by_that_is_tried_again(run, number, trouble, others_too):
    answers = Answers(trouble, trouble)

    async def work():
        is_idempotent, call = calls(answers.client())[number]
        try:
            await call()
        except Unavailable:
            return is_idempotent, False
        return is_idempotent, True

    is_idempotent, succeeded = run(work())
    assert succeeded == (is_idempotent or others_too)
    assert len(answers.requests) == len(answers.verbs) == (3 if succeeded else 1)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422])
@pytest.mark.parametrize("number", range(7))
def test_what_another_try_cannot_better_is_asked_once(run, number, code):
    answers = Answers(code)

    async def work():
        await calls(answers.client())[number][1]()

    if (code, number) == (404, 3):
        run(work())  # deleted is deleted
    else:
        with pytest.raises(Exception, match="Cannot"):
            run(work())
    assert len(answers.requests) == 1


def test_tries_are_few_and_further_and_further_apart(run):
    answers = Answers(*[503] * 10)
    with pytest.raises(Unavailable, match=r"^Cannot get ConfigMap n/x: so \(HTTP 503\)$"):
        run(answers.client().get(CONFIG_MAP, "n", "x"))
    gaps = [later - earlier for earlier, later in zip(answers.times, answers.times[1:], strict=False)]
    assert len(gaps) == clients.TRIES - 1
    for number, gap in enumerate(gaps):
        assert clients.PAUSE * 2**number * 0.5 <= gap <= clients.PAUSE * 2**number * 1.5


def test_the_server_says_how_long_to_wait(run):
    answers = Answers(httpx2.Response(429, headers={"Retry-After": "7"}))
    run(answers.client().get(CONFIG_MAP, "n", "x"))
    assert answers.times[1] - answers.times[0] == pytest.approx(7.0)


def test_a_wait_beyond_the_time_limit_is_not_begun(run):
    answers = Answers(httpx2.Response(429, headers={"Retry-After": "31"}))
    with pytest.raises(Unavailable):
        run(answers.client().get(CONFIG_MAP, "n", "x"))
    assert len(answers.requests) == 1


def test_a_call_ends_after_thirty_seconds_whatever_happens(run):
    answers = Answers(1000.0)

    async def work():
        start = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match=r"^Cannot create ConfigMap n/x: no answer within 30 s$"):
            await answers.client().create(CONFIG_MAP, "n", OBJECT)
        return asyncio.get_running_loop().time() - start

    assert run(work()) == pytest.approx(30.0)


def test_tries_share_the_time_limit(run):
    answers = Answers(*[httpx2.Response(429, headers={"Retry-After": "12"})] * 10)

    async def work():
        start = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match="no answer within 30 s"):
            await answers.client().get(CONFIG_MAP, "n", "x")
        return asyncio.get_running_loop().time() - start

    assert run(work()) == pytest.approx(30.0)
    assert len(answers.requests) == 3


def test_requests_carry_the_token_and_say_what_they_are(run):
    answers = Answers()
    run(answers.client().apply(CONFIG_MAP, "n", OBJECT, status=True))
    (request,) = answers.requests
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert request.url.path == "/api/v1/namespaces/n/configmaps/x/status"
    assert dict(request.url.params) == {"fieldManager": "seamark-operator", "force": "true"}
    assert json.loads(request.content) == {"apiVersion": "v1", "kind": "ConfigMap", **OBJECT}


def test_every_request_is_counted_by_its_verb_tries_too(run):
    answers = Answers(503, 200, 409)

    async def work():
        client = answers.client()
        await client.get(CONFIG_MAP, "n", "x")
        with pytest.raises(Conflict):
            await client.create(CONFIG_MAP, "n", OBJECT)
        await client.close()

    run(work())
    assert answers.verbs == ["get", "get", "create"]


# --- lists


def page(names, version="5", more=""):
    items = [{"metadata": {"name": name}} for name in names]
    return httpx2.Response(200, json={"metadata": {"resourceVersion": version, "continue": more}, "items": items})


def test_a_long_list_is_read_page_by_page_and_each_object_says_its_kind(run):
    answers = Answers(page(["a"], more="t1"), page(["b"], more="t2"), page(["c"]))
    found, version = run(answers.client().list(POD, None, {"l": "1"}))
    assert [item["metadata"]["name"] for item in found] == ["a", "b", "c"]
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("v1", "Pod")}
    assert version == "5"
    assert [request.url.params.get("continue") for request in answers.requests] == [None, "t1", "t2"]
    assert {request.url.params["labelSelector"] for request in answers.requests} == {"l=1"}


def test_a_list_whose_snapshot_expired_is_begun_again_whole(run):
    answers = Answers(page(["a"], more="t1"), 410, page(["a", "b"], version="9"))
    found, version = run(answers.client().list(POD, None, {}))
    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert version == "9"
    assert "limit" not in answers.requests[-1].url.params


def test_a_list_that_is_gone_from_its_start_fails(run):
    with pytest.raises(Unavailable):
        run(Answers(410).client().list(POD, None, {}))


def test_an_empty_list_may_say_null(run):
    answers = Answers(httpx2.Response(200, json={"metadata": {"resourceVersion": "5"}, "items": None}))
    assert run(answers.client().list(POD, None, {})) == ([], "5")


def test_a_kind_that_is_not_installed_is_not_found(run):
    with pytest.raises(NotFound, match="Cannot list pods in all namespaces"):
        run(Answers(404).client().list(POD, None, {}))


# --- watches


class Stream(httpx2.AsyncByteStream):
    """Chunks of a body; a number is silence of so many seconds, an exception breaks it off."""

    def __init__(self, *chunks) -> None:
        self.chunks = chunks
        self.is_closed = False

    async def __aiter__(self):
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def aclose(self) -> None:
        self.is_closed = True


def event(type_, name, version="7"):
    document = {"metadata": {"name": name, "resourceVersion": version}}
    return json.dumps({"type": type_, "object": document}, ensure_ascii=False).encode() + b"\n"


async def watched(client: Client, version="5"):
    return [
        (kind, document["metadata"]["name"]) async for kind, document in client.watch(POD, "n", {"l": "1"}, version)
    ]


def test_a_watch_tells_events_and_ends_when_the_server_ends_it(run):
    stream = Stream(event("ADDED", "a")[:20], event("ADDED", "a")[20:] + event("BOOKMARK", ""), event("DELETED", "b"))
    answers = Answers(httpx2.Response(200, stream=stream))
    assert run(watched(answers.client())) == [("ADDED", "a"), ("BOOKMARK", ""), ("DELETED", "b")]
    assert stream.is_closed
    params = answers.requests[0].url.params
    assert (params["resourceVersion"], params["labelSelector"]) == ("5", "l=1")
    assert clients.WATCH[0] <= int(params["timeoutSeconds"]) <= clients.WATCH[1]


def test_a_watch_is_taken_for_dead_after_seventy_seconds_of_silence(run):
    answers = Answers(httpx2.Response(200, stream=Stream(b"")))
    run(watched(answers.client()))
    assert answers.requests[0].extensions["timeout"]["read"] == 70.0
    assert answers.requests[0].extensions["timeout"]["connect"] == 5.0


@pytest.mark.parametrize("broken", [httpx2.ReadTimeout("silence"), httpx2.ReadError("reset")])
def test_silence_and_a_broken_connection_end_a_watch_quietly(run, broken):
    stream = Stream(event("ADDED", "a"), broken)
    assert run(watched(Answers(httpx2.Response(200, stream=stream)).client())) == [("ADDED", "a")]
    assert stream.is_closed


@pytest.mark.parametrize(
    "answer",
    [
        410,
        httpx2.Response(200, content=b'{"type": "ERROR", "object": {"code": 410, "message": "too old"}}\n'),
        httpx2.Response(200, content=b'{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}\n'),
        httpx2.Response(200, content=b"<html>\n"),
        httpx2.Response(200, content=b'{"object": {}}\n'),
        httpx2.Response(200, content=b'{"type": "ADDED", "object": 3}\n'),
        403,
    ],
)
def test_a_watch_that_cannot_go_on_says_so(run, answer):
    with pytest.raises(Unavailable, match=r"^Cannot watch pods in namespace n: "):
        run(watched(Answers(answer).client()))


def test_a_watch_waits_while_the_server_is_initialising(run):
    busy = httpx2.Response(429, headers={"Retry-After": "2"}, json={"message": "storage is (re)initializing"})
    answers = Answers(busy, busy, httpx2.Response(200, content=event("ADDED", "a")))
    assert run(watched(answers.client())) == [("ADDED", "a")]
    assert answers.times[2] - answers.times[0] == pytest.approx(4.0, abs=0.5)


def test_an_endless_line_is_not_gathered(run):
    stream = Stream(*[b"x" * 2**20] * 20)
    with pytest.raises(Unavailable, match="an event exceeds"):
        run(watched(Answers(httpx2.Response(200, stream=stream)).client()))


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1).filter(str.strip)),
    st.lists(st.integers(0, 200)),
)
def test_lines_come_out_whole_however_the_network_cuts_them(lines, cuts):
    content = "".join(f"{line}\n" for line in lines).encode()
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    chunks = [content[start:end] for start, end in itertools.pairwise(edges)]

    async def read():
        response = httpx2.Response(200, stream=Stream(*chunks))
        return [line async for line in clients._lines(list_call(POD, None, {}, 0), response)]

    assert asyncio.run(read()) == [line.encode() for line in lines if line.encode().strip()]
