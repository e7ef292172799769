"""The analyzer's config file: which revisions to compare, and where their monitors are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamark.spec import ModelDeployment
from seamark.state import State
from seamark.summary import role
from seamark_local import definitions
from seamark_local.envoy import write_file
from seamark_local.packages import Packages
from seamark_local.store import Status
from seamark_local.wanted import Served

__all__ = ["Watched", "document", "write"]


@dataclass(frozen=True, slots=True)
class Watched:
    """A deployment with its memory and the revisions that run."""

    spec: ModelDeployment
    state: State
    serving: Mapping[str, Served]


def document(watched: Iterable[Watched], packages: Packages, statuses: Mapping[str, Status]) -> dict[str, Any]:
    """The file's content, as docs/architecture.md gives it."""
    return {"models": {model.spec.name: _model(model, packages, statuses) for model in watched}}


def _model(model: Watched, packages: Packages, statuses: Mapping[str, Status]) -> dict[str, Any]:
    monitoring, rollout = model.spec.monitoring, model.state.rollout
    return {
        "namespace": model.spec.namespace,
        "window": monitoring.window,
        "interval": monitoring.interval,
        "falseAlarms": {"count": monitoring.false_alarms.count, "seconds": monitoring.false_alarms.seconds},
        "minEffect": monitoring.min_effect,
        "qualityMetric": monitoring.quality.metric,
        "champion": model.state.champion,
        "challenger": rollout.challenger if rollout else None,
        "since": rollout.ready_since if rollout else None,
        "revisions": {
            name: {
                "package": str(packages.path(served.digest)),
                "role": role(model.state, name),
                "targets": _targets(name, served, statuses),
            }
            for name, served in model.serving.items()
            if not served.error
        },
    }


def _targets(revision: str, served: Served, statuses: Mapping[str, Status]) -> list[str]:
    found = (definitions.port(statuses, definitions.monitor_name(revision, i)) for i in range(served.replicas))
    return [f"http://127.0.0.1:{port}/metrics" for port in found if port]


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the file by rename, unless it says so already."""
    text = json.dumps(content, indent=1, sort_keys=True).encode()
    try:
        same = path.read_bytes() == text
    except OSError:
        same = False
    if not same:
        write_file(path, text)
