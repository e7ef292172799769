"""The seamark command with --context: the laptop's screens and verbs, and one line with status 2 for a mistake."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

from seamark_local import looking
from seamark_local.home import make_home
from seamark_local.store import Store

Make = Callable[..., dict[str, Any]]


def refused(done: Result, status: int = 2) -> str:
    """The one line that a command which refused said."""
    assert done.exit_code == status, done.output
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


@pytest.fixture
def rollout(kubernetes: Any, deployment: Make, revision: Make) -> Any:
    """A rollout in namespace models of context prod, and another deployment elsewhere."""
    trial = deployment(
        phase="Canary",
        challenger="churn-bbbbbbbb",
        weights={"churn-aaaaaaaa": 95, "churn-bbbbbbbb": 5},
        step="2 of 2: hold 1m of 10m at 5 %",
        verdict={"outcome": "Inconclusive", "reason": "NotEnoughData", "message": "too few"},
        alarms=["feature age"],
        url="http://churn-models.example.com",
    )
    champion = revision(drift="0.10 > 0.10 age", quality="0.953")
    challenger = revision("churn-bbbbbbbb", phase="Canary", role="challenger", weight=5)
    kubernetes.put(trial, champion, challenger)
    kubernetes.put(deployment("fraud", "shop"), revision("fraud-aaaaaaaa", "shop"))
    return kubernetes


# --- status


def test_status_shows_a_rollout_as_on_a_laptop(rollout: Any) -> None:
    done = rollout.run("status", "--context", "prod")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "context prod, namespace models"
    assert max(map(len, lines)) <= 100
    [row] = [line for line in lines if "aaaaaaaa" in line]
    assert row.split() == [
        "churn",
        "aaaaaaaa",
        "champion",
        "95",
        "%",
        "1/1",
        "–",
        "–",
        "–",
        "0.10",
        ">",
        "0.10",
        "0.953",
    ]
    for words in (
        "challenger",
        "Inconclusive: too few",
        "2 of 2: hold 1m of 10m at 5 %",
        "feature age",
        "http://churn-models.example.com",
    ):
        assert words in done.stdout
    assert "fraud" not in done.stdout


def test_the_status_of_all_namespaces_names_them(rollout: Any) -> None:
    shown = rollout.run("status", "-A", "--context", "prod").stdout
    assert "context prod, all namespaces" in shown
    assert re.search(r"^models/ +aaaaaaaa.*\nchurn ", shown, re.MULTILINE)
    assert "shop/fraud: ready" in shown


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["churn"]),
        (["churn"], ["churn"]),
        (["-n", "shop"], ["fraud"]),
        (["-A"], ["churn", "fraud"]),
        (["fraud", "-A"], ["fraud"]),
    ],
    ids=" ".join,
)
def test_status_for_machines_has_the_deployments_meant(rollout: Any, arguments: list[str], names: list[str]) -> None:
    found = json.loads(rollout.run("status", *arguments, "--json", "--context", "prod").stdout)
    assert [one["name"] for one in found["deployments"]] == names
    assert found["context"] == "prod"
    assert found["namespace"] == (None if "-A" in arguments else "shop" if "shop" in arguments else "models")
    assert all(one["revisions"] for one in found["deployments"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-n", "default"], "no ModelDeployment in this namespace; -A shows those of all"),
        (["-A"], "no ModelDeployment in this cluster"),
    ],
)
def test_where_there_is_nothing_it_says_so(kubernetes: Any, arguments: list[str], words: str) -> None:
    done = kubernetes.run("status", *arguments, "--context", "prod")
    assert (done.exit_code, words in done.stdout) == (0, True)


def test_who_may_not_read_namespaces_still_sees_an_empty_one(kubernetes: Any) -> None:
    kubernetes.fails("namespace", "Error from server (Forbidden): ana cannot get")
    assert "no ModelDeployment" in kubernetes.run("status", "--context", "prod").stdout


UNKNOWN = "Cannot find {name}: no ModelDeployment has this name in namespace models; known: churn"


@pytest.mark.parametrize("verb", ["status", "promote", "history"])
def test_an_unknown_deployment_is_refused_with_the_known_ones(rollout: Any, verb: str) -> None:
    assert refused(rollout.run(verb, "chrun", "--context", "prod")) == UNKNOWN.format(name="chrun")


def test_an_unknown_deployment_of_all_namespaces_is_refused(rollout: Any) -> None:
    line = refused(rollout.run("status", "chrun", "-A", "--context", "prod"))
    assert line == "Cannot find chrun: no ModelDeployment has this name; known: churn, fraud"


@pytest.mark.parametrize("name", [[], ["churn"]], ids=["all", "one"])
def test_an_unknown_namespace_is_refused(rollout: Any, name: list[str]) -> None:
    line = refused(rollout.run("status", *name, "-n", "modles", "--context", "prod"))
    assert line == "Cannot find namespace modles in context prod; choose another with -n"


def test_an_unknown_context_is_refused(kubernetes: Any) -> None:
    line = refused(kubernetes.run("status", "--context", "pord"))
    assert line == "Cannot find context pord: cannot locate context pord; see kubectl config get-contexts"


def test_a_cluster_without_seamark_is_refused(kubernetes: Any) -> None:
    kubernetes.fails("get", 'error: the server doesn\'t have a resource type "modeldeployments"')
    line = refused(kubernetes.run("status", "--context", "prod"))
    assert line == "Cannot find Seamark in context prod: the cluster does not know ModelDeployments"


def test_a_cluster_that_does_not_answer_is_no_mistake_of_the_user(kubernetes: Any) -> None:
    kubernetes.fails("get", "The connection to the server was refused")
    line = refused(kubernetes.run("status", "--context", "prod"), status=1)
    assert line == "Cannot reach the cluster of context prod: The connection to the server was refused"


def test_watching_goes_on_and_tells_of_an_outage(rollout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to a terminal: one screen after the other."""
    looks = 0

    def look_again(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            rollout.fails("get", "The connection to the server was refused")
        if looks == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(looking, "time", SimpleNamespace(sleep=look_again, strftime=time.strftime))
    done = rollout.run("status", "-w", "--context", "prod")
    assert done.exit_code == 130
    assert done.stdout.count("context prod, namespace models") == 2
    assert re.search(r"was refused; this is what was true at \d\d:\d\d:\d\d ", " ".join(done.stdout.split()))


# --- which place is meant


def test_the_context_may_come_from_the_environment(rollout: Any) -> None:
    assert "context prod" in rollout.run("status", SEAMARK_CONTEXT="prod").stdout


def test_a_kubeconfig_alone_means_its_current_context(rollout: Any, tmp_path: Any) -> None:
    (tmp_path / "config").write_text("")
    assert "context here, namespace default" in rollout.run("status", "--kubeconfig", "config").stdout


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], {}),
        ([], {"SEAMARK_CONTEXT": ""}),
        (["--context", ""], {"SEAMARK_CONTEXT": "prod"}),
        (["--home", ".seamark"], {"SEAMARK_CONTEXT": "prod"}),
    ],
)
def test_this_machine_is_meant_where_no_cluster_is_named_or_a_home_is_written_out(
    rollout: Any, arguments: list[str], environment: dict[str, str], tmp_path: Any
) -> None:
    Store(make_home(tmp_path / ".seamark").database).close()
    assert "Seamark is not running" in rollout.run("status", *arguments, **environment).stdout
    assert rollout.calls() == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--home", "x", "--context", "prod"],
            "Cannot use --home with --context or --kubeconfig: one is this machine, the other a cluster",
        ),
        (
            ["--home", "x", "--kubeconfig", "y"],
            "Cannot use --home with --context or --kubeconfig: one is this machine, the other a cluster",
        ),
        (["-n", "x", "-A", "--context", "prod"], "Cannot use -n with -A: give either one namespace or all"),
        (
            ["-n", "x"],
            "Cannot look into namespaces of this machine: name a cluster with --context or --kubeconfig",
        ),
        (["-A"], "Cannot look into namespaces of this machine: name a cluster with --context or --kubeconfig"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(kubernetes: Any, arguments: list[str], line: str) -> None:
    assert refused(kubernetes.run("status", *arguments)) == line


# --- people's decisions


@pytest.mark.parametrize(
    ("verb", "status", "exit_status", "said"),
    [
        (
            "pause",
            {"phase": "Paused"},
            0,
            "churn (namespace models, context prod): nothing will be decided until seamark",
        ),
        (
            "promote",
            {"step": "all steps are done: promoting", "message": "waiting for approval of churn-bbbbbbbb: 0 of 1"},
            0,
            "prod): the challenger will become the champion; waiting for approval of churn-bbbbbbbb: 0 of 1\n",
        ),
        ("abort", {"message": "Cannot abort churn: no"}, 2, "Cannot abort churn: no\n"),
    ],
)
def test_a_decision_ends_with_what_came_of_it(
    rollout: Any, verb: str, status: dict[str, Any], exit_status: int, said: str
) -> None:
    def operate() -> None:
        while not (text := rollout.annotations().get("seamark.dev/command")):
            time.sleep(0.02)
        assert text == f"{verb} by bob: as agreed"
        found = rollout.world["objects"][0]
        del found["metadata"]["annotations"]
        found["status"] |= status
        rollout.save()

    thread = threading.Thread(target=operate)
    thread.start()
    done = rollout.run(verb, "churn", "--by", "bob", "--reason", "as agreed", "--context", "prod")
    thread.join(10)
    assert (done.exit_code, said in done.output) == (exit_status, True), done.output


# --- history


def line(sequence: int, what: str, why: str, **evidence: Any) -> dict[str, Any]:
    return {"sequence": sequence, "time": "2026-01-31T10:00:00Z", "what": what, "reason": why, "evidence": evidence}


@pytest.fixture
def decided(kubernetes: Any, deployment: Make, revision: Make) -> Any:
    gates = [{"metric": "errorRate", "outcome": "Worse", "message": "0.2 against 0.1"}]
    verdict = {"verdict": "Worse", "reason": "GateFailed", "message": "too many errors", "gates": gates}
    kubernetes.put(
        deployment(),
        revision(
            created="2026-01-30T10:00:00Z",
            history=[line(1, "Promote", "Deployed"), line(3, "StartRetraining", "Drift", job="churn-retrain-1")],
        ),
        revision("churn-bbbbbbbb", phase="RolledBack", history=[line(2, "RollBack", "GateFailed", **verdict, step=1)]),
    )
    return kubernetes


def test_history_tells_decisions_with_their_evidence_in_order(decided: Any) -> None:
    shown = decided.run("history", "churn", "--context", "prod").stdout.splitlines()
    assert shown == [
        "2026-01-31T10:00:00Z #1 Promote churn-aaaaaaaa: Deployed",
        "2026-01-31T10:00:00Z #2 RollBack churn-bbbbbbbb: GateFailed",
        "    verdict      Worse (GateFailed): too many errors",
        "    gate         errorRate Worse: 0.2 against 0.1",
        "    step         2",
        "2026-01-31T10:00:00Z #3 StartRetraining churn-aaaaaaaa: Drift",
        "    job          churn-retrain-1",
        "",
        "churn-aaaaaaaa Champion",
        "    version      v-a",
        "    origin       spec",
        "    package      pvc://claim/a",
        f"    digest       {'a' * 64}",
        "    created      2026-01-30T10:00:00Z",
        "churn-bbbbbbbb RolledBack",
        "    version      v-b",
        "    origin       spec",
        "    package      pvc://claim/b",
        f"    digest       {'b' * 64}",
        "    created      2026-01-31T10:00:00Z",
    ]


def test_the_history_of_one_revision_leaves_out_the_others(decided: Any) -> None:
    found = json.loads(decided.run("history", "churn-bbbbbbbb", "--json", "--context", "prod").stdout)
    assert [one["sequence"] for one in found["decisions"]] == [2]
    assert [one["name"] for one in found["versions"]] == ["churn-bbbbbbbb"]
    assert found["deployment"] == "churn"


@pytest.mark.parametrize(("count", "note"), [(19, False), (20, True)])
def test_a_history_that_may_have_lost_its_beginning_says_so(
    kubernetes: Any, deployment: Make, revision: Make, count: int, note: bool
) -> None:
    kubernetes.put(deployment(), revision(history=[line(i, "Promote", "x") for i in range(count)]))
    shown = kubernetes.run("history", "churn", "--context", "prod").stdout
    assert ("only the newest 20 decisions are kept of churn-aaaaaaaa" in shown) is note
