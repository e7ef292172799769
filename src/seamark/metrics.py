"""The metric catalogue: every metric Seamark exports. Exporters, rules, dashboards and docs take names from here.

Labels `namespace, deployment, revision` are on every metric about a deployment. Counters start at 0 for every known
label value, because Prometheus loses a counter's first increment otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOGUE", "COMMON", "LATENCY_BOUNDS", "Metric"]

COMMON = ("namespace", "deployment", "revision")


@dataclass(frozen=True, slots=True)
class Metric:
    """`labels` are those beyond COMMON, which are on it if it `has_common`; `source` is the service that exports it."""

    name: str
    kind: str
    help: str
    source: str
    labels: tuple[str, ...] = ()
    has_common: bool = True

    @property
    def all_labels(self) -> tuple[str, ...]:
        """In the order in which exporters give their values."""
        return (*COMMON, *self.labels) if self.has_common else self.labels


def _own(name: str, kind: str, help_: str, labels: tuple[str, ...] = ()) -> Metric:
    """A metric about the operator, not about a deployment."""
    return Metric(f"seamark_operator_{name}", kind, help_, "operator", labels, has_common=False)


def _predictor(name: str, kind: str, help_: str, labels: tuple[str, ...] = ("model",)) -> Metric:
    """A metric of a predictor, which may run without deployments: by the model's name in addresses."""
    return Metric(f"seamark_predictor_{name}", kind, help_, "predictor", labels, has_common=False)


def _geometric(first: float, ratio: float, last: float) -> tuple[float, ...]:
    bounds = [first]
    while bounds[-1] < last:
        bounds.append(float(f"{bounds[-1] * ratio:.3g}"))
    return tuple(bounds)


#: Seconds. A ratio of 1.25 between bounds keeps the p99 readable to a quarter.
LATENCY_BOUNDS = _geometric(0.0001, 1.25, 10.0)

_METRICS = (
    Metric("seamark_predictions_total", "counter", "Rows predicted", "monitor"),
    Metric("seamark_requests_total", "counter", "Requests by HTTP status", "monitor", ("status",)),
    Metric("seamark_prediction_latency_seconds", "histogram", "Time from arrival to answer in the server", "monitor"),
    Metric("seamark_feature_bin_total", "counter", "Rows by feature and profile bin", "monitor", ("feature", "bin")),
    Metric("seamark_output_bin_total", "counter", "Rows by output and profile bin", "monitor", ("output", "bin")),
    Metric(
        "seamark_contract_violations_total",
        "counter",
        "Rows that broke the contract, by feature and rule",
        "monitor",
        ("feature", "rule"),
    ),
    Metric("seamark_contract_rows_total", "counter", "Rows by whether they kept the contract", "monitor", ("kept",)),
    Metric("seamark_nonfinite_total", "counter", "NaN or infinite values", "monitor", ("where",)),
    Metric("seamark_log_dropped_total", "counter", "Predictions not logged, by reason", "monitor", ("reason",)),
    Metric("seamark_log_spool_bytes", "gauge", "Bytes waiting on disk for the collector", "monitor"),
    _predictor(
        "requests_total",
        "counter",
        "Prediction requests by protocol and status",
        ("model", "protocol", "status"),
    ),
    _predictor("request_seconds", "histogram", "Time from arrival to answer in the server"),
    _predictor("rows_total", "counter", "Rows predicted"),
    _predictor("batch_rows", "histogram", "Rows of one run of the model"),
    _predictor("requests_in_flight", "gauge", "Requests that are not answered yet"),
    _predictor("queue_requests", "gauge", "Requests that wait for a run of the model"),
    _predictor("rejected_total", "counter", "Requests refused because too many waited"),
    _predictor("timed_out_total", "counter", "Requests whose deadline passed before they were answered"),
    _predictor("cache_hits_total", "counter", "Requests answered from the cache"),
    _predictor("cache_misses_total", "counter", "Requests not found in the cache"),
    _predictor("cache_evictions_total", "counter", "Answers that left the cache to make room"),
    _predictor("model_info", "gauge", "1 for each model that is served", ("model", "version", "platform", "digest")),
    _predictor("start_timestamp_seconds", "gauge", "When the predictor was started, in Unix seconds", ()),
    _predictor("worker_starts_total", "counter", "Starts of worker processes; more than the workers: some died", ()),
    Metric("seamark_drift_score", "gauge", "Distance from the profile", "analyzer", ("kind", "feature")),
    Metric("seamark_drift_threshold", "gauge", "Score above which drift is real", "analyzer", ("kind", "feature")),
    Metric("seamark_quality", "gauge", "Live quality from labels", "analyzer", ("metric",)),
    Metric("seamark_log_labels", "gauge", "Labels in the prediction log", "analyzer"),
    Metric("seamark_shadow_agreement_ratio", "gauge", "Share of paired answers that agree", "analyzer"),
    Metric("seamark_revision_info", "gauge", "1 for each revision, with its role", "analyzer", ("role",)),
    Metric(
        "seamark_rollout_event_timestamp_seconds",
        "gauge",
        "When the event was told, in Unix seconds; the newest 20 of a deployment",
        "operator",
        ("event",),
    ),
    _own("turns_total", "counter", "Turns that deployments took", ("result",)),
    _own("turn_seconds", "histogram", "Time that a turn took"),
    _own("api_calls_total", "counter", "Calls of the Kubernetes API", ("verb",)),
    _own("last_pass_timestamp_seconds", "gauge", "When the last pass over all deployments ended, in Unix seconds"),
    _own("deployments", "gauge", "ModelDeployments looked after"),
    _own("alerts_total", "counter", "Alerts that Alertmanager sent, by what became of them", ("result",)),
    _own("alerts_ignored", "gauge", "Drift alerts that fire now without the labels they need"),
)

CATALOGUE = {metric.name: metric for metric in _METRICS}
