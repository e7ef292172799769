"""What users get, how full things are, and how the operator and the log do."""

from __future__ import annotations

from panels import SOME_IS_BAD, WIDTH, Column, Dashboard, Query, Row, heatmap, limit, lines, number, steps, table
from queries import ALERTS, ERRORS, REVISION, latest, own, quantile, rate, select

__all__ = ["ON_CALL"]

LEGEND = "{{deployment}} {{revision}}"
BUCKETS = rate("seamark_prediction_latency_seconds_bucket", f"{REVISION}, le")
OTHER_STATUSES = rate("seamark_requests_total", "revision, status", 'status!="200"')
TURN_BUCKETS = own("seamark_operator_turn_seconds_bucket", "le")
ALERT_LABELS = f"alertname, severity, {REVISION}, kind, feature, reason, result"

FIRING = (
    table(
        "Alerts that fire",
        "Seamark's alerts in this Prometheus. The runbook says for each what to look at and what to do.",
        Column("firing", "short", f"max by ({ALERT_LABELS}) ({ALERTS})", is_hidden=True),
    ),
)

ANSWERS = (
    lines(
        "Requests by revision",
        "Requests in a second. During a rollout the lines show the split; a shadow's are copies.",
        Query(rate("seamark_requests_total", REVISION), LEGEND),
        unit="reqps",
    ),
    lines(
        "Errors by revision",
        "Share of requests answered with status 500 and above. SeamarkErrors fires at 5 %. KServe's logger says "
        "nothing of a foreign runtime's errors: these are missing from the log as `unpaired`.",
        Query(ERRORS, LEGEND),
        unit="percentunit",
        **limit(0.05),
    ),
    lines(
        "Answers other than 200",
        "By status: 4xx is the sender's mistake (422: the contract was broken), 5xx is the model's.",
        Query(f"{OTHER_STATUSES} > 0", "{{revision}} {{status}}"),
        unit="reqps",
    ),
    lines(
        "Latency by revision",
        "Time in the server, without network and gateway: of the middle answer and of the slowest hundredth. "
        "SeamarkLatency fires when the latter takes a second.",
        Query(quantile(0.99, BUCKETS), f"p99 {LEGEND}"),
        Query(quantile(0.5, BUCKETS), f"p50 {LEGEND}"),
        unit="s",
        width=12,
        **limit(1),
    ),
    heatmap(
        "All latencies",
        "How many answers took how long. Two bands often are two kinds of requests, or two revisions.",
        rate("seamark_prediction_latency_seconds_bucket", "le"),
        "s",
    ),
)

SATURATION = (
    lines(
        "Requests at once",
        "Requests being worked on, on average. Near the number of cores of a revision's pods its answers get slow.",
        Query(rate("seamark_prediction_latency_seconds_sum", REVISION), LEGEND),
    ),
    lines(
        "Pods heard",
        "Monitors that Prometheus hears, one in each pod of a revision. A champion without any is "
        "SeamarkChampionSilent.",
        Query(f"count by ({REVISION}) ({select('seamark_predictions_total')})", LEGEND),
    ),
    lines(
        "Waiting for the collector",
        "The fullest monitor of each revision. SeamarkLogBacklog fires at 128 MiB; at 256 MiB the oldest are lost.",
        Query(latest("seamark_log_spool_bytes", REVISION), LEGEND),
        unit="bytes",
        **limit(128 * 2**20),
    ),
    lines(
        "Predictions missing from the log",
        "Answered, but not logged, by reason. Each but `unpaired` is SeamarkLogLoss; `unpaired` is a foreign runtime's "
        "request without an answer of 200.",
        Query(rate("seamark_log_dropped_total", "revision, reason"), "{{revision}} {{reason}}"),
        unit="ops",
        width=WIDTH,
    ),
)

OPERATOR = (
    number(
        "Last pass",
        "Time since the operator had seen to all deployments: a minute at most. SeamarkOperatorStuck fires at five.",
        "time() - max(seamark_operator_last_pass_timestamp_seconds)",
        "s",
        colors=steps((None, "green"), (90, "orange"), (300, "red")),
        height=8,
    ),
    number("Deployments", "ModelDeployments that it looks after.", "max(seamark_operator_deployments)", height=8),
    number(
        "Alerts ignored",
        "SeamarkDrift alerts that fire without the labels it needs: SeamarkAlertsIgnored.",
        "max(seamark_operator_alerts_ignored)",
        colors=SOME_IS_BAD,
        height=8,
    ),
    lines(
        "Turns by result",
        "done: decided and applied. blocked: a manifest cannot be used, its status says why. conflict: another wrote "
        "first, which does no harm. unavailable: the API server or a service did not answer. failed: its own error.",
        Query(own("seamark_operator_turns_total", "result"), "{{result}}"),
        unit="ops",
        width=12,
    ),
    lines(
        "Time of a turn",
        "Of the middle turn and of the slowest hundredth.",
        Query(quantile(0.99, TURN_BUCKETS), "p99"),
        Query(quantile(0.5, TURN_BUCKETS), "p50"),
        unit="s",
    ),
    lines(
        "Calls of the API server",
        "By verb. While nothing changes there are few.",
        Query(own("seamark_operator_api_calls_total", "verb"), "{{verb}}"),
        unit="ops",
    ),
    lines(
        "Alerts from Alertmanager",
        "What became of them. Those quarantined and refused are SeamarkAlertsQuarantined.",
        Query(own("seamark_operator_alerts_total", "result"), "{{result}}"),
        unit="ops",
    ),
)

ON_CALL = Dashboard(
    "seamark-on-call",
    "Seamark on call",
    "What users get, how full things are, and how the operator and the log do. Rollout events are marked.",
    (Row("Alerts", FIRING), Row("Answers", ANSWERS), Row("Saturation", SATURATION), Row("Operator", OPERATOR)),
)
