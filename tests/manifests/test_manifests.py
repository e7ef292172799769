"""What users copy from: samples say every default truly, overlays and the dev loop name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seamark.spec import STRATEGIES, parse

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests" / "samples"
#: A comment that is a field or an entry of a list, rather than prose.
COMMENTED = re.compile(r"^( *)# ( *(?:- \{.*|[a-zA-Z]+:(?: .*)?))$")
CLUSTER = {"direct": "direct", "canary": "canary", "blue-green": "blueGreen", "shadow": "shadow", "ab-test": "abTest"}


def uncommented(text: str) -> str:
    return "\n".join(COMMENTED.sub(r"\1\2", line) for line in text.splitlines())


def fields(value: Any) -> set[str]:
    """Names of all fields, at any depth, without what lists hold."""
    if not isinstance(value, dict):
        return set()
    return set(value) | {name for child in value.values() for name in fields(child)}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def test_there_is_a_sample_of_each_strategy_and_no_more() -> None:
    found = {parse(documents(SAMPLES / f"{name}.yaml")[0]).rollout.strategy for name in CLUSTER}
    assert found == set(STRATEGIES)


@pytest.mark.parametrize("name", CLUSTER)
def test_a_sample_has_the_strategy_of_its_file_and_a_name_of_its_own(name: str) -> None:
    deployment = parse(documents(SAMPLES / f"{name}.yaml")[0])
    assert (deployment.name, deployment.rollout.strategy) == (f"iris-{name}", CLUSTER[name])
    assert deployment.model.uri == "pvc://models/iris/v1"


@pytest.mark.parametrize("name", CLUSTER)
def test_the_commented_lines_of_a_sample_are_the_defaults(name: str) -> None:
    text = (SAMPLES / f"{name}.yaml").read_text()
    full = uncommented(text)
    assert full != text.rstrip("\n")
    assert parse(yaml.safe_load(full)) == parse(yaml.safe_load(text))


def test_the_canary_sample_names_every_field() -> None:
    found = fields(yaml.safe_load(uncommented((SAMPLES / "canary.yaml").read_text()))["spec"])
    manual = (ROOT / "docs" / "manifest.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)
    assert fields(yaml.safe_load(example)["spec"]) - found == set()


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*-model.yaml")), ids=lambda path: path.name)
def test_a_sample_job_meets_the_restricted_pod_security_standard(path: Path) -> None:
    (job,) = (document for document in documents(path) if document["kind"] == "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_models_of_the_jobs_are_where_the_samples_look() -> None:
    written = set()
    for path in SAMPLES.glob("*-model.yaml"):
        (job,) = (document for document in documents(path) if document["kind"] == "Job")
        pod = job["spec"]["template"]["spec"]
        claim = next(v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if v["name"] == "models")
        output = next(a for a in pod["containers"][0]["args"] if a.startswith("--output="))
        written.add(output.replace("--output=/models", f"pvc://{claim}"))
    assert written == {"pvc://models/iris/v1", "pvc://models/iris/v2"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("manifests/**/kustomization.yaml")), ids=lambda p: p.parent.name)
def test_a_kustomization_refers_to_files_that_exist(path: Path) -> None:
    (document,) = documents(path)
    named = [*document["resources"], *(f for g in document.get("configMapGenerator", []) for f in g["files"])]
    assert [name for name in named if not (path.parent / name).exists()] == []


def images() -> dict[str, str]:
    """Members by image, from the Makefile and the build script's rule."""
    (names,) = re.findall(r"^IMAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {f"seamark/{n}": "seamark-kubernetes" if n == "operator" else f"seamark-{n}" for n in names.split()}


def test_the_dockerfile_has_a_stage_for_each_image() -> None:
    stages = re.findall(r"^FROM runtime AS (.*)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert sorted(stages) == sorted(images().values())


def test_skaffold_builds_the_same_images_and_gives_each_to_the_chart() -> None:
    (config,) = documents(ROOT / "skaffold.yaml")
    artifacts = config["build"]["artifacts"]
    assert {a["image"]: a["docker"]["buildArgs"]["MEMBER"] for a in artifacts} == images()
    (release,) = config["deploy"]["helm"]["releases"]
    values = yaml.safe_load((ROOT / release["chartPath"] / "values.yaml").read_text())
    for image in images():
        part = "runtime" if image == "seamark/predictor" else image.removeprefix("seamark/")
        variable = image.replace("/", "_")
        assert release["setValueTemplates"][f"{part}.image.repository"] == f"{{{{.IMAGE_REPO_{variable}}}}}"
        assert release["setValueTemplates"][f"{part}.image.tag"] == f"{{{{.IMAGE_TAG_{variable}}}}}"
        assert {"repository", "tag"} <= set(values[part]["image"])
