"""Joins on sorted arrays give what plain dictionaries give, whatever comes in whatever parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.evidence import Pairs, Share
from seamark_analyzer.joins import Labels, Rows, agreement, keys

KEYS = st.integers(-20, 20)
PREDICTIONS = st.lists(st.tuples(KEYS, st.floats(0, 100), st.integers(0, 2)), max_size=30)
LABELS = st.lists(st.tuples(KEYS, st.integers(1, 5), st.integers(0, 2)), max_size=30)


def rows(found: list[tuple[int, float, int]]) -> Rows:
    key, time, prediction = (np.array(part) for part in zip(*found, strict=True)) if found else ([], [], [])
    return Rows(
        np.array(key, np.int64), np.array(time, float), np.array(prediction, float), np.array(prediction, float) / 4
    )


def labels(found: list[tuple[int, int, int]]) -> Labels:
    key, sequence, value = (np.array(part) for part in zip(*found, strict=True)) if found else ([], [], [])
    return Labels(np.array(key, np.int64), np.array(sequence, np.int64), np.array(value, float))


@given(st.lists(PREDICTIONS, max_size=4))
def test_merged_rows_hold_each_key_once_with_its_newest_row(parts: list[list[tuple[int, float, int]]]) -> None:
    merged, truth = Rows(), {}
    for part in parts:
        merged = merged.merge(rows(part), limit=1000)
        truth |= {key: (time, prediction) for key, time, prediction in part}
    found = {int(k): (t, p) for k, t, p in zip(merged.key, merged.time, merged.prediction, strict=True)}
    assert found == truth
    assert list(merged.key) == sorted(truth)


@given(PREDICTIONS, st.integers(1, 10))
def test_a_full_memory_keeps_the_latest_rows(found: list[tuple[int, float, int]], limit: int) -> None:
    merged = Rows().merge(rows(found), limit)
    times = sorted({key: time for key, time, _ in found}.values())
    assert sorted(merged.time) == times[-limit:]
    assert list(merged.key) == sorted(merged.key)


@given(LABELS, st.integers(0, 30))
def test_of_several_labels_the_highest_sequence_wins_in_any_order_of_arrival(
    found: list[tuple[int, int, int]], cut: int
) -> None:
    """Compaction may give the later one first."""
    truth: dict[int, tuple[int, int]] = {}
    for key, sequence, value in found:
        if sequence >= truth.get(key, (0, 0))[0]:
            truth[key] = (sequence, value)
    unique = [(key, sequence, value) for key, (sequence, value) in truth.items()]
    older = [one for one in found if one[1] < truth[one[0]][0]]
    merged = Labels().merge(labels(unique[:cut]), 1000).merge(labels(older), 1000).merge(labels(unique[cut:]), 1000)
    wanted = list(range(-20, 21))
    expected = [float(truth[key][1]) if key in truth else math.nan for key in wanted]
    np.testing.assert_array_equal(merged.of(np.array(wanted)), expected)


@given(PREDICTIONS, PREDICTIONS, LABELS)
def test_pairs_are_those_of_plain_dictionaries(
    ours: list[tuple[int, float, int]], theirs: list[tuple[int, float, int]], truth: list[tuple[int, int, int]]
) -> None:
    ours, theirs, truth = (list({one[0]: one for one in part}.values()) for part in (ours, theirs, truth))
    a, b, t = ({one[0]: one[2] for one in part} for part in (ours, theirs, truth))
    both = sorted(a.keys() & b.keys())
    right = [(a[key] == t[key], b[key] == t[key]) for key in both if key in t]
    found = agreement(
        Rows().merge(rows(ours), 99), Rows().merge(rows(theirs), 99), Labels().merge(labels(truth), 99), None
    )
    if not both:
        assert found is None
        return
    assert found is not None
    assert found.agree == Share(sum(a[key] == b[key] for key in both), len(both))
    assert found.score_difference == pytest.approx(np.mean([abs(a[key] - b[key]) / 4 for key in both]))
    cells = (found.both_right, found.only_champion, found.only_challenger, found.neither)
    assert cells == tuple(right.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False)))


def test_values_agree_within_the_tolerance_and_nobody_is_right() -> None:
    def of(*values: float) -> Rows:
        return Rows(np.arange(len(values)), np.zeros(len(values)), np.array(values), np.full(len(values), np.nan))

    known = Labels(np.arange(4), np.ones(4, np.int64), np.array([1.0, 2, 3, 4]))
    found = agreement(of(1, 2, 3, math.nan), of(1.5, 2.6, 3, 4), known, 0.5)
    assert found == Pairs(Share(2, 4), None)


def test_the_rows_of_one_prediction_have_keys_of_their_own() -> None:
    found = keys(["a", "a", "b", "a"], [0, 1, 0, 0])
    assert len(set(found.tolist())) == 3
    assert found[0] == found[3]


def test_classes_out_of_range_translate_to_nothing() -> None:
    translated = rows([(1, 0, 0), (2, 0, 1), (3, 0, 2)]).translated(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(translated.prediction, [1.0, 0.0, math.nan])
