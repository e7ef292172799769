"""The InferenceService of a revision: what KServe is asked to run, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seamark import tokens
from seamark.actions import Serve
from seamark.errors import InvalidSpec
from seamark_kubernetes import serving
from seamark_kubernetes.api import Document


def render(make: Any, replicas: int = 1, key: bytes | None = None, settings: Any = None, **spec: Any) -> Document:
    serve = Serve("churn-1", "pvc://models/churn/v1", make.digest, replicas)
    return serving.inference_service(settings or make.settings, make.owner, make.spec(**spec), serve, key)


def predictor(document: Document) -> Document:
    found: Document = document["spec"]["predictor"]
    return found


def monitor(document: Document) -> Document:
    (found,) = predictor(document)["containers"]
    assert isinstance(found, dict)
    return found


def test_it_is_named_as_the_revision_and_belongs_to_the_deployment(make: Any) -> None:
    metadata = render(make)["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("churn-1", "shop")
    assert metadata["ownerReferences"] == [make.owner.reference()]
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "seamark",
        "seamark.dev/deployment": "churn",
        "seamark.dev/role": "serving",
        "seamark.dev/revision": "churn-1",
        "networking.kserve.io/visibility": "cluster-local",
    }


@pytest.mark.parametrize(
    ("replicas", "most", "autoscaler"), [(1, 1, "none"), (3, 3, "none"), (1, 2, "hpa"), (2, 3, "hpa")]
)
def test_an_autoscaler_runs_only_where_there_is_room_for_it(
    make: Any, replicas: int, most: int, autoscaler: str
) -> None:
    document = render(make, replicas, serving={"replicas": replicas, "maxReplicas": most})
    assert document["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == autoscaler
    assert (predictor(document)["minReplicas"], predictor(document)["maxReplicas"]) == (replicas, most)


def test_the_model_is_run_by_the_named_runtime_with_what_the_predictor_must_know(make: Any) -> None:
    model = predictor(render(make))["model"]
    assert model["runtime"] == "seamark-predictor"
    assert model["modelFormat"] == {"name": "seamark"}
    assert model["storageUri"] == "pvc://models/churn/v1"
    assert model["args"] == ["--name=churn", "--revision=churn-1", f"--digest={make.digest}", "--contract=observe"]
    assert "resources" not in model
    assert "logger" not in predictor(render(make))


def test_the_manifest_says_how_the_contract_pickles_and_resources_are_treated(make: Any) -> None:
    resources = {"requests": {"cpu": "1"}}
    model = predictor(
        render(
            make,
            model={"uri": "pvc://a/b", "trustPickle": True},
            monitoring={"contract": "reject"},
            serving={"resources": resources},
        )
    )["model"]
    assert model["args"][-2:] == ["--contract=reject", "--trust-pickle"]
    assert model["resources"] == resources


def test_a_foreign_runtime_gets_the_name_only_and_is_watched_through_kserves_logger(make: Any) -> None:
    document = predictor(render(make, serving={"runtime": "their-runtime"}))
    assert document["model"]["args"] == ["--model_name=churn"]
    assert document["model"]["runtime"] == "their-runtime"
    assert document["logger"] == {
        "mode": "all",
        "url": "http://localhost:9010/",
        "metadataHeaders": ["X-Request-Id"],
    }
    # Who it runs as is the runtime's affair; the monitor is confined all the same.
    assert "runAsNonRoot" not in document["securityContext"]
    assert document["containers"][0]["securityContext"]["runAsNonRoot"] is True


def test_the_monitor_is_told_who_it_watches_and_where_everything_is(make: Any) -> None:
    container = monitor(render(make))
    assert container["image"] == "monitor:1"
    assert container["args"] == [
        "--package=/mnt/package",
        "--namespace=shop",
        "--deployment=churn",
        "--revision=churn-1",
        "--source=$(POD)",
        "--socket=/run/seamark/monitor.sock",
        "--collector=http://collector:8081",
        "--spool=/var/spool/seamark",
        "--host=0.0.0.0",
        "--port=9010",
        "--last-delivery=6",
    ]
    assert container["env"] == [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]


def test_with_a_key_the_monitor_may_write_this_deployments_log_for_ever_and_nothing_else(make: Any) -> None:
    env = {entry["name"]: entry.get("value") for entry in monitor(render(make, key=make.key))["env"]}
    assert tokens.holds(make.key, env["SEAMARK_TOKEN"], "write/shop/churn", 10.0**11)
    assert not tokens.holds(make.key, env["SEAMARK_TOKEN"], "read/shop/churn", 0.0)


def test_the_claim_is_one_volume_under_the_name_that_kserve_takes(make: Any) -> None:
    document = predictor(render(make))
    claims = [volume for volume in document["volumes"] if "persistentVolumeClaim" in volume]
    assert claims == [{"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}]
    assert monitor(render(make))["volumeMounts"][0] == {
        "name": "kserve-pvc-source",
        "mountPath": "/mnt/package",
        "subPath": "churn/v1",
        "readOnly": True,
    }


def test_everything_that_is_mounted_is_there(make: Any) -> None:
    document = predictor(render(make))
    volumes = {volume["name"] for volume in document["volumes"]}
    assert {mount["name"] for mount in document["containers"][0]["volumeMounts"]} == volumes
    # KServe makes one volume of two of a name: beside those two, nothing is shared with the runtime by accident.
    assert {name for name in volumes if not name.startswith("monitor-")} == {"kserve-pvc-source", "seamark-run"}


def test_the_pod_is_restricted_and_knows_no_api_server(make: Any) -> None:
    document = predictor(render(make))
    assert document["automountServiceAccountToken"] is False
    assert document["securityContext"]["runAsNonRoot"] is True
    assert document["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = document["containers"][0]["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_monitor_outlives_the_predictors_draining_and_both_end_within_the_grace(make: Any) -> None:
    document = predictor(render(make))
    first = document["model"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    last = document["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain, flush, delivery = 6, 2, 2
    assert first > 0
    assert last > first + drain + flush
    assert last + delivery < document["terminationGracePeriodSeconds"]


def test_the_installation_says_where_pods_run_and_how_images_are_pulled(make: Any) -> None:
    images = replace(make.settings.images, pull_policy="Always", pull_secrets=("registry",))
    settings = replace(make.settings, images=images, node_selector={"disk": "fast"})
    document = predictor(render(make, settings=settings))
    assert document["nodeSelector"] == {"disk": "fast"}
    assert document["imagePullSecrets"] == [{"name": "registry"}]
    assert document["containers"][0]["imagePullPolicy"] == "Always"


def test_rendering_again_gives_the_same(make: Any) -> None:
    assert render(make, key=make.key) == render(make, key=make.key)


def test_an_address_that_is_no_claim_is_refused(make: Any) -> None:
    serve = Serve("churn-1", "s3://bucket", make.digest, 1)
    with pytest.raises(InvalidSpec, match="is not pvc://"):
        serving.inference_service(make.settings, make.owner, make.spec(), serve, None)
