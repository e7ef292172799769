"""What a model sees and says: drift beside its thresholds, features ranked, outputs, quality, contract."""

from __future__ import annotations

from panels import SOME_IS_BAD, Dashboard, Query, Row, bands, bars, dashed, limit, lines, number, steps
from queries import CHOSEN, DRIFTING, MODEL, REVISION, drift_ratio, latest, rate, select
from rendering import variable

__all__ = ["DATA"]

LEGEND = "{{deployment}} {{revision}}"
ROWS = "seamark_contract_rows_total"
BROKEN = 'kept="false"'
CHAMPIONS = select("seamark_revision_info", 'role="champion"')
#: The feature is one, so its name is no pattern.
THIS = 'kind="feature", feature="$feature"'
OTHERS = 'kind!="feature"'
BY_KIND = f"{REVISION}, kind, feature"
OF_FEATURES = drift_ratio('kind="feature"')
FEATURES = f"max by (deployment, feature) ({OF_FEATURES})"
PREDICTIONS = 'output="prediction"'

NOW = (
    number("Rows", "Rows predicted in a second.", f"sum({rate('seamark_predictions_total', REVISION)})", "ops"),
    number(
        "Drifts",
        "Features, outputs, labels and qualities whose score is above its threshold.",
        f"count({DRIFTING}) or vector(0)",
        colors=SOME_IS_BAD,
    ),
    number(
        "Broken rows",
        "Share of rows that broke the contract. Retraining and promotion are blocked above `maxViolations` (5 %).",
        f"sum({rate(ROWS, REVISION, BROKEN)}) / sum({rate(ROWS, REVISION)})",
        "percentunit",
        colors=steps((None, "green"), (0.01, "orange"), (0.05, "red")),
    ),
    number(
        "Quality",
        "Share of right answers among the champion's latest labelled predictions; the lowest of the models chosen.",
        f"min({select('seamark_quality')} and on ({REVISION}) {CHAMPIONS})",
        "percentunit",
    ),
    number(
        "Agreement",
        "Share of requests to which challenger and champion gave the same answer; the lowest of the models chosen.",
        f"min({select('seamark_shadow_agreement_ratio')})",
        "percentunit",
    ),
    number(
        "Labels",
        "Labels in the prediction log. Without labels quality and concept drift are unknown.",
        f"sum({latest('seamark_log_labels', MODEL)})",
    ),
)

DRIFT = (
    bars(
        "Features ranked",
        "The ten features nearest to their thresholds, or furthest above: score as a multiple of the threshold.",
        f"topk(10, {FEATURES})",
        "{{feature}}",
        steps((None, "green"), (0.8, "orange"), (1, "red")),
    ),
    lines(
        "Score of $feature beside its threshold",
        "The score is on the scale of the population stability index. The threshold follows from the false alarms "
        "accepted and the number of rows, so it falls as rows come in.",
        Query(latest("seamark_drift_score", REVISION, THIS), "score {{revision}}"),
        Query(latest("seamark_drift_threshold", REVISION, THIS), "threshold {{revision}}"),
        overrides=[dashed("threshold")],
    ),
    bands(
        "Values of $feature",
        "Shares of the profile's bins: 0 is the lowest of a number's, categories stand by name; `other` and `missing` "
        "are what the profile has no bin for.",
        Query(rate("seamark_feature_bin_total", "bin", 'feature="$feature"'), "{{bin}}"),
    ),
    lines(
        "Features over time",
        "Score as a multiple of the threshold, of the ten features that were highest at each moment. Above 1 it"
        " is drift.",
        Query(f"topk(10, {FEATURES})", "{{feature}}"),
        width=12,
        **limit(1),
    ),
    lines(
        "Outputs, labels and quality beside their thresholds",
        "The score of `concept` is how far quality is below the package's own, in shares; the others are on the "
        "scale of the population stability index.",
        Query(latest("seamark_drift_score", BY_KIND, OTHERS), "{{kind}} {{feature}}"),
        Query(latest("seamark_drift_threshold", BY_KIND, OTHERS), "threshold {{kind}} {{feature}}"),
        width=12,
        overrides=[dashed("threshold")],
    ),
)

OUTPUTS = (
    bands(
        "Predictions",
        "Shares of the predicted classes, numbered as in the package from 0, or of the bins of predicted numbers; over "
        "all revisions chosen.",
        Query(rate("seamark_output_bin_total", "bin", PREDICTIONS), "{{bin}}"),
    ),
    bands(
        "Scores",
        "Shares of the bins of the predicted probability. Regression has none.",
        Query(rate("seamark_output_bin_total", "bin", 'output="score"'), "{{bin}}"),
    ),
    lines(
        "Predictions by revision",
        "Share of each class or bin, by revision: a challenger that answers otherwise shows here first.",
        Query(
            f"{rate('seamark_output_bin_total', f'{REVISION}, bin', PREDICTIONS)} / on ({REVISION}) group_left "
            f"{rate('seamark_output_bin_total', REVISION, PREDICTIONS)}",
            "{{revision}} {{bin}}",
        ),
        unit="percentunit",
    ),
)

QUALITY = (
    lines(
        "Quality",
        "Share of right answers among the latest labelled predictions, by revision.",
        Query(latest("seamark_quality", f"{REVISION}, metric"), "{{metric}} {{revision}}"),
        unit="percentunit",
        defaults={"max": 1},
    ),
    lines(
        "Agreement",
        "Share of requests to which the challenger gave the champion's answer, since it was ready.",
        Query(latest("seamark_shadow_agreement_ratio", REVISION), LEGEND),
        unit="percentunit",
        defaults={"max": 1},
    ),
    lines(
        "Labels",
        "Labels in the prediction log. SeamarkLabelsMissing fires when their number stays the same for three days.",
        Query(latest("seamark_log_labels", MODEL), "{{namespace}} {{deployment}}"),
    ),
)

CONTRACT = (
    lines(
        "Rows that broke the contract",
        "Share of rows, by revision. SeamarkContractBroken fires at 5 %.",
        Query(f"{rate(ROWS, REVISION, BROKEN)} / {rate(ROWS, REVISION)}", LEGEND),
        unit="percentunit",
        **limit(0.05),
    ),
    lines(
        "Broken rules",
        "The ten rules that are broken most, by feature. Those of no feature are about the request as a whole.",
        Query(f"topk(10, {rate('seamark_contract_violations_total', 'feature, rule')} > 0)", "{{feature}} {{rule}}"),
        unit="ops",
    ),
    lines(
        "Not finite",
        "NaN and infinite values, in inputs and in outputs. In outputs it is SeamarkOutputNotFinite.",
        Query(rate("seamark_nonfinite_total", "revision, where"), "{{where}} {{revision}}"),
        unit="ops",
    ),
)

DATA = Dashboard(
    "seamark-data",
    "Seamark data",
    "What a model sees and says: drift beside its thresholds, features ranked, outputs, quality, contract.",
    (
        Row("Now", NOW),
        Row("Drift", DRIFT),
        Row("Outputs", OUTPUTS),
        Row("Quality", QUALITY),
        Row("Contract", CONTRACT),
    ),
    [variable("feature", "seamark_feature_bin_total", CHOSEN, is_one=True)],
)
