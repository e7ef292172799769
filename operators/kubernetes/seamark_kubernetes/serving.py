"""The InferenceService of a revision: KServe runs the predictor, our monitor runs beside it."""

from __future__ import annotations

from seamark import tokens
from seamark.actions import Serve
from seamark.spec import ModelDeployment
from seamark_kubernetes import names, pods, pvc
from seamark_kubernetes.api import INFERENCE_SERVICE, Document, Owner
from seamark_kubernetes.pvc import Claim
from seamark_kubernetes.settings import Settings

__all__ = ["MONITOR", "OWN_RUNTIME", "inference_service"]

#: The ServingRuntime that runs Seamark's predictor.
OWN_RUNTIME = "seamark-predictor"
#: The model format that a runtime must list to be given Seamark's packages.
FORMAT = "seamark"
#: Names of the monitor's container and of its port.
MONITOR = "monitor"

#: Where the runtime's container and the monitor meet; the runtime mounts the volume at the same place.
RUN = "seamark-run"
RUN_FOLDER = "/run/seamark"
SOCKET = f"{RUN_FOLDER}/monitor.sock"
PACKAGE_FOLDER = "/mnt/package"
SPOOL_FOLDER = "/var/spool/seamark"

#: KServe gives the model's volume this name when it admits a pod, and takes the one that is there. With another name
#: the pod would mount one claim as two volumes, for which a kubelet waits for ever on most storage (kubernetes#132921).
PACKAGE_VOLUME = "kserve-pvc-source"

#: Seconds between a pod's deletion and the predictor's end: gateways stop sending to it first.
LEAVE = 5
#: Seconds until the monitor's end: the predictor drains for 6 s and hands its last predictions over in 2 s.
MONITOR_LEAVE = LEAVE + 9
GRACE = 30
#: Seconds a leaving monitor waits for its predictor's end, and then for the collector.
LAST_DELIVERY = 6


def inference_service(
    settings: Settings, owner: Owner, spec: ModelDeployment, serve: Serve, key: bytes | None
) -> Document:
    """The InferenceService that serves the revision. key: signs the monitor's log token; None where the log is open.

    KServe copies its labels and annotations to the Deployment and the pods. Raises `InvalidSpec` for an address that
    names no claim.
    """
    claim = pvc.parse(serve.uri)
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {
            "name": serve.revision,
            "namespace": owner.namespace,
            "labels": names.labels(owner.name, "serving", serve.revision)
            # KServe makes no route of its own: users reach a revision through the deployment's route only.
            | {"networking.kserve.io/visibility": "cluster-local"},
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": _autoscaler(spec, serve),
            },
            "ownerReferences": [owner.reference()],
        },
        "spec": {"predictor": _predictor(settings, owner, spec, serve, claim, key)},
    }


def _autoscaler(spec: ModelDeployment, serve: Serve) -> str:
    """`none` keeps the replicas at what was asked for; `hpa` scales by CPU between that and the most allowed."""
    return "hpa" if spec.serving.max_replicas > serve.replicas else "none"


def _predictor(
    settings: Settings, owner: Owner, spec: ModelDeployment, serve: Serve, claim: Claim, key: bytes | None
) -> Document:
    is_own = spec.serving.runtime == OWN_RUNTIME
    return {
        "minReplicas": serve.replicas,
        "maxReplicas": max(spec.serving.max_replicas, serve.replicas),
        # A pod more than asked for while pods are replaced, and never one less: a single replica stays reachable.
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "model": _model(settings, spec, serve, claim, is_own=is_own),
        "containers": [_monitor(settings, owner, serve, claim, key)],
        "volumes": [
            {"name": PACKAGE_VOLUME, "persistentVolumeClaim": {"claimName": claim.name, "readOnly": True}},
            pods.empty_dir(RUN),
            pods.empty_dir("monitor-spool", "512Mi"),
            pods.empty_dir("monitor-tmp", "64Mi"),
        ],
        # Who a foreign runtime runs as is its own affair; the monitor is confined in either case.
        "securityContext": pods.restricted() if is_own else {"fsGroup": pods.GROUP},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE,
        **({} if is_own else {"logger": _logger()}),
        **pods.placement(settings),
    }


