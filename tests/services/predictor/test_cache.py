"""The cache answers only the very same input, holds no more than it may, and says what it does."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark_predictor.cache import Cache, rows_key
from seamark_predictor.rows import Rows


class Meter:
    def __init__(self) -> None:
        self.hits = self.misses = self.evictions = 0

    def cache_hit(self) -> None:
        self.hits += 1

    def cache_missed(self) -> None:
        self.misses += 1

    def cache_evicted(self, entries: int) -> None:
        self.evictions += entries


def make(entries: int = 3, size: int = 1 << 20) -> tuple[Cache[str], Meter]:
    meter = Meter()
    return Cache(entries, size, meter, len), meter


def test_what_was_put_is_found_again_and_counted() -> None:
    cache, meter = make()
    assert cache.get("a") is None
    cache.put("a", 1, "answer")
    assert cache.get("a") == "answer"
    assert (meter.hits, meter.misses, meter.evictions, len(cache)) == (1, 1, 0, 1)


def test_the_one_used_longest_ago_leaves_first() -> None:
    cache, meter = make(entries=2)
    cache.put("a", 1, "1")
    cache.put("b", 1, "2")
    cache.get("a")
    cache.put("c", 1, "3")
    assert [cache.get(key) for key in "abc"] == ["1", None, "3"]
    assert meter.evictions == 1


def test_bytes_are_bounded_too() -> None:
    cache, meter = make(entries=1000, size=20_000)
    for i in range(100):
        cache.put(i, 100, "x" * 400)
    assert (len(cache), cache.size, meter.evictions) == (20, 20_000, 80)


@pytest.mark.parametrize(("length", "kept"), [(500, True), (501, False)])
def test_an_entry_that_would_push_out_many_is_not_kept(length: int, kept: bool) -> None:
    """A sixteenth of all bytes at most; 500 more are reckoned for each entry."""
    cache, meter = make(size=16 * 1100)
    cache.put("a", 100, "x" * length)
    assert (len(cache) == 1, meter.evictions) == (kept, 0)


def test_an_answer_put_again_replaces_the_first_and_its_size() -> None:
    cache, _ = make()
    cache.put("a", 1, "long answer")
    cache.put("a", 1, "new")
    assert (cache.get("a"), len(cache), cache.size) == ("new", 1, 504)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 900))),
    st.integers(1, 6),
    st.integers(1, 20_000),
)
def test_it_is_a_dictionary_that_forgets(steps: list[tuple[bool, int, int]], entries: int, size: int) -> None:
    cache, _ = make(entries, size)
    last: dict[int, str] = {}
    for puts, key, length in steps:
        if puts:
            last[key] = f"{key}".ljust(length)
            cache.put(key, 8, last[key])
        else:
            assert cache.get(key) in (None, last.get(key))
        assert len(cache) <= entries
        assert cache.size <= size


class Collides:
    """Another input with the same hash."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collides) and self.value == other.value


def test_inputs_whose_hashes_collide_do_not_share_an_answer() -> None:
    cache, _ = make()
    cache.put(("d", Collides(1)), 1, "one")
    assert cache.get(("d", Collides(2))) is None
    assert cache.get(("d", Collides(1))) == "one"


def numbers(*values: float) -> Rows:
    return Rows(np.array([values]), [])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (rows_key("d1", numbers(1, 2)), rows_key("d2", numbers(1, 2))),
        (rows_key("d", numbers(1, 2)), rows_key("d", numbers(1, 3))),
        (rows_key("d", numbers(0.0)), rows_key("d", numbers(-0.0))),
        (rows_key("d", numbers(1, 2)), rows_key("d", Rows(np.array([[1.0], [2.0]]), []))),
        (rows_key("d", Rows(np.zeros((2, 0)), [])), rows_key("d", Rows(np.zeros((3, 0)), []))),
        (rows_key("d", Rows(np.zeros((1, 0)), [["a"]])), rows_key("d", Rows(np.zeros((1, 0)), [["b"]]))),
        (rows_key("d", Rows(np.zeros((1, 0)), [["None"]])), rows_key("d", Rows(np.zeros((1, 0)), [[None]]))),
        (
            rows_key("d", Rows(np.zeros((2, 0)), [["a", "b"]])),
            rows_key("d", Rows(np.zeros((1, 0)), [["a"], ["b"]])),
        ),
    ],
)
def test_whatever_may_change_the_answer_is_in_the_key(a: tuple[Hashable, int], b: tuple[Hashable, int]) -> None:
    assert a[0] != b[0]


def test_the_same_rows_have_the_same_key_wherever_they_lie() -> None:
    table = np.arange(12.0).reshape(4, 3)
    a, b = Rows(table[1:2], [["x"]]), Rows(table[1:2].copy(), [["x"]])
    assert rows_key("d", a) == rows_key("d", b)
    assert rows_key("d", Rows(np.array([[np.nan]]), [])) == rows_key("d", Rows(np.array([[np.nan]]), []))


def test_a_keys_bytes_are_reckoned() -> None:
    assert rows_key("d", numbers(1, 2))[1] == 16
    assert rows_key("d", Rows(np.zeros((1, 2)), [["abc"], [None]]))[1] == 16 + 72 + 60
