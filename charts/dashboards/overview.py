"""All models: who serves, what drifts, what fails, what is being rolled out."""

from __future__ import annotations

from panels import (
    SOME_IS_BAD,
    SOME_IS_NEWS,
    Column,
    Dashboard,
    Query,
    Row,
    limit,
    lines,
    number,
    states,
    steps,
    table,
)
from queries import (
    ALERTS,
    DRIFT_RATIO,
    DRIFTING,
    ERRORS,
    EVENTS,
    FAILED,
    MODEL,
    REVISION,
    ROLES,
    for_users,
    latest,
    quantile,
    rate,
    select,
)

__all__ = ["OVERVIEW"]

MODEL_LEGEND = "{{namespace}} {{deployment}}"
ANSWERED = for_users(rate("seamark_requests_total", REVISION))
FAILING = for_users(rate("seamark_requests_total", REVISION, FAILED))
BUCKETS = rate("seamark_prediction_latency_seconds_bucket", f"{REVISION}, le")
OVER_THRESHOLD = f"{select('seamark_drift_threshold')} < {select('seamark_drift_score')}"
IN_ROLE = [latest("seamark_revision_info", REVISION, f'role="{role}"') for role in ROLES]
ROLE_NUMBER = " or ".join(f"{query} * {i}" for i, query in enumerate(IN_ROLE, 1))
ROLE_COLORS = ("green", "blue", "purple", "gray", "dark-gray")
CHALLENGERS = latest("seamark_revision_info", REVISION, 'role=~"challenger|shadow"')

NOW = (
    number(
        "Models",
        "ModelDeployments that the analyzer watches.",
        f"count(count by ({MODEL}) ({select('seamark_revision_info')}))",
    ),
    number(
        "Requests",
        "Requests answered for users in a second. Copies to shadows do not count.",
        f"sum({ANSWERED})",
        "reqps",
    ),
    number(
        "Errors",
        "Share of users' requests answered with status 500 and above.",
        f"sum({FAILING}) / sum({ANSWERED})",
        "percentunit",
        colors=steps((None, "green"), (0.01, "orange"), (0.05, "red")),
    ),
    number(
        "Drifts",
        "Features, outputs, labels and qualities whose score is above its threshold.",
        f"count({DRIFTING}) or vector(0)",
        colors=SOME_IS_BAD,
    ),
    number(
        "Rollouts",
        "Challengers and shadows that are under test now.",
        f"count({CHALLENGERS}) or vector(0)",
        colors=SOME_IS_NEWS,
    ),
    number(
        "Alerts",
        "Seamark's alerts that fire and are not only for information.",
        f'count({ALERTS} unless ALERTS{{severity="info"}}) or vector(0)',
        colors=SOME_IS_BAD,
    ),
)

REVISIONS = (
    table(
        "Who serves",
        "Every revision, its role, its traffic and how it does. Drift is the highest score as a multiple of its own "
        "threshold: above 1 it is real. A shadow's requests are copies.",
        Column("revisions", "short", latest("seamark_revision_info", f"{REVISION}, role"), is_hidden=True),
        Column("requests", "reqps", rate("seamark_requests_total", REVISION)),
        Column("errors", "percentunit", ERRORS),
        Column("p99", "s", quantile(0.99, BUCKETS)),
        Column("quality", "percentunit", latest("seamark_quality", REVISION)),
        Column("drift", "short", f"max by ({REVISION}) ({DRIFT_RATIO})"),
        height=9,
    ),
)

TRAFFIC = (
    lines(
        "Requests",
        "Users' requests in a second, by model.",
        Query(f"sum by ({MODEL}) {ANSWERED}", MODEL_LEGEND),
        unit="reqps",
    ),
    lines(
        "Errors",
        "Share of users' requests answered with status 500 and above, by model. SeamarkErrors fires when a revision's "
        "is above 5 %.",
        Query(f"sum by ({MODEL}) {FAILING} / sum by ({MODEL}) {ANSWERED}", MODEL_LEGEND),
        unit="percentunit",
        **limit(0.05),
    ),
    lines(
        "Slowest hundredth",
        "One in a hundred users' answers takes this long or longer, by model: time in the server, without the network. "
        "SeamarkLatency fires when a revision's takes over a second.",
        Query(quantile(0.99, f"sum by ({MODEL}, le) {for_users(BUCKETS)}"), MODEL_LEGEND),
        unit="s",
        **limit(1),
    ),
)

DRIFT = (
    lines(
        "Drift",
        "The highest score of each model as a multiple of its own threshold. Above 1 it is real: SeamarkDrift fires.",
        Query(f"max by ({MODEL}) ({DRIFT_RATIO})", MODEL_LEGEND),
        width=12,
        **limit(1),
    ),
    table(
        "Drift over its threshold",
        "What drifts now. A drift without a feature is one of the labels or the quality.",
        Column("score", "short", f"max by ({REVISION}, kind, feature) ({DRIFTING})"),
        Column("threshold", "short", f"max by ({REVISION}, kind, feature) ({OVER_THRESHOLD})"),
        width=12,
    ),
)

ROLLOUTS = (
    states(
        "Roles",
        "Who was champion, challenger or shadow, and when. The champion before is kept warm for a while.",
        ROLE_NUMBER,
        "{{deployment}} {{revision}}",
        tuple(zip(ROLES, ROLE_COLORS, strict=True)),
    ),
    table(
        "Rollout events",
        "The newest events, as the operator told them. It forgets them when it restarts.",
        Column("when", "dateTimeFromNow", EVENTS),
        width=10,
        height=9,
    ),
)

OVERVIEW = Dashboard(
    "seamark-overview",
    "Seamark overview",
    "All models: who serves, what drifts, what fails, what is being rolled out.",
    (
        Row("Now", NOW),
        Row("Revisions", REVISIONS),
        Row("Traffic", TRAFFIC),
        Row("Drift", DRIFT),
        Row("Rollouts", ROLLOUTS),
    ),
)
