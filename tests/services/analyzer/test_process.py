"""The analyzer as a process: config comes late, evidence and metrics are served, SIGTERM ends it cleanly."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark.evidence import Evidence, Share
from seamark.metrics import CATALOGUE
from seamark_analyzer.__main__ import main

T = TypeVar("T")


def eventually(found: Callable[[], T], seconds: float = 20.0) -> T:
    """What `found` answers as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < deadline, "the condition did not come in time"
        time.sleep(0.05)


class Process:
    def __init__(self, folder: Path, root: str, *options: str, config: str = "") -> None:
        self.config = folder / "analyzer.json"
        self.log = folder / "analyzer.log"
        command = [
            sys.executable,
            "-m",
            "seamark_analyzer",
            "--data",
            root,
            "--config",
            config or str(self.config),
            "--port",
            "0",
            *options,
        ]
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(command, stderr=log)
        port = eventually(lambda: re.search(r"event=listening .*port=(\d+)", self.log.read_text()))
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port[1]}", trust_env=False)
        eventually(lambda: self.answers("/healthz"))

    def answers(self, path: str) -> bool:
        try:
            return self.client.get(path).status_code == 200
        except httpx.ConnectError:
            return False

    def configure(self, **models: Any) -> None:
        new = self.config.with_suffix(".new")
        new.write_text(json.dumps({"models": models}))
        new.rename(self.config)

    def evidence(self) -> Evidence:
        return msgspec.json.decode(self.client.get("/v1/models/m/evidence").raise_for_status().content, type=Evidence)

    def stop(self) -> int:
        self.client.close()
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(15)


@pytest.fixture
def process(tmp_path: Path, world: Any) -> Iterator[Process]:
    process = Process(tmp_path, world.root)
    yield process
    if process.child.poll() is None:
        process.child.kill()
        process.child.wait()
    process.client.close()


def revision(package: str, role: str, *urls: str) -> dict[str, Any]:
    return {"package": package, "role": role, "targets": list(urls)}


def test_the_whole_story(process: Process, world: Any) -> None:
    """No config, then a champion, then a shift, then a challenger in shadow; then the end."""
    assert process.client.get("/readyz").status_code == 503
    assert "No such file" in process.client.get("/readyz").json()["error"]
    package, other = world.package("v1"), world.package("v2")
    champion, challenger = world.monitor("m-1"), world.monitor("m-2")
    settings: dict[str, Any] = {
        "window": 6,
        "interval": 0.2,
        "champion": "m-1",
        "revisions": {"m-1": revision(package, "champion", champion.url)},
    }
    process.configure(m=settings)
    eventually(lambda: process.answers("/readyz"))
    eventually(lambda: champion.scrapes >= 2)
    missing = process.client.get("/v1/models/nobody/evidence")
    assert (missing.status_code, missing.json()["error"]) == (
        404,
        "Cannot find model 'nobody': the models watched are m",
    )
    champion.observe(*world.batch(600))
    eventually(lambda: process.evidence().champion.requests == 600)
    assert not any(drift.since for drift in process.evidence().drift)
    champion.observe(*world.batch(600, {2: 1.5}))
    eventually(lambda: [d.feature for d in process.evidence().drift if d.since] == ["f 2"])

    settings |= {"challenger": "m-2", "since": time.time()}
    settings["revisions"]["m-2"] = revision(other, "shadow", challenger.url)
    process.configure(m=settings)
    scrapes = challenger.scrapes
    eventually(lambda: challenger.scrapes >= scrapes + 2)
    challenger.refuse(500, 4)
    world.log("m-1", ["a", "b"], time.time(), [1, 0])
    world.log("m-2", ["a", "b"], time.time(), [1, 1])
    world.label([("a", "yes"), ("b", "no")], 1)
    evidence = eventually(lambda: (found := process.evidence()).pairs and found.champion.correct and found)
    assert evidence.pairs.agree == Share(1, 2)
    assert (evidence.champion.correct, evidence.challenger.correct) == (Share(2, 2), Share(1, 2))
    assert (evidence.challenger.requests, evidence.challenger.errors) == (4, 4)

    assert process.client.get("/v1/models").json()["models"][0]["challenger"] == "m-2"
    gauges = metrics(process, "/metrics")
    assert {name for name, _ in gauges} == {name for name, m in CATALOGUE.items() if m.source == "analyzer"}
    common = {"namespace": "default", "deployment": "m"}
    score = key("seamark_drift_score", **common, revision="m-1", kind="feature", feature="f 2")
    threshold = key("seamark_drift_threshold", **common, revision="m-1", kind="feature", feature="f 2")
    assert gauges[score] > gauges[threshold] > 0
    assert gauges[key("seamark_quality", **common, revision="m-2", metric="accuracy")] == 0.5
    assert gauges[key("seamark_shadow_agreement_ratio", **common, revision="m-2")] == 0.5
    assert gauges[key("seamark_revision_info", **common, revision="m-2", role="shadow")] == 1
    federated = metrics(process, "/federate")
    assert set(gauges) <= set(federated)
    requests = {labels for name, labels in federated if name == "seamark_requests_total"}
    assert len(requests) == 4  # two targets, two statuses

    process.configure()
    eventually(lambda: process.client.get("/v1/models").json() == {"models": []})
    assert process.client.get("/v1/models/m/evidence").status_code == 404
    assert process.stop() == 0


