"""What the API server takes of a manifest is what the core takes, and the other kinds fit what the operator writes.

The API server's rules (CEL) run only there; here it is tested that each stands where the cases say and that the core
agrees. `tests/e2e/test_chart.py` gives the same cases to a real API server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark import state
from seamark.errors import InvalidSpec
from seamark.package import MODEL_FORMATS
from seamark.spec import API_VERSION, DRIFT_KINDS, GATE_METRICS, STRATEGIES, parse

Schema = dict[str, Any]
Check = Callable[[Schema, object, str], list[str]]

FOLDER = Path(__file__).parent
CASES: dict[str, list[dict[str, Any]]] = yaml.safe_load((FOLDER / "manifests.yaml").read_text())
GROUP, VERSION = API_VERSION.split("/")


def document(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {"name": "churn", **case.get("metadata", {})},
        "spec": {"model": {"uri": "pvc://models/churn"}, **case.get("spec", {})},
    }


def mistake(found: object) -> str:
    try:
        parse(found)
    except InvalidSpec as error:
        return str(error)
    return ""


def cases(*groups: str) -> Any:
    found = [case for group in groups for case in CASES[group]]
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema inside, with its path; `[]` is any item of a list."""
    yield path.removeprefix("."), schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def rules(schema: Schema) -> set[tuple[str, str]]:
    """Where each rule stands, and its message."""
    return {
        (path, rule["message"]) for path, node in nodes(schema) for rule in node.get("x-kubernetes-validations", ())
    }


@cases("good")
def test_both_take_a_good_manifest(case: dict[str, Any], schemas: dict[str, Schema], check: Check) -> None:
    assert check(schemas["ModelDeployment"], document(case), "") == []
    assert mistake(document(case)) == ""


@cases("schema")
def test_both_refuse_a_bad_manifest_at_the_same_field(
    case: dict[str, Any], schemas: dict[str, Schema], check: Check
) -> None:
    assert check(schemas["ModelDeployment"], document(case), "") == [case["at"]]
    assert re.match(re.escape(case["at"]) + r"(:|\[)", mistake(document(case)))


@cases("rule")
def test_a_rule_stands_where_the_core_refuses(case: dict[str, Any], schemas: dict[str, Schema], check: Check) -> None:
    schema = schemas["ModelDeployment"]
    assert check(schema, document(case), "") == []
    assert (case["at"], case["says"]) in rules(schema)
    place = re.escape(case["at"]).replace(r"\[\]", r"\[\d+\]")
    assert re.match(place, mistake(document(case)))


@cases("operator")
def test_what_only_the_core_refuses_passes_the_schema(
    case: dict[str, Any], schemas: dict[str, Schema], check: Check
) -> None:
    assert check(schemas["ModelDeployment"], document(case), "") == []
    assert mistake(document(case)) != ""


@cases("cluster")
def test_what_only_a_cluster_refuses_is_fine_on_one_machine(
    case: dict[str, Any], schemas: dict[str, Schema], check: Check
) -> None:
    schema = schemas["ModelDeployment"]
    assert check(schema, document(case), "") == ([] if "says" in case else [case["at"]])
    assert "says" not in case or (case["at"], case["says"]) in rules(schema)
    assert mistake(document(case)) == ""


def test_every_rule_has_a_case(schemas: dict[str, Schema]) -> None:
    told = {(case["at"], case["says"]) for group in ("rule", "cluster") for case in CASES[group] if "says" in case}
    assert rules(schemas["ModelDeployment"]) - told == set()


def at(path: str, value: object) -> dict[str, Any]:
    """A mapping in mappings, with the value at `path`."""
    for name in reversed(re.findall(r"\w+|\[\]", path)):
        value = [value] if name == "[]" else {name: value}
    assert isinstance(value, dict)
    return value


#: What must be there, or else is told before the unknown field.
NEEDED: dict[str, dict[str, object]] = {
    "spec.model": {"uri": "x"},
    "spec.rollout.steps[].shadow": {"for": "1m"},
    "spec.rollout.gates[]": {"metric": "accuracy"},
    "spec.rollout.onInconclusive": {"action": "pause"},
    "spec.rollout.match[]": {"header": "a", "value": "b"},
    "spec.rollout.sticky": {"header": "a"},
}


def test_the_schema_has_the_fields_that_the_core_reads(schemas: dict[str, Schema]) -> None:
    """The core names what it allows when it meets an unknown field."""
    compared = 0
    for path, node in nodes(schemas["ModelDeployment"]["properties"]["spec"], "spec"):
        if "properties" not in node or path == "spec":
            continue
        found = mistake(document(at(path, {**NEEDED.get(path, {}), "zzz": 1})))
        allowed = re.search(r"zzz: unknown field; allowed here: (.*)", found)
        assert allowed, f"{path}: {found}"
        assert set(node["properties"]) == set(allowed[1].split(", ")), path
        compared += 1
    found = mistake(document({"spec": {"zzz": 1}}))
    assert set(schemas["ModelDeployment"]["properties"]["spec"]["properties"]) == set(
        found.partition("allowed here: ")[2].split(", ")
    )
    assert compared > 15


def test_the_choices_are_the_cores(schemas: dict[str, Schema]) -> None:
    found = dict(nodes(schemas["ModelDeployment"]))
    assert found["spec.model.format"]["enum"] == list(MODEL_FORMATS)
    assert found["spec.rollout.strategy"]["enum"] == list(STRATEGIES)
    assert found["spec.rollout.gates[].metric"]["enum"] == list(GATE_METRICS)
    assert found["spec.rollout.gates"]["maxItems"] == len(GATE_METRICS)
    assert found["spec.retraining.triggers[].drift"]["enum"] == list(DRIFT_KINDS)


