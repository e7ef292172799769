"""Who may do what to which deployment's log: bearer tokens, checked before a request's body is read."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from seamark import tokens
from seamark.errors import InvalidInput, Unavailable
from seamark_collector.secret import SecretFile

__all__ = ["MIN_FEEDBACK_TOKEN", "Access", "check_scope"]

#: Bytes of the feedback token, at least: what nobody guesses at a hundred tries a second.
MIN_FEEDBACK_TOKEN = 16


class Access:
    """key: signs the tokens of monitors and Jobs; feedback: the token for labels. What has none is open to all."""

    def __init__(
        self,
        key: SecretFile | None = None,
        feedback: SecretFile | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """now: Unix seconds."""
        self._key = key
        self._feedback = feedback
        self._now = now

    @property
    def problem(self) -> str:
        """Why tokens cannot be checked now, or ""."""
        try:
            for secret in (self._key, self._feedback):
                if secret is not None:
                    secret.read()
        except Unavailable as error:
            return str(error)
        return ""

    def scope(self, authorization: str) -> str | None:
        """The scope of the token in the header; None where everything is open.

        Raises `InvalidInput` (401) where there is no token, or one that this key did not sign or that has expired.
        """
        if self._key is None:
            return None
        token = _bearer(authorization)
        scope = token.partition(".")[0]
        if not tokens.holds(self._key.read(), token, scope, self._now()):
            raise _unknown("the token is not valid here, or no longer")
        return scope

    def check_feedback(self, authorization: str) -> None:
        """Raises `InvalidInput` (401) where the header does not hold the token for labels."""
        if self._feedback is None:
            return
        if not hmac.compare_digest(_bearer(authorization).encode(), self._feedback.read()):
            raise _unknown("the token is not the one for feedback")


def check_scope(held: str | None, wanted: str) -> None:
    """Raises `InvalidInput` (403) where a token's scope is another one; None is open."""
    if held not in (None, wanted):
        raise InvalidInput(f"Cannot allow {wanted[:200]}: the token is for {held}", status=403)


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unknown("the request has no header 'Authorization: Bearer TOKEN'")
    return token.strip()


def _unknown(cause: str) -> InvalidInput:
    return InvalidInput(f"Cannot let you in: {cause}", status=401)
