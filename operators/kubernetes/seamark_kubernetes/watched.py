"""The analyzer's config: which revisions to compare, and where their monitors are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seamark.spec import ModelDeployment
from seamark.state import State
from seamark.summary import role

__all__ = ["Watched", "document"]


@dataclass(frozen=True, slots=True)
class Watched:
    """A deployment with its memory. targets: for each revision that is served, its monitors' metrics addresses."""

    namespace: str
    name: str
    spec: ModelDeployment
    state: State
    targets: Mapping[str, list[str]]


def document(items: Iterable[Watched]) -> dict[str, Any]:
    """What docs/architecture.md calls the config file, keyed NAMESPACE/NAME. Equal deployments give equal documents."""
    entries = {f"{item.namespace}/{item.name}": _model(item) for item in items}
    return {"models": dict(sorted(entries.items()))}


def _model(item: Watched) -> dict[str, Any]:
    monitoring, rollout = item.spec.monitoring, item.state.rollout
    return {
        "namespace": item.namespace,
        "deployment": item.name,
        "window": monitoring.window,
        "interval": monitoring.interval,
        "falseAlarms": {"count": monitoring.false_alarms.count, "seconds": monitoring.false_alarms.seconds},
        "minEffect": monitoring.min_effect,
        "qualityMetric": monitoring.quality.metric,
        "champion": item.state.champion,
        "challenger": rollout.challenger if rollout else None,
        "since": rollout.ready_since if rollout else None,
        "revisions": dict(_revisions(item)),
    }


def _revisions(item: Watched) -> Iterable[tuple[str, dict[str, Any]]]:
    """Those the memory knows: of another there is no digest to check a package by."""
    for name, targets in sorted(item.targets.items()):
        revision = item.state.revision(name)
        if revision is not None:
            yield (
                name,
                {
                    "package": "",
                    "digest": revision.digest,
                    "role": role(item.state, name),
                    "targets": sorted(targets),
                },
            )
