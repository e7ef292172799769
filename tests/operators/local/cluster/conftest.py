"""A stand-in for kubectl: a real executable on PATH that answers from one JSON file, and notes how it was called."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from seamark_local.cli import app

#: Reads the world (argument 0's folder), fails as it is told to, else answers like kubectl does in JSON.
KUBECTL = r"""
import json, os, sys, time
folder = os.path.dirname(os.path.abspath(__file__))
with open(f"{folder}/calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
with open(f"{folder}/world.json") as file:
    world = json.load(file)

def save():
    with open(f"{folder}/world.new", "w") as file:
        json.dump(world, file)
    os.replace(f"{folder}/world.new", f"{folder}/world.json")

def fail(line):
    print("E1121 07:23:34.914964   32513 memcache.go:265] \"Unhandled Error\"", line, sep="\n", file=sys.stderr)
    sys.exit(1)

def answer(document):
    print(json.dumps(document))
    sys.exit(0)

words = [word for word in sys.argv[1:] if not word.startswith("-")]
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
for failure in world["failures"]:
    if failure["times"] > 0 and failure["when"] in sys.argv:
        failure["times"] -= 1
        save()
        time.sleep(failure.get("seconds", 0))
        fail(failure["says"])
context = options.get("context") or world["current"]
if context not in world["contexts"]:
    fail(f"error: cannot locate context {context}")
if words[0] == "config":
    found = {"name": context, "context": world["contexts"][context]}
    answer({"current-context": world["current"], "contexts": [found]})
if words[0] == "auth":
    answer({"status": {"userInfo": {"username": world["user"]}}})
if words[1] == "namespace":
    if words[2] not in world["namespaces"]:
        fail(f'Error from server (NotFound): namespaces "{words[2]}" not found')
    answer({"kind": "Namespace"})

def is_meant(one, kinds):
    label = options.get("selector", "").partition("=")[2]
    return (
        f"{one['kind'].lower()}s.seamark.dev" in kinds
        and ("all-namespaces" in options or one["metadata"]["namespace"] == options["namespace"])
        and (not label or one["spec"].get("deployment") == label)
        and (len(words) < 3 or one["metadata"]["name"] == words[2])
    )

found = [one for one in world["objects"] if is_meant(one, words[1].split(","))]
if len(words) < 3:
    answer({"kind": "List", "items": found})
if not found:
    fail(f'Error from server (NotFound): {words[1]} "{words[2]}" not found')
metadata = found[0]["metadata"]
if words[0] == "patch":
    change = json.loads(options["patch"])["metadata"]
    if change["resourceVersion"] != metadata["resourceVersion"]:
        fail("Error from server (Conflict): Operation cannot be fulfilled: the object has been modified")
    metadata.setdefault("annotations", {}).update(change["annotations"])
    metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
    save()
answer(found[0])
"""


class Kubernetes:
    """What the stand-in answers from. Of one writer at a time: the stand-in writes when it patches, and never else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.world: dict[str, Any] = {
            "current": "here",
            "contexts": {"here": {}, "prod": {"namespace": "models"}},
            "namespaces": ["default", "models", "shop"],
            "user": "ana",
            "objects": [],
            "failures": [],
        }
        self.save()

    def save(self) -> None:
        new = self._folder / "world.tmp"
        new.write_text(json.dumps(self.world))
        new.replace(self._folder / "world.json")

    def load(self) -> None:
        self.world = json.loads((self._folder / "world.json").read_text())

    def put(self, *objects: dict[str, Any]) -> None:
        self.world["objects"] += objects
        self.save()

    def fails(self, when: str, says: str, times: int = 1000, seconds: float = 0) -> None:
        """Commands with this word or option fail so often, after so many seconds."""
        self.world["failures"].append({"when": when, "says": says, "times": times, "seconds": seconds})
        self.save()

    def annotations(self) -> dict[str, str]:
        """Of the first object, as it is now."""
        self.load()
        return dict(self.world["objects"][0]["metadata"].get("annotations", {}))

    def calls(self) -> list[list[str]]:
        path = self._folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def run(self, *arguments: str, **environment: str) -> Result:
        """The seamark command, in this process."""
        return CliRunner(env={**os.environ, "COLUMNS": "100", **environment}).invoke(app, arguments)


@pytest.fixture
def executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a kubectl with this text on PATH, alone, and gives its folder. There is no other configuration."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    for name in ("KUBECONFIG", "SEAMARK_CONTEXT", "SEAMARK_HOME"):
        monkeypatch.delenv(name, raising=False)

    def make(text: str) -> Path:
        program = folder / "kubectl"
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return folder

    return make


@pytest.fixture
def kubernetes(executable: Callable[[str], Path]) -> Kubernetes:
    return Kubernetes(executable(f"#!{sys.executable} -SE\n{KUBECTL}"))


@pytest.fixture
def deployment() -> Callable[..., dict[str, Any]]:
    return _deployment


@pytest.fixture
def revision() -> Callable[..., dict[str, Any]]:
    return _revision


def _deployment(name: str = "churn", namespace: str = "models", **status: Any) -> dict[str, Any]:
    """A ModelDeployment that serves churn-aaaaaaaa; `status` changes its status."""
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "x"}
    champion = f"{name}-aaaaaaaa"
    known = {
        "observedGeneration": 1,
        "phase": "Serving",
        "champion": champion,
        "weights": {champion: 100},
        "conditions": [ready],
    }
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "7"}
    return {"kind": "ModelDeployment", "metadata": metadata, "spec": {}, "status": known | status}


def _revision(name: str = "churn-aaaaaaaa", namespace: str = "models", **status: Any) -> dict[str, Any]:
    """Its ModelRevision; `created` and `status` can be changed."""
    deployment = name.rpartition("-")[0]
    spec = {
        "deployment": deployment,
        "version": f"v-{name[-1]}",
        "origin": "spec",
        "uri": f"pvc://claim/{name[-1]}",
        "digest": name[-1] * 64,
        "created": status.pop("created", "2026-01-31T10:00:00Z"),
    }
    owner = {"kind": "ModelDeployment", "name": deployment, "uid": f"uid-{deployment}"}
    metadata = {"name": name, "namespace": namespace, "ownerReferences": [owner]}
    known = {"phase": "Champion", "role": "champion", "weight": 100, "ready": "1/1"}
    return {"kind": "ModelRevision", "metadata": metadata, "spec": spec, "status": known | status}
