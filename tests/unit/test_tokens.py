"""A token allows one scope until it expires, to who holds the key's signature, and nothing else to anyone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from seamark.tokens import MIN_KEY, holds, sign

KEY = bytes(range(MIN_KEY))
READ = "read/default/churn"
EXPIRES = 1_800_000_000
NOW = EXPIRES - 1.0

keys = st.binary(min_size=MIN_KEY, max_size=80)
names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
owners = st.tuples(st.sampled_from(["read", "write"]), names, names)
expiries = st.integers(1, 10**12 - 1)


def signed(scope: str, expiry: str, key: bytes = KEY) -> str:
    """A token with a right signature, whatever it says."""
    digest = hmac.new(key, f"{scope}.{expiry}".encode(), hashlib.sha256).digest()
    return f"{scope}.{expiry}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def holds_anything(token: str, key: bytes = KEY, now: float = NOW) -> bool:
    """Does it allow the scope that it names itself, as a server asks that finds the scope in the token?"""
    return holds(key, token, token.partition(".")[0], now)


# --- what a token is


@pytest.mark.parametrize(
    ("scope", "expires", "token"),
    [
        (READ, EXPIRES, "read/default/churn.1800000000.uQwzLE3erWDLk2U1nOw8RqYmo3MR1jZ4j2AY0F38-hI"),
        ("write/default/churn", 0, "write/default/churn.0.WykkQNcfZXXXf4lHl08-Z2uwzjChcFn15I0bUXRfnDc"),
    ],
)
def test_a_token_stays_the_same_from_version_to_version(scope: str, expires: int, token: str) -> None:
    assert sign(KEY, scope, expires) == token == signed(scope, str(expires))
    assert holds(KEY, token, scope, NOW)


@given(key=keys, owner=owners, expires=expiries)
def test_a_token_can_be_sent_in_a_header_and_does_not_show_the_key(
    key: bytes, owner: tuple[str, str, str], expires: int
) -> None:
    scope = "/".join(owner)
    token = sign(key, scope, expires)
    assert set(token) <= set(string.ascii_letters + string.digits + "-_/.")
    assert token.split(".")[:2] == [scope, str(expires)]
    assert len(token.split(".")[2]) == 43


# --- when it holds


@given(key=keys, owner=owners, expires=expiries, left=st.floats(-1e12, 1e12))
def test_a_token_holds_for_its_scope_until_it_expires(
    key: bytes, owner: tuple[str, str, str], expires: int, left: float
) -> None:
    scope, now = "/".join(owner), expires - left
    assert holds(key, sign(key, scope, expires), scope, now) is (now < expires)


@pytest.mark.parametrize(("now", "is_held"), [(EXPIRES - 0.001, True), (EXPIRES, False), (EXPIRES + 0.001, False)])
def test_a_token_ends_at_the_very_second_it_names(now: float, is_held: bool) -> None:
    assert holds(KEY, sign(KEY, READ, EXPIRES), READ, now) is is_held


@given(st.floats(allow_nan=False))
def test_a_token_without_an_expiry_holds_for_ever(now: float) -> None:
    assert holds(KEY, sign(KEY, READ), READ, now)


@pytest.mark.parametrize("now", [float("nan"), float("inf")])
def test_a_clock_that_says_nothing_lets_no_token_in_that_expires(now: float) -> None:
    assert not holds(KEY, sign(KEY, READ, EXPIRES), READ, now)


# --- when it does not


@given(mine=owners, yours=owners, expires=st.just(0) | expiries)
def test_a_token_of_one_scope_never_holds_for_another(
    mine: tuple[str, str, str], yours: tuple[str, str, str], expires: int
) -> None:
    assume(mine != yours)
    token = sign(KEY, "/".join(mine), expires)
    assert not holds(KEY, token, "/".join(yours), 0.0)
    assert not holds(KEY, "/".join(yours) + token[len("/".join(mine)) :], "/".join(yours), 0.0)


OTHER_SCOPES = [
    "write/default/churn",
    "read/default/churn2",
    "read/default/chur",
    "read/default-churn",
    "read/other/churn",
    "read/default",
    "read/default/churn/",
    "",
]


@pytest.mark.parametrize("scope", OTHER_SCOPES)
def test_neither_verb_nor_namespace_nor_deployment_may_differ(scope: str) -> None:
    assert not holds(KEY, sign(KEY, READ), scope, NOW)


@given(mine=keys, yours=keys, expires=st.just(0) | expiries)
def test_a_token_of_one_key_never_holds_for_another(mine: bytes, yours: bytes, expires: int) -> None:
    # HMAC pads keys with zeros up to a block of 64 bytes and hashes longer ones: those are one key by its definition.
    assume(mine.rstrip(b"\0") != yours.rstrip(b"\0"))
    assert not holds(yours, sign(mine, READ, expires), READ, 0.0)


def test_no_character_can_be_changed_left_out_or_added() -> None:
    token = sign(KEY, READ, EXPIRES)
    for i in range(len(token) + 1):
        for new in ("", *string.printable, "é", "\0"):
            for changed in (token[:i] + new + token[i + 1 :], token[:i] + new + token[i:]):
                assert changed == token or not (holds(KEY, changed, READ, NOW) or holds_anything(changed)), changed


@given(
    start=st.integers(0, 90),
    end=st.integers(0, 90),
    text=st.text(st.characters(codec="utf-8"), max_size=80) | st.text("./-0123456789abcrwtedi", max_size=20),
    expires=st.just(0) | expiries,
)
def test_no_part_can_be_replaced_by_anything(start: int, end: int, text: str, expires: int) -> None:
    token = sign(KEY, READ, expires)
    changed = token[:start] + text + token[end:]
    assume(changed != token)
    assert not holds(KEY, changed, READ, 0.0)
    assert not holds_anything(changed, now=0.0)


@given(st.text(st.characters(codec="utf-8")))
def test_what_was_never_signed_holds_for_nothing(text: str) -> None:
    assert not holds(KEY, text, READ, NOW)
    assert not holds_anything(text)


@given(first=expiries, second=st.just(0) | expiries)
def test_the_signature_of_one_expiry_does_not_serve_another(first: int, second: int) -> None:
    assume(first != second)
    signature = sign(KEY, READ, first).rpartition(".")[2]
    assert not holds(KEY, f"{READ}.{second}.{signature}", READ, 0.0)


def test_the_dots_cannot_be_moved() -> None:
    """What is signed is the text with its dots: a scope that ends in the digits of an expiry is another text."""
    token = sign(KEY, "read/a/b", 12)
    assert not holds_anything(token.replace("b.12.", "b1.2."), now=0.0)
    assert not holds_anything(token.replace("b.12.", "b12.."), now=0.0)


NO_EXPIRIES = ["", "00", "01", "-1", "+5", "1e9", "1.5", " 5", "5 ", "5\n", "٣", "５", "1_000", "9" * 13]


@pytest.mark.parametrize("expiry", NO_EXPIRIES)
def test_an_expiry_has_one_way_to_be_written_however_well_it_is_signed(expiry: str) -> None:
    assert not holds(KEY, signed(READ, expiry), READ, 0.0)


# --- what cannot be signed


@pytest.mark.parametrize("length", [0, 1, MIN_KEY - 1])
def test_a_short_key_signs_nothing(length: int) -> None:
    with pytest.raises(ValueError, match=f"a key of {length} bytes is shorter than 32"):
        sign(b"k" * length, READ)


@pytest.mark.parametrize("scope", ["", "read.x", "Read", "read default", "read/é", "read\n", "r" * 201, "a\0"])
def test_what_is_no_scope_is_refused(scope: str) -> None:
    with pytest.raises(ValueError, match="is not a scope of lower-case letters, digits, dashes and slashes"):
        sign(KEY, scope)


def test_the_longest_scope_is_signed() -> None:
    assert holds(KEY, sign(KEY, "r" * 200), "r" * 200, NOW)


@pytest.mark.parametrize("expires", [-1, 10**12])
def test_a_time_that_no_checker_takes_gives_a_token_that_holds_for_nothing(expires: int) -> None:
    assert not holds(KEY, sign(KEY, READ, expires), READ, 0.0)
