"""A command is set once, never over another, and what the operator made of it is told, if it is told in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from seamark.errors import NotFound, Unavailable, UserError
from seamark.seen import Verb
from seamark_local.cluster import commands
from seamark_local.cluster.commands import Commands
from seamark_local.cluster.kubectl import Context, Kubectl
from seamark_local.cluster.reader import Reader

Make = Callable[..., dict[str, Any]]
COMMAND = "seamark.dev/command"
REFUSED = {"message": "Cannot abort churn: no rollout is running"}
ON_TRIAL = {"phase": "Canary", "challenger": "churn-bbbbbbbb", "step": "1 of 2: weight 5 %"}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PATIENCE", 5.0)
    monkeypatch.setattr(commands, "SETTLED", 0.6)
    monkeypatch.setattr(commands, "_INTERVAL", 0.05)


def ask(verb: Verb = "abort", by: str = "ana", reason: str = "") -> str:
    return Commands(Reader(Kubectl(Context("prod", "models")), "models")).ask("churn", verb, by, reason)


@contextmanager
def operator(kubernetes: Any, *statuses: dict[str, Any]) -> Iterator[list[str]]:
    """Takes the annotation away and then writes these statuses one after the other; yields what it read."""
    read: list[str] = []
    over = threading.Event()

    def work() -> None:
        while not (text := kubernetes.annotations().get(COMMAND)):
            if over.wait(0.02):
                return
        read.append(text)
        [found] = kubernetes.world["objects"]
        del found["metadata"]["annotations"][COMMAND]
        kubernetes.save()
        for status in statuses:
            over.wait(0.2)
            found["status"] = found["status"] | status
            kubernetes.save()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield read
    finally:
        over.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("verb", "before", "status", "message"),
    [
        ("abort", ON_TRIAL, {"challenger": None, "phase": "Serving"}, ""),
        ("promote", ON_TRIAL, {"step": "all steps are done: promoting", "message": "waiting"}, "waiting"),
        ("pause", ON_TRIAL, {"phase": "Paused", "message": "paused"}, "paused"),
        ("resume", {"phase": "Paused"}, {"phase": "Canary"}, ""),
        ("approve", ON_TRIAL, {"message": "waiting for approval: 1 of 2"}, "waiting for approval: 1 of 2"),
    ],
)
def test_an_obeyed_command_tells_what_is_to_be_known(
    kubernetes: Any, deployment: Make, verb: Verb, before: dict[str, Any], status: dict[str, Any], message: str
) -> None:
    kubernetes.put(deployment(**before))
    with operator(kubernetes, status) as read:
        assert ask(verb, reason="looks good") == message
    assert read == [f"{verb} by ana: looks good"]


def test_an_approval_that_nothing_shows_is_taken(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment(**ON_TRIAL))
    with operator(kubernetes):
        assert ask("approve") == ""


@pytest.mark.parametrize("before", [{}, REFUSED], ids=["for the first time", "again, in the same words"])
def test_a_refusal_is_an_error_in_the_operators_words(
    kubernetes: Any, deployment: Make, before: dict[str, Any]
) -> None:
    kubernetes.put(deployment(**before))
    with operator(kubernetes, REFUSED), pytest.raises(UserError) as caught:
        ask()
    assert str(caught.value) == REFUSED["message"]


def test_an_earlier_refusal_is_not_taken_for_this_ones(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment(**ON_TRIAL | REFUSED))
    with operator(kubernetes, {"message": "", "challenger": None}):
        assert ask() == ""


def test_who_asks_is_the_clusters_user_if_nobody_is_named(kubernetes: Any, deployment: Make) -> None:
    kubernetes.world["user"] = "system:serviceaccount:ci:deployer"
    kubernetes.put(deployment())
    with operator(kubernetes, {"phase": "Paused"}) as read:
        ask("pause", by="")
    assert read == ["pause by system/serviceaccount/ci/deployer"]


def test_a_user_that_the_cluster_does_not_name_must_be_given(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment())
    kubernetes.fails("whoami", "error: unknown command")
    with pytest.raises(
        UserError, match="so say it with --by: Cannot reach the cluster of context prod: unknown command"
    ):
        ask(by="")
    assert kubernetes.annotations() == {}


@pytest.mark.parametrize(
    ("annotations", "cause"),
    [
        ({COMMAND: "pause by bob"}, "the operator has not read an earlier command yet: pause by bob"),
        (
            {"seamark.dev/reconcile": "disabled"},
            "annotation seamark.dev/reconcile tells the operator to leave it alone",
        ),
    ],
)
def test_a_command_that_would_be_lost_or_wait_for_ever_is_not_set(
    kubernetes: Any, deployment: Make, annotations: dict[str, str], cause: str
) -> None:
    found = deployment()
    found["metadata"]["annotations"] = annotations
    kubernetes.put(found)
    with pytest.raises(UserError) as caught:
        ask()
    assert str(caught.value) == f"Cannot abort churn: {cause}"
    assert kubernetes.annotations() == annotations


CONFLICT = "Error from server (Conflict): the object has been modified"


def test_a_change_meanwhile_is_looked_at_before_the_next_try(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment())
    kubernetes.fails("patch", CONFLICT, times=4)
    with operator(kubernetes, {"phase": "Paused"}):
        ask("pause")
    assert [call[0] for call in kubernetes.calls()][:10] == ["get", "patch"] * 5


def test_changes_without_end_are_given_up(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment())
    kubernetes.fails("patch", CONFLICT)
    with pytest.raises(Unavailable, match="Cannot abort churn: it changed each of the 5 times"):
        ask()


def test_who_may_not_change_it_is_told_so(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment())
    kubernetes.fails("patch", "Error from server (Forbidden): ana cannot patch")
    with pytest.raises(UserError, match="Cannot do this in context prod: ana cannot patch"):
        ask()


def test_an_operator_that_reads_nothing_is_not_waited_for_long(
    kubernetes: Any, deployment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PATIENCE", 0.4)
    kubernetes.put(deployment())
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        ask()
    assert time.monotonic() - began < 4.0
    assert str(caught.value) == (
        "Cannot tell what came of abort churn: the operator has not read it within 0 s; it stays set for the operator, "
        "unless you take it back: kubectl annotate -n models modeldeployments.seamark.dev churn seamark.dev/command-"
    )
    assert kubernetes.annotations() == {COMMAND: "abort by ana"}


def test_an_operator_that_reports_nothing_is_no_success(
    kubernetes: Any, deployment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PATIENCE", 1.5)
    kubernetes.put(deployment(**ON_TRIAL))
    with operator(kubernetes), pytest.raises(Unavailable, match="the operator has read it, but reported nothing"):
        ask()


def test_a_cluster_that_is_away_for_a_moment_is_asked_again(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment())

    def obey() -> None:
        while not kubernetes.annotations():
            time.sleep(0.02)
        kubernetes.world["objects"] = [deployment(phase="Paused", message="paused")]
        kubernetes.fails("get", "The connection to the server was refused", times=2)

    thread = threading.Thread(target=obey)
    thread.start()
    assert ask("pause") == "paused"
    thread.join(10)
    kubernetes.load()
    assert kubernetes.world["failures"][0]["times"] == 0


def test_a_deployment_that_is_deleted_meanwhile_ends_the_wait(kubernetes: Any, deployment: Make) -> None:
    kubernetes.put(deployment())

    def delete() -> None:
        while not kubernetes.annotations():
            time.sleep(0.02)
        kubernetes.world["objects"] = []
        kubernetes.save()

    thread = threading.Thread(target=delete)
    thread.start()
    with pytest.raises(NotFound, match="Cannot tell what came of it: churn was deleted"):
        ask()
    thread.join(10)
