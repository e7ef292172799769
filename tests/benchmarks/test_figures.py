"""Medians over rounds, ratios within rounds, and measurements that survive being written to a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest
from benchmarks.serving.figures import FIGURES, Key, Measurement, Measurements, parse_key

Make = Callable[..., Measurement]
OURS, THEIRS = "seamark logistic v1 1x32", "kserve logistic v1 1x32"


def test_a_key_reads_what_it_wrote() -> None:
    assert parse_key(OURS) == Key("seamark", "logistic", "v1", 1, 32)
    assert str(parse_key(OURS)) == OURS


@pytest.mark.parametrize("text", ["", "seamark logistic v1", "seamark logistic v1 1", "seamark logistic v1 ax32"])
def test_a_key_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SERVER MODEL WIRE ROWSxCONNECTIONS is needed"):
        parse_key(text)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [("requests", 500.0), ("rows", 50_000.0), ("p99", 0.002), ("cpu", 0.5), ("memory", 8e7), ("watched", 1.0)],
)
def test_figures_have_their_units(measured: Make, figure: str, expected: float) -> None:
    assert FIGURES[figure](measured("seamark logistic v1 100x1", seconds=2.0)) == expected


def test_the_median_is_over_rounds(measured: Make) -> None:
    found = Measurements(measured(OURS, n, requests=requests) for n, requests in enumerate([900, 5000, 1000]))
    assert found.median(parse_key(OURS), "requests") == 1000


def test_a_ratio_is_taken_within_each_round(measured: Make) -> None:
    """The machine was twice as fast in round 2: the ratio of medians would be 15, and no round had that."""
    ours = [measured(OURS, n, requests=requests) for n, requests in ((1, 10_000), (2, 20_000), (3, 10_000))]
    theirs = [measured(THEIRS, n, requests=requests) for n, requests in ((1, 1000), (2, 2000), (3, 500))]
    assert Measurements([*ours, *theirs]).ratio(parse_key(OURS), parse_key(THEIRS), "requests") == 10


def test_rounds_that_only_one_of_two_has_do_not_count(measured: Make) -> None:
    found = Measurements([measured(OURS, 1), measured(OURS, 2, requests=9000), measured(THEIRS, 1, requests=500)])
    assert found.ratio(parse_key(OURS), parse_key(THEIRS), "requests") == 2


def test_what_was_not_measured_has_neither_median_nor_ratio(measured: Make) -> None:
    found = Measurements([measured(OURS)])
    assert found.median(parse_key(THEIRS), "requests") is None
    assert found.ratio(parse_key(OURS), parse_key(THEIRS), "requests") is None


def test_a_measurement_is_the_same_after_a_file(measured: Make) -> None:
    measurement = measured(OURS, watched=0.5)
    assert Measurement.from_json(json.loads(json.dumps(asdict(measurement)))) == measurement