@pytest.mark.parametrize("kind", ["ModelDeployment", "ModelRevision", "ModelDeploymentState"])
def test_a_schema_has_no_defaults(kind: str, schemas: dict[str, Schema]) -> None:
    assert [path for path, node in nodes(schemas[kind]) if "default" in node] == []


@pytest.mark.parametrize("kind", ["ModelDeployment", "ModelRevision", "ModelDeploymentState"])
def test_a_definition_is_named_as_kubernetes_wants_it(kind: str, definitions: dict[str, Schema]) -> None:
    crd = definitions[kind]
    names, (version,) = crd["spec"]["names"], crd["spec"]["versions"]
    assert crd["metadata"]["name"] == f"{names['plural']}.{GROUP}"
    assert (crd["spec"]["group"], version["name"]) == (GROUP, VERSION)
    assert (names["plural"], names["listKind"]) == (f"{kind.lower()}s", f"{kind}List")
    assert ("subresources" in version) == (kind != "ModelDeploymentState")


def test_columns_tell_the_story(definitions: dict[str, Schema]) -> None:
    columns = {
        kind: [
            (column["name"], column.get("priority", 0))
            for column in crd["spec"]["versions"][0]["additionalPrinterColumns"]
        ]
        for kind, crd in definitions.items()
    }
    story = ["Phase", "Champion", "Challenger", "Weight", "Drift", "Quality", "Ready", "Age"]
    assert columns["ModelDeployment"] == [(name, 0) for name in story] + [("Message", 1), ("URL", 1)]
    story = ["Deployment", "Role", "Phase", "Weight", "Ready", "Version", "Age"]
    assert columns["ModelRevision"] == [(name, 0) for name in story]


@pytest.mark.parametrize("kind", ["ModelDeployment", "ModelRevision"])
def test_every_column_shows_a_field_that_is_there(
    kind: str, definitions: dict[str, Schema], schemas: dict[str, Schema]
) -> None:
    paths = {f".{path}" for path, _ in nodes(schemas[kind])} | {".metadata.creationTimestamp"}
    for column in definitions[kind]["spec"]["versions"][0]["additionalPrinterColumns"]:
        assert re.sub(r"\[\?.*?\]", "[]", column["jsonPath"]) in paths


def test_a_revision_has_what_the_memory_knows_of_it(schemas: dict[str, Schema]) -> None:
    properties = schemas["ModelRevision"]["properties"]["spec"]["properties"]
    assert set(properties) - {"deployment"} == set(state.Revision.__dataclass_fields__) - {"name", "phase"}
    assert "self == oldSelf" in str(schemas["ModelRevision"]["properties"]["spec"]["x-kubernetes-validations"])


# --- what the cases leave out


DURATIONS = st.sampled_from(["0s", "1ms", "59s", "1m", "1h", "1.5h", "61m", "3650d", "3651d", "1h30m", "x", "5", ""])
WORDS = st.sampled_from(
    [*STRATEGIES, *GATE_METRICS, *DRIFT_KINDS, *MODEL_FORMATS, "f1", "v1", "low", "", "a b", "1/30d"]
)
NUMBERS = st.integers(-1, 102) | st.sampled_from([0.5, 1.5, 3600, 3601, 10**9, 10**12 + 1])


def values(schema: Schema) -> st.SearchStrategy[object]:
    """Values that fit the schema, or nearly."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | WORDS
    if "properties" in schema:
        inner = {name: values(field) for name, field in schema["properties"].items()}
        needed = {name: inner.pop(name) for name in schema.get("required", ())}
        return st.fixed_dictionaries(needed, optional=inner)
    if schema.get("type") == "array":
        return st.lists(values(schema["items"]), max_size=3)
    simple = {"integer": NUMBERS, "number": NUMBERS, "boolean": st.booleans(), "object": st.just({"a": [1]})}
    return simple.get(schema.get("type", ""), DURATIONS | WORDS)


PARTS = ["serving", "rollout", "monitoring", "retraining", "governance"]
CRD: Schema = yaml.safe_load((FOLDER.parents[1] / "charts/seamark/files/crds/modeldeployments.yaml").read_text())
SPEC: Schema = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


#: What the core says where a rule (CEL) or only the core refuses; the cases have one of each.
BEYOND_THE_SCHEMA = re.compile(
    r"is longer than (3650d|the window)|is less than \d+ (before it|replicas)|comes after weight|"
    r"needs one of|has more than one of|needs exactly one of|"
    r"is missing; \w+ needs it|takes [\w ]+ only|is not between 0 and 1$|"
    r"is not one of extend, pause, promote"
)


@pytest.mark.parametrize("part", PARTS)
def test_the_schema_takes_what_the_core_takes_and_little_else(
    part: str, schemas: dict[str, Schema], check: Check
) -> None:
    @settings(max_examples=150)
    @given(values(SPEC["properties"][part]))
    def takes(value: object) -> None:
        found = document({"spec": {part: value}})
        if check(schemas["ModelDeployment"], found, ""):
            assert mistake(found) != ""
        else:
            assert not mistake(found) or BEYOND_THE_SCHEMA.search(mistake(found))

    takes()
