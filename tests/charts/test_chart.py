"""The chart's parts fit each other and the programs they start. What needs Helm is in `tests/e2e/test_chart.py`."""

from __future__ import annotations

import http.server
import json
import os
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seamark_kubernetes import api, inbox, names, serving

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "seamark"
TEMPLATES = sorted((CHART / "templates").rglob("*.*"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def paths(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, dict):
            yield from paths(value, f"{path}{name}.")


def test_what_is_generated_is_new() -> None:
    script = runpy.run_path(str(CHART.parent / "generate.py"))
    assert {path: path.read_text() for path in script["generated"]()} == script["generated"]()


def test_a_value_without_a_comment_is_refused() -> None:
    script = runpy.run_path(str(CHART.parent / "generate.py"))
    assert script["values_table"]("# Why.\na: 1\n").splitlines()[-1] == "| `a` | `1` | Why. |"
    with pytest.raises(ValueError, match=r"Cannot describe b\.c"):
        script["values_table"]("b:\n  c: 1\n")


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return SCHEMA["definitions"][name] if name else schema


def differences(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Values without a schema, and the other way round."""
    fields = {name: resolved(field) for name, field in schema["properties"].items()}
    yield from (f"{path}{name}" for name in set(values) ^ (set(fields) - {"global", "claims"}))
    for name in set(values) & set(fields):
        if "properties" in fields[name]:
            assert fields[name]["additionalProperties"] is False
            yield from differences(values[name], fields[name], f"{path}{name}.")


def test_the_schema_knows_every_value_and_no_other() -> None:
    found = [path for path in differences(VALUES, SCHEMA) if not path.endswith("resources.requests")]
    assert found == []


@pytest.mark.parametrize("name", ["values-production.yaml", "values-kind.yaml"])
def test_a_file_of_values_changes_only_what_is_there(name: str) -> None:
    free = ("resources.", "Labels.", "podSecurityContext.")
    unknown = set(paths(yaml.safe_load((CHART / name).read_text()))) - set(paths(VALUES))
    assert [path for path in unknown if not any(part in path for part in free)] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_uses_only_values_that_are_there(template: Path) -> None:
    used = re.findall(r"\.Values\.([A-Za-z.]+)", template.read_text())
    assert set(used) - set(paths(VALUES)) == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_an_object_of_a_namespace_names_it(template: Path) -> None:
    text = template.read_text()
    cluster_wide = r"^kind: (ClusterRole|ClusterRoleBinding|ClusterServingRuntime)$"
    objects = len(re.findall(r"^kind: \w+$", text, re.MULTILINE)) - len(re.findall(cluster_wide, text, re.MULTILINE))
    assert len(re.findall(r"^  namespace: ", text, re.MULTILINE)) == objects


# --- the programs


def options(module: str) -> set[str]:
    """What the program's command line takes."""
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"(--[a-z][a-z-]+)", done.stdout))


@pytest.mark.parametrize(
    ("template", "module"),
    [
        ("operator.yaml", "seamark_kubernetes"),
        ("collector.yaml", "seamark_collector"),
        ("analyzer.yaml", "seamark_analyzer"),
        ("runtime.yaml", "seamark_predictor"),
    ],
)
def test_a_program_takes_the_arguments_it_gets(template: str, module: str) -> None:
    text = (CHART / "templates" / template).read_text()
    given = set(re.findall(r"^ +- (--[a-z-]+)=", text, re.MULTILINE))
    assert len(given) >= 4
    assert given - options(module) == set()


def operator_rules() -> list[dict[str, list[str]]]:
    text = (CHART / "templates" / "_helpers.tpl").read_text()
    found = re.search(r'\{\{- define "seamark\.operatorRules" -\}\}\n(.*?)\{\{- end \}\}', text, re.DOTALL)
    assert found
    rules: list[dict[str, list[str]]] = yaml.safe_load(found[1])
    return rules


KINDS = [
    kind for kind in vars(api).values() if isinstance(kind, api.Kind) and kind not in (api.GATEWAY, api.CONFIG_MAP)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.plural))
def test_the_operator_may_use_the_kinds_it_knows(kind: api.Kind) -> None:
    found = [rule for rule in operator_rules() if kind.group in rule["apiGroups"] and kind.plural in rule["resources"]]
    assert len(found) == 1
    watched = kind != api.EVENT
    assert ({"get", "list", "watch"} <= set(found[0]["verbs"])) == watched


def test_the_operator_may_read_no_secret_and_nothing_at_all_with_a_star() -> None:
    rules = operator_rules()
    assert all("secrets" not in rule["resources"] for rule in rules)
    assert all("*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]] for rule in rules)


def test_names_that_both_the_chart_and_the_operator_use_are_the_same() -> None:
    def text(name: str) -> str:
        return (CHART / "templates" / name).read_text()

    assert f"\n  name: {inbox.NAME}\n" in text("inbox.yaml")
    assert f"resourceNames: [{inbox.NAME}]" in text("rbac.yaml")
    assert f"\n  name: {serving.OWN_RUNTIME}\n" in text("runtime.yaml")
    assert f"--monitor={serving.SOCKET}" in text("runtime.yaml")
    assert f"name: {serving.RUN}, mountPath: {serving.RUN_FOLDER}" in text("runtime.yaml")
    assert f"containerPort: {names.SERVING_PORT}" in text("runtime.yaml")
    assert f"- port: {serving.MONITOR}\n" in text("podmonitor.yaml")
    assert "- name: http-predictor\n" in text("runtime.yaml")
    assert "- port: http-predictor\n" in text("podmonitor.yaml")
    serving_pods = names.labels("churn", "serving")
    for label in (names.MANAGED_BY, names.ROLE):
        assert f"{label}: {serving_pods[label]}\n" in text("podmonitor.yaml")


# --- helm test


class Answers(http.server.BaseHTTPRequestHandler):
    """200 at /good, 503 elsewhere."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/good" else 503)
        self.end_headers()
        self.wfile.write(b"not yet" if self.path != "/good" else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def installed(*addresses: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", (CHART / "files" / "installed.py").read_text(), *addresses]
    environment = {**os.environ, "SECONDS": "0.1", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_helm_test_is_content_when_all_answer(server: str) -> None:
    done = installed(f"{server}/good", f"{server}/good")
    assert (done.returncode, done.stdout) == (0, f"{server}/good: ok\n" * 2)


def test_helm_test_says_who_does_not_answer_and_why(server: str) -> None:
    done = installed(f"{server}/good", f"{server}/bad", "http://127.0.0.1:1/")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[:2] == [f"{server}/good: ok", f"{server}/bad: 503 not yet"]
    assert lines[2].startswith("http://127.0.0.1:1/: ")
    assert "refused" in lines[2]