def _model(settings: Settings, spec: ModelDeployment, serve: Serve, claim: Claim, *, is_own: bool) -> Document:
    """KServe puts the args after the runtime's own, and our image in its image's place."""
    found: Document = {
        "modelFormat": {"name": FORMAT},
        "runtime": spec.serving.runtime,
        "storageUri": claim.uri,
        "args": _own_args(spec, serve) if is_own else [f"--model_name={spec.name}"],
        "lifecycle": _leave_after(LEAVE),
        # The one line that a mistake is told in, and the end of a stack trace, become the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if is_own:
        # A new release changes the runtime's image; what runs must not be started anew for that.
        found |= {"image": settings.images.predictor, "imagePullPolicy": settings.images.pull_policy}
    return found | ({"resources": dict(spec.serving.resources)} if spec.serving.resources else {})


def _own_args(spec: ModelDeployment, serve: Serve) -> list[str]:
    args = [
        f"--name={spec.name}",
        f"--revision={serve.revision}",
        f"--digest={serve.digest}",
        f"--contract={spec.monitoring.contract}",
    ]
    return [*args, "--trust-pickle"] if spec.model.trust_pickle else args


def _logger() -> Document:
    """KServe's agent sends the monitor copies of requests and answers; the request id joins labels to predictions."""
    return {
        "mode": "all",
        "url": f"http://localhost:{names.MONITOR_PORT}/",
        # The agent compares with this spelling only.
        "metadataHeaders": ["X-Request-Id"],
    }


def _monitor(settings: Settings, owner: Owner, serve: Serve, claim: Claim, key: bytes | None) -> Document:
    token = tokens.sign(key, f"write/{owner.namespace}/{owner.name}") if key else ""
    return {
        "name": MONITOR,
        "image": settings.images.monitor,
        "imagePullPolicy": settings.images.pull_policy,
        "args": _monitor_args(settings, owner, serve),
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, *pods.token(token)],
        "ports": [{"name": MONITOR, "containerPort": names.MONITOR_PORT, "protocol": "TCP"}],
        # The first looks are frequent, so that a pod is ready as soon as it can be.
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=2, failures=3),
        "lifecycle": _leave_after(MONITOR_LEAVE),
        "resources": {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": pods.confined(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": PACKAGE_VOLUME, "mountPath": PACKAGE_FOLDER, "subPath": claim.path, "readOnly": True},
            {"name": RUN, "mountPath": RUN_FOLDER},
            {"name": "monitor-spool", "mountPath": SPOOL_FOLDER},
            {"name": "monitor-tmp", "mountPath": "/tmp"},  # noqa: S108  # the container's own, a volume
        ],
    }


def _monitor_args(settings: Settings, owner: Owner, serve: Serve) -> list[str]:
    options = {
        "package": PACKAGE_FOLDER,
        "namespace": owner.namespace,
        "deployment": owner.name,
        "revision": serve.revision,
        # The kubelet puts the pod's name in.
        "source": "$(POD)",
        "socket": SOCKET,
        "collector": settings.collector,
        "spool": SPOOL_FOLDER,
        # All addresses: the kubelet's probes and Prometheus come from outside, KServe's agent from localhost.
        "host": "0.0.0.0",
        "port": str(names.MONITOR_PORT),
        "last-delivery": str(LAST_DELIVERY),
    }
    return [f"--{name}={value}" for name, value in options.items()]


def _leave_after(seconds: int) -> Document:
    return {"preStop": {"sleep": {"seconds": seconds}}}


def _probe(path: str, *, period: int, failures: int) -> Document:
    return {
        "httpGet": {"path": path, "port": names.MONITOR_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
