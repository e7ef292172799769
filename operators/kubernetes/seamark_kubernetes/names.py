"""Names in the cluster: kinds, labels, annotations, and how the objects of a deployment are called."""

from __future__ import annotations

import hashlib

__all__ = [
    "COMMAND",
    "DEPLOYMENT",
    "FIELD_MANAGER",
    "GROUP",
    "MANAGED_BY",
    "MONITOR_PORT",
    "RECONCILE",
    "RESOLVE",
    "REVISION",
    "ROLE",
    "SERVING_PORT",
    "STICKY",
    "VERSION",
    "labels",
    "resolve_job",
    "route",
    "service",
    "sticky_policy",
]

GROUP = "seamark.dev"
VERSION = "v1alpha1"
#: The owner of fields set by server-side apply.
FIELD_MANAGER = "seamark-operator"

# Labels of everything the operator makes.
MANAGED_BY = "app.kubernetes.io/managed-by"
DEPLOYMENT = "seamark.dev/deployment"
REVISION = "seamark.dev/revision"
#: serving (pods, InferenceServices), training or resolve (Jobs).
ROLE = "seamark.dev/role"

#: Annotation of an HTTPRoute whose users stay on one side: the header that names them.
STICKY = "seamark.dev/sticky"

# Annotations that people set on a ModelDeployment.
#: `promote`, `abort`, `pause`, `resume` or `approve`, then optionally ` by WHO` and `: WHY`; removed when obeyed.
COMMAND = "seamark.dev/command"
#: `disabled` stops the operator from touching the deployment.
RECONCILE = "seamark.dev/reconcile"
#: Any new value makes the operator look at the model's address again.
RESOLVE = "seamark.dev/resolve"

#: Ports in a serving pod.
SERVING_PORT = 8080
MONITOR_PORT = 9010


def labels(deployment: str, role: str, revision: str = "") -> dict[str, str]:
    """The labels of an object that the operator makes for a deployment."""
    found = {MANAGED_BY: "seamark", DEPLOYMENT: deployment, ROLE: role}
    return found | ({REVISION: revision} if revision else {})


def route(deployment: str) -> str:
    """Its HTTPRoute."""
    return deployment


def sticky_policy(deployment: str) -> str:
    """The policy of its HTTPRoute's sticky rule; the dot keeps it apart from another deployment's name."""
    return f"{deployment}.sticky"


def service(revision: str) -> str:
    """The Service that KServe makes for a revision's InferenceService."""
    return f"{revision}-predictor"


def resolve_job(deployment: str, uri: str, nonce: str) -> str:
    """The Job that reads the package at `uri`; nonce: the RESOLVE annotation's value."""
    mark = hashlib.sha256(f"{uri}\n{nonce}".encode()).hexdigest()[:8]
    return f"{deployment}-resolve-{mark}"
