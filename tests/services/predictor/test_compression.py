"""Compressed bodies are read whole or refused, and never grow beyond the limit."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidInput
from seamark_predictor.compression import compress, decompress, encoding_of, wants_gzip


@given(st.binary(max_size=5000))
def test_what_is_compressed_comes_back(content: bytes) -> None:
    for packed in (gzip.compress(content), zlib.compress(content), compress(content)):
        assert decompress(packed, 5000) == content


def test_several_members_are_one_content() -> None:
    assert decompress(gzip.compress(b"a") + gzip.compress(b"b"), 2) == b"ab"


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_of_the_content(over: int) -> None:
    packed = gzip.compress(b"0" * (100_000 + over))
    if not over:
        assert len(decompress(packed, 100_000)) == 100_000
        return
    with pytest.raises(InvalidInput, match="more than 100000 bytes") as caught:
        decompress(packed, 100_000)
    assert caught.value.status == 413


def test_many_small_members_count_together() -> None:
    with pytest.raises(InvalidInput, match="more than 10 bytes"):
        decompress(gzip.compress(b"12345") * 3, 10)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"no gzip", "not compressed as it says"),
        (gzip.compress(b"content")[:-3], "cut off"),
        (gzip.compress(b"content") + b"more", "not compressed as it says"),
    ],
)
def test_what_is_not_whole_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        decompress(body, 1000)


@pytest.mark.parametrize(
    ("given_", "found"), [(None, ""), ("identity", ""), (" GZIP ", "gzip"), ("deflate", "deflate"), ("", "")]
)
def test_encodings(given_: str | None, found: str) -> None:
    assert encoding_of({} if given_ is None else {"content-encoding": given_}) == found


@pytest.mark.parametrize("given_", ["br", "gzip, gzip", "x" * 1000])
def test_other_encodings_are_refused(given_: str) -> None:
    with pytest.raises(InvalidInput, match="allowed: gzip, deflate, identity") as caught:
        encoding_of({"content-encoding": given_})
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("accepted", "wants"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip; q=0.0", False), ("br", False), ("", False)],
)
def test_gzip_is_sent_to_those_who_take_it(accepted: str, wants: bool) -> None:
    assert wants_gzip({"accept-encoding": accepted}) is wants
