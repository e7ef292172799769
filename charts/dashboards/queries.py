"""What the panels ask Prometheus. Every query about models selects by the dashboard's choices."""

from __future__ import annotations

__all__ = [
    "ALERTS",
    "CHOSEN",
    "DRIFTING",
    "DRIFT_RATIO",
    "ERRORS",
    "EVENTS",
    "FAILED",
    "MODEL",
    "REVISION",
    "ROLES",
    "drift_ratio",
    "for_users",
    "latest",
    "own",
    "quantile",
    "rate",
    "select",
]

CHOSEN = 'namespace=~"$namespace", deployment=~"$deployment", revision=~"$revision"'
MODEL = "namespace, deployment"
REVISION = "namespace, deployment, revision"
RATE = "$__rate_interval"
#: In the order of their numbers in a panel, from 1.
ROLES = ("champion", "challenger", "shadow", "previous", "retired")


def select(metric: str, matchers: str = "") -> str:
    """The chosen models' series. matchers: more of them, as `status=~"5.."`."""
    return f"{metric}{{{', '.join(filter(None, [CHOSEN, matchers]))}}}"


def rate(metric: str, by: str, matchers: str = "") -> str:
    """Growth in a second, summed over pods."""
    return f"sum by ({by}) (rate({select(metric, matchers)}[{RATE}]))"


def latest(metric: str, by: str, matchers: str = "") -> str:
    """A gauge without the labels of the process that exports it."""
    return f"max by ({by}) ({select(metric, matchers)})"


def own(metric: str, by: str) -> str:
    """Growth in a second of one of the operator's own counters."""
    return f"sum by ({by}) (rate({metric}[{RATE}]))"


def for_users(query: str) -> str:
    """Without shadows, whose answers nobody sees."""
    shadows = select("seamark_revision_info", 'role="shadow"')
    return f"({query} unless on ({REVISION}) {shadows})"


def quantile(q: float, buckets: str) -> str:
    return f"histogram_quantile({q}, {buckets})"


def drift_ratio(matchers: str = "") -> str:
    """Scores as multiples of their thresholds."""
    return f"{select('seamark_drift_score', matchers)} / {select('seamark_drift_threshold', matchers)}"


DRIFT_RATIO = drift_ratio()
DRIFTING = f"{select('seamark_drift_score')} > {select('seamark_drift_threshold')}"
FAILED = 'status=~"5.."'
ERRORS = f"{rate('seamark_requests_total', REVISION, FAILED)} / {rate('seamark_requests_total', REVISION)}"
#: Grafana wants milliseconds.
EVENTS = f"max by ({REVISION}, event) ({select('seamark_rollout_event_timestamp_seconds')}) * 1000"
#: Alerts about the platform have no namespace.
ALERTS = 'ALERTS{alertname=~"Seamark.+", alertstate="firing", namespace=~"$namespace|", deployment=~"$deployment|"}'
