"""What clients see of the queue, the deadline, the cache, compression, explanations and counters."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark_predictor import formats
from seamark_predictor.batcher import Limits
from seamark_predictor.counters import Counters
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.explain import Explainer
from seamark_predictor.model import Output
from seamark_predictor.package import read
from seamark_predictor.rest import Rest
from seamark_predictor.served import Options, Served, info


class Slow:
    """A model whose runs wait for `go` once it is `held`, as a slow one does; it says how many rows each run had."""

    platform = "slow"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.runs: list[int] = []
        self.pause = 0.003
        self.begun = 0

    def predict(self, rows: Any) -> Output:
        self.begun += 1
        # Slow enough to be run in the thread.
        threading.Event().wait(self.pause)
        self.go.wait(10)
        self.runs.append(rows.count)
        positive = np.full(rows.count, 0.25)
        return Output(np.zeros(rows.count), np.column_stack([1 - positive, positive]))


class Bench:
    """A slow model behind the REST shell, on one event loop."""

    def __init__(self, package: Any, kit: Any, options: Options) -> None:
        self.model = Slow()
        plane = Dataplane(read(package), self.model, name="cancer", revision="r", reject=False)
        self.kit = kit
        self.counters = Counters([info(plane)])
        self.records: list[Any] = []
        sink = SimpleNamespace(add=self.records.append)
        self.served = Served(plane, sink, self.counters.models[0], options)
        self.rest = Rest([self.served], 1 << 20, self.counters)
        self.row = kit.CANCER.data[0].tolist()
        self.model.runs.clear()
        self.model.begun = 0

    def ask(self, rows: int = 1, **headers: str) -> asyncio.Task[Any]:
        """A request on its way."""
        body = json.dumps({"instances": [self.row] * rows}).encode()
        return asyncio.ensure_future(self.kit.send(self.rest, "/v1/models/cancer:predict", body, headers))

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # the server tells nobody that a request has been read
                await asyncio.sleep(0.001)

    def value(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.counters.text().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())


@pytest.fixture
def bench(cancer_packages: Any, kit: Any) -> Any:
    def make(**options: Any) -> Bench:
        return Bench(cancer_packages["onnx"], kit, Options(**options))

    return make


def test_requests_that_wait_go_together(bench: Any) -> None:
    one = bench()

    async def story() -> list[Any]:
        one.model.go.clear()
        first = one.ask()
        await one.until(lambda: one.served.counters.in_flight == 1)
        others = [one.ask() for _ in range(5)]
        await one.until(lambda: one.served.counters.in_flight == 6)
        one.model.go.set()
        return list(await asyncio.gather(first, *others))

    answers = asyncio.run(story())
    assert [answer.status for answer in answers] == [200] * 6
    assert sum(one.model.runs) == 6
    assert len(one.model.runs) < 6
    assert len({answer.json()["id"] for answer in answers}) == 6
    assert one.value("seamark_predictor_requests_total", status="200") == 6


def test_a_full_queue_is_503_with_a_time_to_try_again(bench: Any) -> None:
    one = bench(queue=Limits(requests=2))

    async def story() -> list[Any]:
        one.model.go.clear()
        kept = [one.ask() for _ in range(3)]
        await one.until(lambda: one.served.counters.in_flight == 3)
        refused = await one.ask()
        one.model.go.set()
        return [refused, *await asyncio.gather(*kept)]

    refused, *kept = asyncio.run(story())
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "wait already" in refused.json()["error"]
    assert [answer.status for answer in kept] == [200] * 3
    assert one.value("seamark_predictor_rejected_total") == 1
    assert sorted(record.status for record in one.records) == [200, 200, 200, 503]


def test_what_waits_too_long_is_504(bench: Any) -> None:
    one = bench(deadline=0.2)

    async def story() -> Any:
        one.model.go.clear()
        answer = await one.ask()
        one.model.go.set()
        return answer

    answer = asyncio.run(story())
    assert answer.status == 504
    assert "deadline" in answer.json()["error"]
    assert one.value("seamark_predictor_timed_out_total") == 1


@pytest.mark.parametrize("rows", [1, 500], ids=["on the loop", "in threads"])
def test_who_hangs_up_before_the_answer_is_neither_answered_nor_told_of(bench: Any, rows: int) -> None:
    one = bench()

    async def story() -> None:
        one.model.go.clear()
        running = one.ask(rows)
        await one.until(lambda: one.model.begun)
        waiting, kept = one.ask(rows), one.ask(rows, **{"x-request-id": "kept"})
        await one.until(lambda: one.served.counters.in_flight == 3)
        for gone in (running, waiting):
            gone.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert one.served.counters.in_flight == 1
        one.model.go.set()
        assert (await kept).status == 200

    asyncio.run(story())
    assert one.served.counters.in_flight == 0
    assert [record.prediction_id for record in one.records] == ["kept"]
    assert one.value("seamark_predictor_requests_total") == 1


@pytest.mark.parametrize(("size", "runs"), [(0, 2), (1 << 20, 1)])
def test_the_cache_answers_the_same_row_again_only_where_it_is_asked_for(bench: Any, size: int, runs: int) -> None:
    one = bench(cache_bytes=size)

    async def story() -> list[Any]:
        return [await one.ask(**{"x-request-id": "a"}), await one.ask(**{"x-request-id": "b"})]

    first, second = asyncio.run(story())
    assert len(one.model.runs) == runs
    assert first.json()["scores"] == second.json()["scores"]
    assert (first.json()["id"], second.json()["id"]) == ("a", "b")
    assert [record.numbers for record in one.records] == [np.array(one.row).tobytes()] * 2
    assert one.value("seamark_predictor_cache_hits_total") == 2 - runs


@pytest.fixture
def app(cancer_plane: Any, kit: Any) -> Any:
    return kit.App(cancer_plane)


@pytest.mark.parametrize("rows", [1, 500])
def test_compressed_requests_are_read(app: Any, kit: Any, rows: int) -> None:
    body = json.dumps({"instances": kit.CANCER.data[:rows].tolist()}).encode()
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert app.v1(gzip.compress(body), headers).json()["predictions"] == app.v1(body).json()["predictions"]


def test_a_body_that_grows_beyond_the_limit_is_refused(app: Any) -> None:
    answer = app.v1(gzip.compress(b" " * (1 << 20) + b"{}"), {"Content-Encoding": "gzip"})
    assert answer.status == 413


@pytest.mark.parametrize(("rows", "accepted", "packed"), [(500, "gzip", True), (500, "", False), (1, "gzip", False)])
def test_long_answers_are_compressed_for_those_who_ask(
    app: Any, kit: Any, rows: int, accepted: str, packed: bool
) -> None:
    answer = app.v1({"instances": kit.CANCER.data[:rows].tolist()}, {"Accept-Encoding": accepted})
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    document = json.loads(gzip.decompress(answer.body) if packed else answer.body)
    assert len(document["predictions"]) == rows


def explaining(package: Any, kit: Any) -> Any:
    """A REST shell that can explain."""
    content = read(package)
    model = formats.load(content, trust_pickle=False)
    return kit.App(kit.open_plane(package), explainer=Explainer(content, model))


def test_an_explanation_adds_up_to_the_answer(cancer_packages: Any, kit: Any) -> None:
    app = explaining(cancer_packages["skops"], kit)
    body = {"instances": [kit.CANCER.data[0].tolist()]}
    answer = app.ask("/v1/models/cancer:explain", body)
    assert answer.status == 200, answer.body
    document = answer.json()
    assert (document["model_name"], len(document["explanations"])) == ("cancer", 1)
    assert app.records == []


@pytest.mark.parametrize(("body", "status"), [({"instances": [[1]]}, 400), ({"instances": [[None] * 30]}, 422)])
def test_rows_that_cannot_be_predicted_cannot_be_explained(
    cancer_packages: Any, kit: Any, body: Any, status: int
) -> None:
    app = explaining(cancer_packages["skops"], kit)
    assert app.ask("/v1/models/cancer:explain", body).status == status


def test_a_model_without_features_is_not_explained(app: Any, kit: Any) -> None:
    answer = app.ask("/v1/models/cancer:explain", {"instances": [kit.CANCER.data[0].tolist()]})
    assert (answer.status, list(answer.json())) == (501, ["error"])


def test_metrics_tell_of_models_and_requests(app: Any, kit: Any) -> None:
    app.v1({"instances": kit.CANCER.data[:3].tolist()})
    app.v2({"inputs": []})
    answer = app.ask("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = [sample for family in text_string_to_metric_families(answer.body.decode()) for sample in family.samples]
    requests = {
        (s.labels["protocol"], s.labels["status"]): s.value
        for s in samples
        if s.name == "seamark_predictor_requests_total" and s.value
    }
    assert requests == {("v1", "200"): 1, ("v2", "400"): 1}
