"""The demo's own parts: its lock, its checks, its report. The story itself runs as `make demo`."""

from __future__ import annotations

import fcntl
import random
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamark import spec
from seamark_local.demo import data, report
from seamark_local.demo.__main__ import run
from seamark_local.demo.burst import KINDS, Burst
from seamark_local.demo.story import failed, percentile, read_manifest, replay
from seamark_local.demo.traffic import Answer


def test_a_second_demo_says_that_another_one_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "demo"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(home) == 2
    assert "another one is running" in capsys.readouterr().out
    assert not home.exists()


def test_the_demo_manifest_is_a_sound_manifest() -> None:
    deployment = spec.parse(read_manifest())
    assert deployment.name == "scanner"
    assert [gate.metric for gate in deployment.rollout.gates] == list(spec.GATE_METRICS)


def test_the_world_is_the_same_every_time_and_shares_no_row_between_its_halves() -> None:
    one, two = data.load(), data.load()
    assert (one.live == two.live).all()
    assert len(one.train) + len(one.live) == 569
    assert not {tuple(row) for row in one.train} & {tuple(row) for row in one.live}


def test_the_recalibration_moves_its_features_and_no_other() -> None:
    world = data.load()
    moved = {
        name
        for name, before, after in zip(world.names, world.live.T, world.recalibrated().T, strict=True)
        if (before != after).any()
    }
    assert moved == set(data.RECALIBRATED)


def test_replay_gives_rows_with_their_own_labels() -> None:
    world = data.load()
    labels = {tuple(row): label for row, label in zip(world.live.tolist(), world.live_labels, strict=True)}
    draw = replay(world, world.live)
    assert all(labels[tuple(row)] == label for row, label in (draw(random.Random(i)) for i in range(50)))


@pytest.mark.parametrize(
    ("status", "expected"), [(200, False), (404, False), (422, False), (500, True), (503, True), (0, True)]
)
def test_a_request_failed_when_the_server_is_to_blame(status: int, expected: bool) -> None:
    assert failed(Answer(0.0, status, 0.0, "", right=False)) == expected


def test_no_requests_have_no_percentile() -> None:
    assert percentile([], 0.99) is None
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0


GOOD_ANSWERS = {("null", 422): 3, ("NaN", 422): 3, ("text", 400): 3, ("impossible", 200): 3}


@pytest.mark.parametrize(
    ("case", "changes", "expected"),
    [
        ("each kind as it should be", {}, True),
        ("a broken row was answered", {("null", 200): 1}, False),
        ("a broken row broke the server", {("text", 500): 1}, False),
        ("a well-formed row was refused", {("impossible", 422): 1}, False),
    ],
)
def test_the_burst_knows_what_the_protocol_asks(case: str, changes: dict[tuple[str, int], int], expected: bool) -> None:
    burst = Burst("127.0.0.1", 1, "m", np.zeros((1, 30)), data.load().names)
    burst.answers = Counter({**GOOD_ANSWERS, **changes})
    burst.messages = {kind: f"'{feature}' is wrong" for kind, (feature, _, refused) in KINDS.items() if refused}
    assert burst.kept_the_protocol() == expected, case


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, text: str) -> None:
        self.open.append(text)


def test_the_report_is_one_file_with_its_pictures_and_escapes_what_it_shows() -> None:
    now = time.time()
    finding = {"kind": "feature", "feature": "a<b", "score": 1.0, "threshold": 0.2}
    event: dict[str, Any] = {
        "time": now + 2,
        "kind": "Alarm",
        "revision": "r",
        "reason": "",
        "message": "<script>x</script>",
    }
    summary = {
        "passed": False,
        "started": now,
        "finished": now + 10,
        "requests": 1,
        "checks": [{"chapter": "1 A", "claim": "c & d", "passed": False, "detail": "<i>"}],
        "events": [{**event, "evidence": {"findings": [finding]}}],
    }
    samples = [
        {"time": now + i, "quality": None if i == 3 else 0.9, "drift": 0.5, "weights": {"r": 100}, "p99": None}
        for i in range(8)
    ]
    tags = _Tags()
    tags.feed(report.render(summary, samples, [(now, "1 A")]))
    assert tags.seen["svg"] == 5
    assert tags.seen["script"] == 0
    assert tags.addresses == []
    assert tags.seen["polyline"] >= 3


def test_a_report_of_nothing_is_still_a_report() -> None:
    summary = {"passed": False, "started": 1.0, "finished": 2.0, "requests": 0, "checks": [], "events": []}
    assert "Not everything happened" in report.render(summary, [], [])
