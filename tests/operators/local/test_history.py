"""Whoever checks a decision later finds when, what, why and the evidence, whole."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from seamark.actions import Decision, Notify, Promote, Record
from seamark.seen import Seen
from seamark.state import Revision, State
from seamark_local import audit
from seamark_local.cli import app
from seamark_local.history import Decided, History, Version, lines
from seamark_local.home import make_home
from seamark_local.store import Store


def shown(**evidence: object) -> list[str]:
    decided = Decided(7, "2026-01-31T10:00:00Z", "RollBack", "churn-b", "Aborted", evidence)
    first, *rest = lines(History("churn", (decided,), ()))
    assert first == "2026-01-31T10:00:00Z #7 RollBack churn-b: Aborted"
    return [line.strip() for line in rest]


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({}, []),
        ({"verdict": None}, []),
        ({"verdict": "Worse", "reason": "R", "message": "m"}, ["verdict      Worse (R): m"]),
        (
            {"gates": [{"metric": "p99", "outcome": "Worse", "message": "m"}]},
            ["gate         p99 Worse: m"],
        ),
        ({"gates": "none of them"}, ["gates        none of them"]),
        ({"gates": []}, []),
        ({"step": 0}, ["step         1"]),
        ({"step": "first"}, ["step         first"]),
        ({"since": 1_770_000_000.0}, ["since        2026-02-02T02:40:00Z"]),
        ({"since": 1e300}, ["since        1e+300"]),
        ({"approvers": ["ana", "bob"]}, ["approvers    ana, bob"]),
        ({"approvers": []}, ["approvers    none"]),
        ({"previous": None}, ["previous     none"]),
        ({"more": {"a": 1}}, ['more         {"a": 1}']),
        ({"truncated": True}, ["truncated    True"]),
    ],
    ids=str,
)
def test_all_evidence_is_told(evidence: dict[str, object], expected: list[str]) -> None:
    assert shown(**evidence) == expected


def test_a_deployment_without_decisions_says_so() -> None:
    assert list(lines(History("churn", (), ()))) == ["no decision about churn is recorded"]


def test_only_one_revision_is_told_about_if_it_is_named() -> None:
    decisions = tuple(Decided(i, "t", "Promote", name, "", {}) for i, name in enumerate(("a", "b")))
    versions = tuple(Version(name, "", "spec", "", "", "", "Champion") for name in ("a", "b"))
    history = History("churn", decisions, versions)
    assert history.about(None) == history
    assert history.about("b") == History("churn", decisions[1:], versions[1:])


# --- on this machine: from the audit

A, B = "churn-aaaaaaaa", "churn-bbbbbbbb"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which two decisions were made, one of them on two revisions' records."""
    monkeypatch.delenv("SEAMARK_CONTEXT", raising=False)
    home = tmp_path / ".seamark"
    store = Store(make_home(home).database)
    known = tuple(Revision(name, "file:/x", name[-1] * 64, "spec", 100.0, "v1", "Champion") for name in (A, B))
    state = State(known, champion=B)
    first = Decision(state, (Promote(A, None), Record("Promote", A, "Deployed"), Notify("Deployed", A, "x", "y")))
    second = Decision(state, (Record("RollBack", A, "Aborted", {"weight": 5}), Record("Promote", B, "GatesPassed")))
    store.apply({"churn": {}})
    for moment, decision in ((0.0, first), (3600.0, second)):
        row = audit.encode({}, State(), Seen(moment), decision)
        store.commit("churn", moment, state, audit=row)
    store.close()
    return home


def history(home: Path, name: str, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["history", name, "--home", str(home), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_laptops_audit_is_told_in_the_same_words(home: Path) -> None:
    told = history(home, "churn").splitlines()
    assert told[:4] == [
        f"1970-01-01T00:00:00Z #1 Promote {A}: Deployed",
        f"1970-01-01T01:00:00Z #2 RollBack {A}: Aborted",
        "    weight       5",
        f"1970-01-01T01:00:00Z #3 Promote {B}: GatesPassed",
    ]
    assert f"{B} Champion" in told


def test_a_revision_of_the_laptop_has_its_own_history(home: Path) -> None:
    found = json.loads(history(home, B, "--json"))
    assert [one["what"] for one in found["decisions"]] == ["Promote"]
    assert [one["name"] for one in found["versions"]] == [B]


def test_a_deleted_deployment_keeps_its_history(home: Path) -> None:
    before = history(home, "churn")
    CliRunner().invoke(app, ["delete", "churn", "--home", str(home)])
    assert history(home, "churn") == before


@pytest.mark.parametrize("name", ["chrun", "churn-cccccccc", "-"])
def test_what_was_never_there_has_no_history(home: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["history", "--home", str(home), "--", name])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"Cannot find {name}: no ModelDeployment has this name; known: churn\n"


def test_the_evidence_of_the_audit_is_not_changed(home: Path) -> None:
    store = Store(make_home(home).database)
    [_, (_, _, _, _, decision)] = store.audit("churn")
    store.close()
    recorded = [one for one in msgspec.json.decode(decision)["actions"] if one["type"] == "Record"]
    told = json.loads(history(home, "churn", "--json"))["decisions"][1:]
    assert [one["evidence"] for one in told] == [one["evidence"] for one in recorded]