def metrics(process: Process, path: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels; each must be there once only."""
    samples = [
        (key(sample.name, **sample.labels), sample.value)
        for family in text_string_to_metric_families(process.client.get(path).text)
        for sample in family.samples
    ]
    found = dict(samples)
    assert len(found) == len(samples)
    return found


def features_scored(process: Process) -> list[tuple[str, str]]:
    """(namespace, feature) of each feature with a score."""
    labels = [dict(at) for name, at in metrics(process, "/metrics") if name == "seamark_drift_score"]
    return sorted((at["namespace"], at["feature"]) for at in labels if at["kind"] == "feature")


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_a_broken_config_is_reported_and_the_last_good_one_stays(process: Process, world: Any) -> None:
    package = world.package("v1")
    good = {"window": 6, "interval": 0.2, "champion": "m-1", "revisions": {"m-1": revision(package, "champion")}}
    bad = {**good, "champion": "b-1", "revisions": {"b-1": revision("/nowhere", "champion")}}
    process.configure(m=good, broken=bad)
    eventually(lambda: process.answers("/v1/models/m/evidence"))
    eventually(lambda: process.answers("/v1/models/broken/evidence"))
    process.configure(m={**good, "window": "long"})
    warning = eventually(lambda: process.client.get("/readyz").json().get("warning"))
    assert "models.m.window" in warning
    assert process.answers("/v1/models/m/evidence")
    process.config.write_text("{")
    eventually(lambda: "truncated" in process.client.get("/readyz").json().get("warning", ""))
    assert process.stop() == 0
    lines = process.log.read_text().splitlines()
    assert sum("about=b-1" in line for line in lines) == 1
    assert not [line for line in lines if "Traceback" in line]


def test_in_a_cluster(tmp_path: Path, world: Any, site: Any) -> None:
    """Settings by HTTP, packages from the monitors, one name in two namespaces; then the operator is gone a while."""
    folder = world.package("v1")
    digest = hashlib.sha256((Path(folder) / "seamark.json").read_bytes()).hexdigest()
    monitors = {space: world.monitor("m-1", space, folder) for space in ("a", "b")}
    models = {
        f"{space}/m": {
            "namespace": space,
            "deployment": "m",
            "window": 60,
            "interval": 0.2,
            "champion": "m-1",
            "revisions": {"m-1": {"package": "", "digest": digest, "role": "champion", "targets": [monitor.url]}},
        }
        for space, monitor in monitors.items()
    }
    site.status = 503
    process = Process(tmp_path, world.root, "--host", "0.0.0.0", "--max-features", "2", config=site.url)
    try:
        eventually(lambda: site.answered)
        assert process.client.get("/readyz").json() == {
            "ready": False,
            "error": f"Cannot read {site.url}: it answered 503",
        }
        site.show(json.dumps({"models": models}).encode(), '"1"')
        eventually(lambda: process.answers("/readyz"))
        eventually(lambda: all(monitor.scrapes >= 2 for monitor in monitors.values()))
        monitors["a"].observe(*world.batch(600, {2: 1.5}))
        monitors["b"].observe(*world.batch(500))

        def requests(space: str) -> int:
            answer = process.client.get(f"/v1/models/{space}/m/evidence").raise_for_status()
            return msgspec.json.decode(answer.content, type=Evidence).champion.requests

        eventually(lambda: (requests("a"), requests("b")) == (600, 500))
        features = eventually(lambda: len(found := features_scored(process)) == 4 and found)
        assert ("a", "f 2") in features  # it alarms, so the cap leaves it in
        assert [space for space, _ in features] == ["a", "a", "b", "b"]
        assert len({at for name, at in metrics(process, "/federate") if name == "seamark_requests_total"}) == 4
        names = [(model["name"], model["deployment"]) for model in process.client.get("/v1/models").json()["models"]]
        assert names == [("a/m", "m"), ("b/m", "m")]
        assert process.client.get("/v1/models/m/evidence").status_code == 404

        site.status = 500
        warning = eventually(lambda: process.client.get("/readyz").json().get("warning"))
        assert warning == f"Cannot read {site.url}: it answered 500"
        monitors["a"].observe(*world.batch(1))
        eventually(lambda: requests("a") == 601)
        del models["a/m"]
        site.show(json.dumps({"models": models}).encode(), '"2"')
        eventually(lambda: process.client.get("/v1/models/a/m/evidence").status_code == 404)
        assert {dict(at)["namespace"] for _, at in metrics(process, "/metrics")} == {"b"}
        assert [monitor.packages_served for monitor in monitors.values()] in ([2, 0], [0, 2])
        assert process.stop() == 0
    finally:
        process.child.kill()
        process.child.wait()
        process.client.close()
    assert "Traceback" not in process.log.read_text()


@pytest.mark.parametrize("count", ["-1", "many", "1000001"])
def test_a_cap_that_is_no_count_is_refused(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--data", "d", "--config", "c", f"--max-features={count}"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"{count!r} is not a number from 0 to 100000\n")


def test_unknown_addresses_answer_a_json_error(process: Process) -> None:
    answer = process.client.get("/v2")
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
    assert process.client.post("/metrics").status_code == 405


def test_a_taken_port_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "seamark_analyzer", "--data", "d", "--config", "c", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env={**os.environ}, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Cannot listen on 127.0.0.1:{port}: ")
    assert len(ended.stderr.splitlines()) == 1
