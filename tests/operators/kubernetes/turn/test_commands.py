"""Commands are read from an annotation, each once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import Conflict
from seamark.seen import Command
from seamark.state import State
from seamark_kubernetes import commands, names
from seamark_kubernetes.api import MODEL_DEPLOYMENT, Document
from seamark_kubernetes.memory import Memory
from seamark_kubernetes.testing import FakeApi

MEMORY = Memory(State(last_command=4))


def deployment(text: str | None) -> Document:
    annotations = {} if text is None else {"annotations": {names.COMMAND: text}}
    return {"metadata": {"name": "churn", "namespace": "shop", "resourceVersion": "1", **annotations}}


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("promote", Command(5, "promote")),
        ("pause", Command(5, "pause")),
        ("resume", Command(5, "resume")),
        ("approve by ana", Command(5, "approve", "ana")),
        ("abort: it is wrong: very", Command(5, "abort", "", "it is wrong: very")),
        ("abort by Ana Silva: too slow", Command(5, "abort", "Ana Silva", "too slow")),
        (" promote \n", Command(5, "promote")),
        ("abort by " + "a" * 100 + ": " + "b" * 500, Command(5, "abort", "a" * 100, "b" * 500)),
    ],
)
def test_what_people_write_is_understood(text: str, command: Command) -> None:
    asked = commands.read(deployment(text), MEMORY)
    assert (asked.command, asked.refusal, asked.is_set) == (command, "", True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Promote",
        "promote!",
        "rollback",
        "promote by ",
        "abort:",
        "abort: ",
        "abort:too slow",
        "promote by a\nb",
        "abort: \x1b[31mred",
        "abort by " + "a" * 101,
        "abort: " + "b" * 501,
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_allowed(text: str) -> None:
    asked = commands.read(deployment(text), MEMORY)
    assert asked.command is None
    assert asked.is_set
    assert asked.refusal.startswith("Cannot obey annotation seamark.dev/command: got '")
    assert asked.refusal.endswith(commands.ALLOWED)
    assert len(asked.refusal) < 600


def test_no_annotation_asks_for_nothing() -> None:
    assert commands.read(deployment(None), MEMORY) == commands.Asked()


@given(st.text(max_size=400))
def test_what_was_handled_is_not_handled_again(text: str) -> None:
    first = commands.read(deployment(text), MEMORY)
    second = commands.read(deployment(text), Memory(handled=first.handled))
    assert first.handled
    assert len(first.handled) <= 200
    assert second == commands.Asked(first.handled, is_set=True)


def test_another_text_is_another_command() -> None:
    first = commands.read(deployment("pause"), MEMORY)
    second = commands.read(deployment("resume"), Memory(State(last_command=5), handled=first.handled))
    assert second.command == Command(6, "resume")


def test_removing_takes_the_annotation_only_and_only_from_the_object_that_was_read() -> None:
    async def work() -> None:
        api = FakeApi()
        document: dict[str, Any] = deployment("promote")
        document["metadata"]["annotations"]["other"] = "kept"
        read = await api.create(MODEL_DEPLOYMENT, "shop", document)
        removed = await commands.remove(api, read)
        assert removed["metadata"]["annotations"] == {"other": "kept"}
        with pytest.raises(Conflict):
            await commands.remove(api, read)

    asyncio.run(work())
