"""A real API server takes the manifests that it should and refuses the others; Helm makes what the values say."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.cluster import Cluster, Document
from harness.users import Platform

# Many, small, and in one namespace: one worker's.
pytestmark = pytest.mark.xdist_group("chart")

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "seamark"
CASES: dict[str, list[Document]] = yaml.safe_load((ROOT / "tests" / "charts" / "manifests.yaml").read_text())
GROUP = "/apis/seamark.dev/v1alpha1"
NAMESPACE = "e2e-chart"

#: (method, path, document) -> (HTTP status, what the API server says).
Ask = Callable[[str, str, Document], tuple[int, Document]]


@pytest.fixture(scope="module")
def ask(cluster: Cluster, platform: Platform) -> Iterator[Ask]:
    """The API server with the definitions of this chart, which come with the platform, and a namespace."""
    process = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
    assert found, "Cannot start kubectl proxy"
    address = found[0]

    def call(method: str, path: str, document: Document) -> tuple[int, Document]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        body = json.dumps(document).encode()
        request = urllib.request.Request(f"http://{address}{path}", body, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    with cluster.namespace(NAMESPACE):
        yield call
    process.terminate()
    process.communicate(timeout=10)


def manifest(case: Document) -> Document:
    return {
        "apiVersion": "seamark.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "churn", **case.get("metadata", {})},
        "spec": {"model": {"uri": "pvc://models/churn"}, **case.get("spec", {})},
    }


def cases(*groups: str) -> Any:
    found = [case for group in groups for case in CASES[group]]
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


def tried(ask: Ask, case: Document) -> tuple[int, str]:
    """As kubectl does it: unknown fields are mistakes. Nothing is stored."""
    path = f"{GROUP}/namespaces/{NAMESPACE}/modeldeployments?dryRun=All&fieldValidation=Strict"
    status, answer = ask("POST", path, manifest(case))
    return status, str(answer.get("message", ""))


@cases("good", "operator")
def test_the_api_server_takes_a_good_manifest(case: Document, ask: Ask) -> None:
    assert tried(ask, case) == (201, "")


@cases("schema", "rule", "cluster")
def test_the_api_server_refuses_a_bad_manifest_and_says_where(case: Document, ask: Ask) -> None:
    status, message = tried(ask, case)
    assert status in (400, 422), message
    assert re.search(re.escape(case["at"]).replace(r"\[\]", r"\[\d+\]"), message)
    assert case.get("says", "") in message


def test_a_revision_never_changes_but_its_status_does(ask: Ask) -> None:
    path = f"{GROUP}/namespaces/{NAMESPACE}/modelrevisions"
    spec = {"deployment": "churn", "uri": "pvc://m/p", "digest": "0" * 64, "origin": "spec"}
    revision = {"apiVersion": "seamark.dev/v1alpha1", "kind": "ModelRevision", "metadata": {"name": "churn-0"}}
    assert ask("POST", f"{path}?fieldValidation=Strict", revision | {"spec": spec})[0] == 201
    for change in ({"digest": "1" * 64}, {"version": "2"}, {"origin": None}):
        status, answer = ask("PATCH", f"{path}/churn-0", {"spec": change})
        assert status == 422
        assert "origin" in change or "a revision never changes; another model is another revision" in answer["message"]
    entry = {"sequence": 1, "time": "2026-01-31T10:00:00Z", "what": "Promote", "evidence": {"any": [None, 1.5]}}
    status, answer = ask("PATCH", f"{path}/churn-0/status", {"status": {"phase": "Champion", "history": [entry]}})
    assert (status, answer["status"]["history"]) == (200, [entry])


def test_the_memory_keeps_everything_even_what_is_null(ask: Ask) -> None:
    memory = {"champion": None, "route": {"weights": {"a": 100}}, "rollout": {"since": 1.5, "approvers": []}}
    kept = {"memory": memory, "outbox": [{"sequence": 3, "evidence": {"x": None}}], "sequence": 3, "handled": ""}
    kind = {"apiVersion": "seamark.dev/v1alpha1", "kind": "ModelDeploymentState", "metadata": {"name": "churn"}}
    path = f"{GROUP}/namespaces/{NAMESPACE}/modeldeploymentstates?fieldValidation=Strict"
    status, answer = ask("POST", path, {**kind, **kept, "resolved": None})
    assert status == 201, answer
    assert {key: answer[key] for key in kept} == kept


# --- Helm


VARIANTS: dict[str, list[str]] = {
    "the defaults": [],
    "production": ["-f", str(CHART / "values-production.yaml")],
    "kind": ["-f", str(CHART / "values-kind.yaml")],
    "some namespaces": ["--set", "rbac.scope=namespaces,operator.watchNamespaces={team-a,team-b},rbac.aggregate=false"],
    "an object store": ["--set", "collector.data=s3://logs/seamark,collector.envFrom[0].secretRef.name=logs"],
    "a registry": ["--set", "image.registry=registry.example.com,image.pullSecrets={registry},image.tag=1.2.3"],
    "its own secret": ["--set", "auth.existingSecret=mine,collector.requireTokens=false,crds.enabled=false"],
    "the platform's host": ["--set", "platform.route.enabled=true,alertmanager.url=http://alertmanager:9093"],
    "without rights": ["--set", "rbac.create=false,operator.serviceAccount.create=false,runtime.enabled=false"],
}


def render(*options: str) -> subprocess.CompletedProcess[str]:
    command = ["helm", "template", "seamark", str(CHART), "-n", "seamark-system", "--kube-version", "1.34.0", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(*options: str) -> list[Document]:
    done = render(*options)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[Document], kind: str) -> dict[str, Document]:
    return {found["metadata"]["name"]: found for found in documents if found["kind"] == kind}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_helm_finds_nothing_to_complain_of(options: list[str]) -> None:
    done = subprocess.run(
        ["helm", "lint", "--strict", str(CHART), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_the_api_server_takes_what_is_made(options: list[str], cluster: Cluster, ask: Ask) -> None:
    """All but the Prometheus operator's kinds, which a small cluster does not have."""
    documents = [found for found in rendered(*options) if not found["apiVersion"].startswith("monitoring.coreos.com")]
    for found in documents:
        if "namespace" in found["metadata"] and found["metadata"]["namespace"] != "kserve":
            found["metadata"]["namespace"] = NAMESPACE
    text = yaml.safe_dump_all(documents)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=text)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_every_object_is_labelled(options: list[str]) -> None:
    for found in rendered(*options):
        labels = found["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "seamark", found["metadata"]["name"]
        assert labels["app.kubernetes.io/instance"] == "seamark"


def test_definitions_and_runtime_stay_at_an_uninstall_unless_told_otherwise() -> None:
    for keep, expected in (("true", {"helm.sh/resource-policy": "keep"}), ("false", None)):
        documents = rendered("--set", f"crds.keep={keep}")
        found = [
            *of_kind(documents, "CustomResourceDefinition").values(),
            *of_kind(documents, "ClusterServingRuntime").values(),
        ]
        assert [one["metadata"].get("annotations") for one in found] == [expected] * 4


def test_some_namespaces_need_no_cluster_role() -> None:
    documents = rendered(*VARIANTS["some namespaces"])
    assert of_kind(documents, "ClusterRole") == of_kind(documents, "ClusterRoleBinding") == {}
    found = [
        (found["metadata"]["name"], found["metadata"]["namespace"]) for found in documents if found["kind"] == "Role"
    ]
    assert ("seamark-operator", "team-a") in found
    assert ("seamark-operator", "team-b") in found


def test_analyzer_and_collector_share_a_node_when_their_claim_wants_it() -> None:
    def affinity(*options: str) -> Any:
        pod = of_kind(rendered(*options), "Deployment")["seamark-analyzer"]["spec"]["template"]["spec"]
        return pod.get("affinity")

    (beside,) = affinity()["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert beside["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "collector"
    assert affinity("--set", "collector.persistence.accessModes={ReadWriteMany}") is None
    assert affinity(*VARIANTS["an object store"]) is None


def test_an_image_is_named_by_digest_tag_or_release() -> None:
    def image(*options: str) -> str:
        pod = of_kind(rendered(*options), "Deployment")["seamark-operator"]["spec"]["template"]["spec"]
        return str(pod["containers"][0]["image"])

    digest = f"sha256:{'0' * 64}"
    assert image() == "seamark/operator:0.1.0"
    assert image("--set", "image.tag=1.2") == "seamark/operator:1.2"
    assert image("--set", "image.tag=1.2,operator.image.tag=1.3,image.registry=r.example.com:5000") == (
        "r.example.com:5000/seamark/operator:1.3"
    )
    assert image("--set", f"operator.image.digest={digest}") == f"seamark/operator@{digest}"
    assert image("--set", "operator.image.repository=r.example.com/mine/op") == "r.example.com/mine/op:0.1.0"


@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("operator.replicas=2", "/operator"),
        ("crd.enabled=false", "crd"),
        ("rbac.scope=all", "/rbac/scope"),
        ("gateway.host=models.example.com", "/gateway/host"),
        ("operator.image.digest=latest", "/operator/image/digest"),
        ("collector.persistence.accessModes={ReadOnlyMany}", "/collector/persistence/accessModes/0"),
        ("alertmanager.url=alertmanager:9093", "/alertmanager/url"),
        ("rbac.scope=namespaces", "operator.watchNamespaces is empty"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(option: str, place: str) -> None:
    done = render("--set", option)
    assert done.returncode != 0
    assert place in done.stderr
