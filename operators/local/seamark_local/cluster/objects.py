"""Names of Seamark's objects in a cluster: the part of the operator's agreement with people that kubectl is told."""

from __future__ import annotations

__all__ = ["COMMAND", "DEPLOYMENT", "DEPLOYMENTS", "RECONCILE", "REVISIONS"]

# Kinds, with their group: another one may have the same short name.
DEPLOYMENTS = "modeldeployments.seamark.dev"
REVISIONS = "modelrevisions.seamark.dev"

#: Label of everything that belongs to a deployment: the deployment's name.
DEPLOYMENT = "seamark.dev/deployment"

# Annotations of a ModelDeployment.
COMMAND = "seamark.dev/command"
RECONCILE = "seamark.dev/reconcile"
