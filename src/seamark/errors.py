"""Every error Seamark raises on purpose.

SeamarkError
 +- UserError            the user can mend it: exit status 2, HTTP 4xx
 |   +- InvalidSpec      a manifest breaks the schema; names the path
 |   +- InvalidPackage   a model package is unreadable, altered or refused
 |   +- InvalidInput     a request breaks the protocol or the contract
 |   +- Conflict         something else holds what is needed (a port, a folder, a name)
 |   +- NotFound         the named thing does not exist
 +- Unavailable          it may work later: retry, HTTP 503
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "InvalidInput",
    "InvalidPackage",
    "InvalidSpec",
    "NotFound",
    "SeamarkError",
    "Unavailable",
    "UserError",
]


class SeamarkError(Exception):
    """Root of the tree: `except SeamarkError` catches what Seamark raises on purpose."""


class UserError(SeamarkError):
    """Wrong in a way the user can mend; the message says how."""


class InvalidSpec(UserError):  # noqa: N818 - names are states, not suffixes
    """A manifest breaks the schema.

    `path` is where, as `spec.rollout.steps[2].weight`; `problem` is what was got and what is allowed.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class InvalidPackage(UserError):  # noqa: N818 - names are states, not suffixes
    """A model package cannot be used: missing, altered, truncated, or of a refused format."""


class InvalidInput(UserError):  # noqa: N818 - names are states, not suffixes
    """A request breaks the protocol or the contract.

    `status` is the HTTP status to answer. `violations` are (feature, rule, rows) found while parsing;
    the monitor counts them.
    """

    def __init__(self, message: str, *, status: int = 400, violations: tuple[tuple[str, str, int], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.violations = violations


class Conflict(UserError):  # noqa: N818 - names are states, not suffixes
    """Something else holds what is needed."""


class NotFound(UserError):  # noqa: N818 - names are states, not suffixes
    """The named thing does not exist."""


class Unavailable(SeamarkError):  # noqa: N818 - names are states, not suffixes
    """It may work later; the caller may retry."""
