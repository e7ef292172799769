"""Records on disk: whatever happens to the bytes, every intact record is read and none is made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark_monitor.framing import OVERHEAD, Damage, Record, encode, scan

MARKER = bytes.fromhex("9f3a5c7e11d2b846")
records = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=200)), max_size=8)


def written(contents: list[tuple[int, bytes]]) -> tuple[bytes, list[Record]]:
    data, expected = b"", []
    for count, payload in contents:
        start = len(data)
        data += encode(MARKER, count, payload)
        expected.append(Record(start, len(data), count, payload))
    return data, expected


def intact(data: bytes) -> list[Record]:
    return [place for place in scan(data, MARKER) if isinstance(place, Record)]


@given(records)
def test_what_is_written_is_read(contents: list[tuple[int, bytes]]) -> None:
    data, expected = written(contents)
    assert list(scan(data, MARKER)) == expected


@given(records, st.data())
def test_a_cut_at_any_byte_leaves_all_records_before_it(contents: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole, expected = written(contents)
    cut = data.draw(st.integers(0, len(whole)))
    places = list(scan(whole[:cut], MARKER))
    kept = [record for record in expected if record.end <= cut]
    end = kept[-1].end if kept else 0
    assert places[: len(kept)] == kept
    assert all(isinstance(place, Damage) for place in places[len(kept) :])
    assert bool(places[len(kept) :]) == (end < cut)


@given(records, st.data())
def test_flipped_bits_cost_only_the_records_they_hit(contents: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole, expected = written(contents)
    damaged = bytearray(whole)
    flips = data.draw(st.sets(st.integers(0, max(0, 8 * len(whole) - 1)), max_size=4)) if whole else set()
    for bit in flips:
        damaged[bit // 8] ^= 1 << bit % 8
    hit = {bit // 8 for bit in flips}
    untouched = [record for record in expected if not any(record.start <= byte < record.end for byte in hit)]
    assert intact(bytes(damaged)) == untouched


@given(records, st.binary(min_size=1, max_size=60), st.data())
def test_foreign_bytes_between_records_are_stepped_over(
    contents: list[tuple[int, bytes]], junk: bytes, data: st.DataObject
) -> None:
    parts = [encode(MARKER, count, payload) for count, payload in contents]
    place = data.draw(st.integers(0, len(parts)))
    whole = b"".join(parts[:place]) + junk + b"".join(parts[place:])
    assert [(record.count, record.payload) for record in intact(whole)] == contents


@given(st.binary(max_size=400))
def test_a_payload_that_imitates_a_record_never_becomes_one(inner: bytes) -> None:
    forged = encode(bytes(8), 7, inner)
    data = bytearray(encode(MARKER, 1, forged))
    data[OVERHEAD] ^= 1
    assert intact(bytes(data)) == []


@given(st.binary(max_size=300))
def test_any_bytes_are_covered_without_gaps(data: bytes) -> None:
    position = 0
    for place in scan(data, MARKER):
        assert place.start == position
        assert place.end > position
        position = place.end
    assert position == len(data)


@pytest.mark.parametrize(
    ("damaged_byte", "lost"),
    [
        pytest.param(OVERHEAD, 5, id="in the payload: the header still tells how many"),
        pytest.param(0, 1, id="in the marker: at least one"),
        pytest.param(9, 1, id="in the length: at least one"),
    ],
)
def test_what_was_lost_is_counted_as_far_as_can_be_told(damaged_byte: int, lost: int) -> None:
    data = bytearray(encode(MARKER, 5, b"payload") + encode(MARKER, 1, b"next"))
    data[damaged_byte] ^= 0x10
    first, second = scan(bytes(data), MARKER)
    assert first == Damage(0, OVERHEAD + 7, lost)
    assert isinstance(second, Record)
