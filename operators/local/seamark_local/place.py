"""Where deployments run, as the command line sees it: on this machine (`machine`) or in a cluster (`cluster.place`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from seamark.seen import Verb

if TYPE_CHECKING:
    from rich.console import RenderableType

    from seamark_local.history import History

__all__ = ["EFFECTS", "Place", "said"]

#: What each command brings about, for people.
EFFECTS: Mapping[Verb, str] = {
    "promote": "the challenger will become the champion",
    "abort": "all traffic will go back to the champion; the challenger is given up",
    "pause": "nothing will be decided until seamark resume; traffic stays as it is",
    "resume": "rollout and retraining will go on",
    "approve": "the challenger will count as approved by you",
}


class Place(Protocol):
    """Errors: `NotFound` for an unknown name, other `UserError`s, and `Unavailable` where it may work later.

    name: a ModelDeployment; None where all are meant.
    """

    @property
    def interval(self) -> float:
        """Seconds between two looks of somebody who watches."""
        ...

    def overview(self, name: str | None) -> dict[str, Any]:
        """Everything known, for programs; `deployments` are summaries as `seamark.summary` makes them."""
        ...

    def screen(self, name: str | None) -> RenderableType:
        """The same for people."""
        ...

    def ask(self, name: str, verb: Verb, by: str, reason: str) -> str:
        """Ask the operator and say what came of it; `UserError` if it refused. by: empty for whoever asks."""
        ...

    def history(self, name: str) -> History:
        """What was decided and on which evidence. name: a ModelDeployment, or one of its revisions."""
        ...


def said(verb: Verb, message: str) -> str:
    """What came of an obeyed command. message: what the operator has to say, such as what a promotion waits for."""
    return EFFECTS[verb] + (f"; {message}" if message and verb in ("promote", "approve") else "")
