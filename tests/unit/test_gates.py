"""The verdict on a challenger: harm must be proven, harmlessness too, and no data is neither."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.actions import Verdict
from seamark.evidence import Arm, Evidence, Latency, Pairs, Share
from seamark.gates import judge
from seamark.spec import Gate

ERRORS = Gate("errorRate", margin=0.01)
ACCURACY = Gate("accuracy", margin=0.01)
AGREEMENT = Gate("shadowAgreement", min=0.95)
LATENCY = Gate("latencyP99", max_ratio=1.5, margin=0.005)
BOUNDS = (0.01, 0.012, 0.02, 0.1)


def arm(
    requests: int = 0, errors: int = 0, correct: Share | None = None, latency: tuple[int, ...] | None = None
) -> Arm:
    return Arm("m-1", 0.0, 60.0, requests, errors, Latency(BOUNDS, latency) if latency else None, correct)


def evidence(champion: Arm | None, challenger: Arm | None, pairs: Pairs | None = None) -> Evidence:
    return Evidence(100.0, champion, challenger, pairs)


def requests(champion: tuple[int, int], challenger: tuple[int, int]) -> Evidence:
    return evidence(arm(champion[1], champion[0]), arm(challenger[1], challenger[0]))


def labels(
    champion: tuple[int, int] | None, challenger: tuple[int, int] | None, pairs: Pairs | None = None
) -> Evidence:
    first, second = (arm(100, 0, Share(*share) if share else None) for share in (champion, challenger))
    return evidence(first, second, pairs)


def pairs(both: int = 0, champion: int = 0, challenger: int = 0, neither: int = 0, agree: Share | None = None) -> Pairs:
    return Pairs(agree or Share(0, 0), None, both, champion, challenger, neither)


def latencies(champion: tuple[int, ...] | None, challenger: tuple[int, ...] | None) -> Evidence:
    return evidence(arm(latency=champion), arm(latency=challenger))


@pytest.mark.parametrize(
    ("gate", "seen", "outcome", "reason", "message"),
    [
        pytest.param(
            ERRORS,
            requests((1, 5000), (600, 5000)),
            "Worse",
            "ErrorRateWorse",
            "error rate 0.12 against the champion's 0.0002 (5000 and 5000 requests): at least 0.0999 worse",
            id="many more errors are worse",
        ),
        pytest.param(
            ERRORS,
            requests((0, 5000), (0, 5000)),
            "Equivalent",
            "WithinBounds",
            "error rate 0 against the champion's 0 (5000 and 5000 requests): at most 0.0017 worse",
            id="no errors in thousands of requests are within a margin of 1 %",
        ),
        pytest.param(
            ERRORS,
            requests((600, 5000), (0, 5000)),
            "Equivalent",
            "WithinBounds",
            "error rate 0 against the champion's 0.12 (5000 and 5000 requests): at least 0.101 better",
            id="fewer errors are no reason to call a model better",
        ),
        pytest.param(
            ERRORS,
            requests((0, 100), (0, 100)),
            "Inconclusive",
            "NotEnoughData",
            "error rate 0 against the champion's 0 (100 and 100 requests): "
            "between 0.0635 better and 0.0635 worse; 0.01 worse is allowed",
            id="no errors in a hundred requests prove nothing",
        ),
        pytest.param(
            ERRORS,
            requests((0, 0), (0, 100)),
            "Inconclusive",
            "NoData",
            "error rate: no requests to compare (challenger 100, champion 0)",
            id="a champion without requests",
        ),
        pytest.param(
            ERRORS,
            evidence(arm(100), None),
            "Inconclusive",
            "NoData",
            "error rate: no requests to compare (challenger 0, champion 100)",
            id="no challenger",
        ),
        pytest.param(
            ACCURACY,
            labels((763, 802), (49, 80)),
            "Worse",
            "AccuracyWorse",
            "accuracy 0.613 against the champion's 0.951 (80 and 802 labels): at least 0.132 worse",
            id="a model that guesses is worse within eighty labels",
        ),
        pytest.param(
            ACCURACY,
            labels((800, 1000), (980, 1000)),
            "Better",
            "AccuracyBetter",
            "accuracy 0.98 against the champion's 0.8 (1000 and 1000 labels): at least 0.113 better",
            id="a far better model is better",
        ),
        pytest.param(
            ACCURACY,
            labels((95_000, 100_000), (95_000, 100_000)),
            "Equivalent",
            "WithinBounds",
            "accuracy 0.95 against the champion's 0.95 (100000 and 100000 labels): at most 0.00606 worse",
            id="equal models are equivalent after very many labels",
        ),
        pytest.param(
            ACCURACY,
            labels((95, 100), (95, 100)),
            "Inconclusive",
            "NotEnoughData",
            "accuracy 0.95 against the champion's 0.95 (100 and 100 labels): "
            "between 0.158 better and 0.158 worse; 0.01 worse is allowed",
            id="equal models are undecided after a hundred labels",
        ),
        pytest.param(
            ACCURACY,
            labels((95, 100), None),
            "Inconclusive",
            "NoData",
            "accuracy: no labels to compare (challenger 0, champion 100)",
            id="labels for the champion only",
        ),
        pytest.param(
            ACCURACY,
            labels(None, None, pairs(both=4000)),
            "Equivalent",
            "WithinBounds",
            "accuracy 1 against the champion's 1 (4000 labelled pairs): at most 0.0021 worse",
            id="pairs that are always both right",
        ),
        pytest.param(
            ACCURACY,
            labels(None, None, pairs(both=500, champion=5, challenger=200, neither=20)),
            "Better",
            "AccuracyBetter",
            "accuracy 0.966 against the champion's 0.697 (725 labelled pairs): at least 0.19 better",
            id="pairs that the challenger wins",
        ),
        pytest.param(
            ACCURACY,
            labels(None, None, pairs(both=500, champion=200, challenger=5)),
            "Worse",
            "AccuracyWorse",
            "accuracy 0.716 against the champion's 0.993 (705 labelled pairs): at least 0.196 worse",
            id="pairs that the champion wins",
        ),
        pytest.param(
            ACCURACY,
            labels((800, 1000), (980, 1000), pairs(both=5)),
            "Better",
            "AccuracyBetter",
            "accuracy 0.98 against the champion's 0.8 (1000 and 1000 labels): at least 0.109 better",
            id="few pairs do not hide what many labels prove",
        ),
        pytest.param(
            ACCURACY,
            labels((95, 100), (95, 100), pairs(both=40, neither=60)),
            "Inconclusive",
            "NotEnoughData",
            "accuracy 0.4 against the champion's 0.4 (100 labelled pairs): "
            "between 0.07 better and 0.07 worse; 0.01 worse is allowed",
            id="where nothing is proven the pairs speak",
        ),
        pytest.param(
            AGREEMENT,
            evidence(None, None, pairs(agree=Share(612, 1000))),
            "Worse",
            "AgreementTooLow",
            "shadow agreement 0.612 (1000 pairs), needs 0.95: at most 0.667",
            id="answers that differ",
        ),
        pytest.param(
            AGREEMENT,
            evidence(None, None, pairs(agree=Share(990, 1000))),
            "Equivalent",
            "WithinBounds",
            "shadow agreement 0.99 (1000 pairs), needs 0.95: at least 0.974",
            id="answers that agree",
        ),
        pytest.param(
            AGREEMENT,
            evidence(None, None, pairs(agree=Share(95, 100))),
            "Inconclusive",
            "NotEnoughData",
            "shadow agreement 0.95 (100 pairs), needs 0.95: between 0.844 and 0.993",
            id="agreement at the bound",
        ),
        pytest.param(
            AGREEMENT,
            evidence(arm(1), arm(1)),
            "Inconclusive",
            "NoData",
            "shadow agreement: no paired answers",
            id="a rollout without shadow",
        ),
        pytest.param(
            AGREEMENT,
            evidence(arm(1), arm(1), pairs()),
            "Inconclusive",
            "NoData",
            "shadow agreement: no paired answers",
            id="no pairs yet",
        ),
        pytest.param(
            LATENCY,
            latencies((2000, 0, 0, 0, 0), (0, 0, 0, 2000, 0)),
            "Worse",
            "LatencyWorse",
            "p99 99.2 ms against the champion's 9.9 ms (2000 and 2000 requests): at least 20 ms against at most 10 ms",
            id="ten times slower",
        ),
        pytest.param(
            LATENCY,
            latencies((200, 0, 0, 0, 0), (0, 200, 0, 0, 0)),
            "Equivalent",
            "WithinBounds",
            "p99 12 ms against the champion's 9.9 ms (200 and 200 requests): within bounds",
            id="a little slower, by estimate, from 200 requests",
        ),
        pytest.param(
            LATENCY,
            latencies((200, 0, 0, 0, 0), (0, 199, 0, 0, 0)),
            "Inconclusive",
            "NotEnoughData",
            "p99 12 ms against the champion's 9.9 ms (199 and 200 requests): fewer than 200 requests",
            id="one request less",
        ),
        pytest.param(
            LATENCY,
            latencies((300, 0, 0, 0, 0), (280, 0, 0, 20, 0)),
            "Inconclusive",
            "NotEnoughData",
            "p99 88 ms against the champion's 9.9 ms (300 and 300 requests): slower, not proven",
            id="some slow requests",
        ),
        pytest.param(
            LATENCY,
            latencies((0, 0, 0, 0, 300), (0, 0, 0, 0, 300)),
            "Inconclusive",
            "NotEnoughData",
            "p99 inf s against the champion's inf s (300 and 300 requests): slower than the last bucket tells",
            id="both slower than the last bucket",
        ),
        pytest.param(
            LATENCY,
            latencies(None, (300, 0, 0, 0, 0)),
            "Inconclusive",
            "NoData",
            "p99: no requests to compare (challenger 300, champion 0)",
            id="no latencies of the champion",
        ),
        pytest.param(
            replace(LATENCY, margin=0.2),
            latencies((2000, 0, 0, 0, 0), (0, 0, 0, 2000, 0)),
            "Equivalent",
            "WithinBounds",
            "p99 99.2 ms against the champion's 9.9 ms (2000 and 2000 requests): within bounds",
            id="a difference below the margin never matters",
        ),
    ],
)
def test_each_gate_speaks_for_itself(gate: Gate, seen: Evidence, outcome: str, reason: str, message: str) -> None:
    verdict = judge([gate], seen)
    assert (verdict.outcome, verdict.reason, verdict.message) == (outcome, reason, message)
    assert verdict.gates == ((gate.metric, outcome, message),)


GOOD = evidence(
    arm(5000, 0, Share(800, 1000), (1000, 0, 0, 0, 0)),
    arm(5000, 0, Share(980, 1000), (1000, 0, 0, 0, 0)),
    pairs(agree=Share(990, 1000)),
)
ALL = (ERRORS, ACCURACY, AGREEMENT, LATENCY)


def test_no_gates_let_everything_pass() -> None:
    assert judge((), None) == Verdict("Equivalent", "NoGates", "no gates to pass")


def test_no_evidence_holds_every_gate() -> None:
    verdict = judge(ALL, None)
    assert (verdict.outcome, verdict.reason) == ("Inconclusive", "NoData")
    assert [(metric, outcome) for metric, outcome, _ in verdict.gates] == [
        (gate.metric, "Inconclusive") for gate in ALL
    ]


def test_better_in_accuracy_and_within_all_bounds_is_better() -> None:
    verdict = judge(ALL, GOOD)
    assert (verdict.outcome, verdict.reason) == ("Better", "AccuracyBetter")
    assert [outcome for _, outcome, _ in verdict.gates] == ["Equivalent", "Better", "Equivalent", "Equivalent"]


def test_one_worse_gate_outweighs_all_others_and_is_named() -> None:
    broken = replace(GOOD, challenger=replace(GOOD.challenger or arm(), errors=900), pairs=None)
    verdict = judge(ALL, broken)
    assert (verdict.outcome, verdict.reason) == ("Worse", "ErrorRateWorse")
    assert verdict.message == verdict.gates[0][2]


def test_two_worse_gates_are_both_told_and_the_first_gives_the_reason() -> None:
    broken = replace(
        GOOD, challenger=replace(GOOD.challenger or arm(), errors=900), pairs=pairs(agree=Share(100, 1000))
    )
    verdict = judge(ALL, broken)
    assert verdict.reason == "ErrorRateWorse"
    assert verdict.message == f"{verdict.gates[0][2]}; {verdict.gates[2][2]}"


def test_one_inconclusive_gate_holds_a_better_challenger() -> None:
    verdict = judge(ALL, replace(GOOD, pairs=pairs(agree=Share(20, 20))))
    assert (verdict.outcome, verdict.reason) == ("Inconclusive", "NotEnoughData")


def test_a_gate_without_data_is_the_reason_before_one_with_too_little() -> None:
    verdict = judge(ALL, replace(GOOD, pairs=None, champion=replace(GOOD.champion or arm(), requests=20)))
    assert (verdict.outcome, verdict.reason) == ("Inconclusive", "NoData")


def test_more_gates_ask_for_more_proof() -> None:
    seen = requests((0, 620), (0, 620))
    assert judge([replace(ERRORS, margin=0.0123)], seen).outcome == "Equivalent"
    assert judge([replace(ERRORS, margin=0.0123), AGREEMENT], seen).gates[0][1] == "Inconclusive"


def test_equal_models_are_rarely_called_worse_though_judged_after_every_request() -> None:
    generator = np.random.default_rng(21)
    streams, rows, wrong = 40, 400, 0
    for _ in range(streams):
        errors = (generator.random((2, rows)) < 0.2).cumsum(axis=1)
        looks = range(0, rows, 5)
        verdicts = {
            judge([ERRORS], requests((int(errors[0, i]), i + 1), (int(errors[1, i]), i + 1)), 0.1).outcome
            for i in looks
        }
        wrong += "Worse" in verdicts
    assert wrong <= 0.1 * streams


COUNTS = st.tuples(st.integers(0, 3000), st.integers(0, 3000)).map(lambda pair: (min(pair), max(pair)))
BUCKETS = st.lists(st.integers(0, 500), min_size=5, max_size=5).map(tuple)


@given(COUNTS, COUNTS, COUNTS, COUNTS, BUCKETS, BUCKETS, st.lists(st.integers(0, 900), min_size=4, max_size=4), COUNTS)
def test_any_evidence_gets_a_verdict_that_follows_from_its_gates(
    errors_a: tuple[int, int],
    errors_b: tuple[int, int],
    right_a: tuple[int, int],
    right_b: tuple[int, int],
    times_a: tuple[int, ...],
    times_b: tuple[int, ...],
    labelled: list[int],
    agree: tuple[int, int],
) -> None:
    seen = evidence(
        arm(errors_a[1], errors_a[0], Share(*right_a), times_a),
        arm(errors_b[1], errors_b[0], Share(*right_b), times_b),
        pairs(*labelled, agree=Share(*agree)),
    )
    verdict = judge(ALL, seen)
    outcomes = [outcome for _, outcome, _ in verdict.gates]
    order = ["Worse", "Inconclusive", "Better", "Equivalent"]
    assert verdict.outcome == min(outcomes, key=order.index)
    assert "\n" not in verdict.message
    assert verdict.reason
    assert not math.isnan(len(verdict.message))
