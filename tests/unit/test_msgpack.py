"""Encoded arrays are put together as if their elements had been read and written again."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark import msgpack

ELEMENTS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.lists(st.integers(0, 9)), max_size=40)
SIZES = (0, 1, 15, 16, 65_535, 65_536)


@given(ELEMENTS)
def test_an_array_of_encoded_elements_is_read_as_they_were(elements: list[object]) -> None:
    found = msgpack.array([msgspec.msgpack.encode(element) for element in elements])
    assert msgspec.msgpack.decode(found) == elements
    assert msgpack.length(found) == len(elements)


@given(st.lists(ELEMENTS, max_size=6))
def test_merged_arrays_hold_all_elements_in_order(arrays: list[list[object]]) -> None:
    found = msgpack.merge([msgspec.msgpack.encode(each) for each in arrays])
    assert msgspec.msgpack.decode(found) == [element for each in arrays for element in each]


@pytest.mark.parametrize("size", SIZES)
def test_headers_of_every_size_are_read(size: int) -> None:
    encoded = msgspec.msgpack.encode([7] * size)
    assert msgpack.length(encoded) == size
    assert msgspec.msgpack.decode(msgpack.merge([encoded, encoded])) == [7] * (2 * size)


@pytest.mark.parametrize("encoded", [b"", b"\x80", b"\xc0", b"\xdc\x00", b"\xdd\x00\x00\x00", b"\xa0", b"\x8f"])
def test_what_does_not_begin_as_an_array_is_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin as a MessagePack array"):
        msgpack.length(encoded)
    with pytest.raises(ValueError, match="does not begin as a MessagePack array"):
        msgpack.merge([b"\x90", encoded])
