"""Who the operator is to the API server: the pod's service account, else the file that KUBECONFIG names."""

from __future__ import annotations

import httpx2
from lightkube.config.client_adapter import user_auth
from lightkube.config.kubeconfig import KubeConfig, SingleConfig

from seamark.errors import UserError

__all__ = ["authorization", "load"]


def load() -> SingleConfig:
    """Where the API server is and how to log in. Raises `UserError` if there is nothing usable."""
    try:
        config = KubeConfig.from_env().get()
    except Exception as error:  # lightkube lets YAML, key, type and file errors of a broken file through
        cause = f"{type(error).__name__}: {error}"
        raise UserError(
            f"Cannot connect to Kubernetes: no service account, and no usable KUBECONFIG: {cause}"
        ) from error
    if config is None or config.user is None:
        raise UserError("Cannot connect to Kubernetes: the current context of KUBECONFIG names no user")
    return config


def authorization(config: SingleConfig) -> tuple[str, str] | None:
    """The scheme and the value to send in the header Authorization now; None if a client certificate does it.

    Token files are read, and login commands run, at each call: service account tokens live for an hour. Raises
    `UserError` if that fails.
    """
    try:
        header = _header(config)
    except Exception as error:  # a login command may fail in any way, and print anything
        raise UserError(f"Cannot log in to Kubernetes: {type(error).__name__}: {error}") from error
    scheme, _, value = header.partition(" ")
    return (scheme, value) if value else None


def _header(config: SingleConfig) -> str:
    auth = user_auth(config.user) if config.user else None
    if auth is None:
        return ""
    flow = auth.sync_auth_flow(httpx2.Request("GET", config.cluster.server))
    header: str = next(flow).headers.get("Authorization", "")
    flow.close()
    return header
