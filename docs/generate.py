"""Writes the pages that are made from the code: `python docs/generate.py`. They are committed; a test compares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from seamark.metrics import CATALOGUE, COMMON, LATENCY_BOUNDS, Metric

__all__ = ["LABELS", "metrics_page", "pages"]

DOCS = Path(__file__).parent

#: What a label's values are; labels of one name mean the same in every metric.
LABELS: Mapping[str, str] = {
    "namespace": "the deployment's namespace",
    "deployment": "the ModelDeployment's name",
    "revision": "the revision that answered or is spoken of",
    "status": "HTTP status sent, for gRPC the one of the same meaning; rare ones together as `4xx`, `5xx` and the like",
    "feature": "name of an input feature; empty for what concerns no single one",
    "output": "`prediction` or `score`",
    "bin": "a bin of the profile: `0`, `1`, ... for numbers, the text itself for categories, `other`, `missing`",
    "rule": "`type`, `missing`, `nonfinite`, `range`, `category` or `shape`",
    "kept": "`true` or `false`",
    "where": "`input` or `output`",
    "reason": "`queue_full` (or one request over 16 MiB), `spool_full`, `disk`, `corrupt`, `rejected`, `invalid`, "
    "`too_large`, `bad_frame`, `bad_event` or `unpaired`",
    "kind": "kind of drift: `feature`, `prediction`, `label` or `concept`",
    "metric": "what quality is measured by: `accuracy`",
    "role": "`champion`, `challenger`, `shadow`, `previous` or `retired`",
    "event": "`ShadowStarted`, `WeightChanged`, `Promoted`, `RolledBack` or `RetrainingStarted`",
    "result": "of a turn: `done`, `blocked` (the manifest cannot be used), `conflict`, `unavailable` or `failed`; of "
    "an alert: `stored`, `duplicate`, `quarantined` (cannot be used), `unstored` (sent away to come again), "
    "`truncated` (left out by Alertmanager), or, for a whole notification, `refused`",
    "model": "the model's name in addresses",
    "protocol": "`v1`, `v2` or `grpc`",
    "version": "the revision, as in the model's answers",
    "platform": "the model's format, as in its metadata",
    "digest": "the model package's SHA-256",
    "verb": "`get`, `list`, `watch`, `create`, `replace`, `apply`, `patch` or `delete`",
}

HEAD = f"""\
<!-- Made by docs/generate.py from seamark.metrics; change it there. -->
# Metrics

`curl localhost:8080/metrics` has all but the predictors' in one Prometheus text (the analyzer's `/federate`), each
monitor's with a label `instance` that says where it was scraped. Every monitor, the analyzer and the cluster's operator
export their own on `/metrics`. A predictor does so on the port it serves on: all its workers' counts in one text,
whichever of them answers; in a cluster the chart's PodMonitor adds `deployment` and `revision`. All but
`seamark_operator_...` and `seamark_predictor_...` carry the labels {", ".join(f"`{name}`" for name in COMMON)}.
Counters start at 0 for every known label value.
What is not known is not exported: no data never looks like 0.
"""


def metrics_page() -> str:
    """docs/metrics.md."""
    sources = dict.fromkeys(metric.source for metric in CATALOGUE.values())
    tables = [_table(source, (m for m in CATALOGUE.values() if m.source == source)) for source in sources]
    return "\n".join([HEAD, *tables, _labels(), _buckets()])


def _table(source: str, metrics: Iterable[Metric]) -> str:
    rows = [f"| `{m.name}` | {m.kind} | {_ticked(m.labels)} | {m.help} |" for m in metrics]
    head = [f"## Of the {source}", "", "| metric | kind | labels beside these | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _ticked(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def _labels() -> str:
    used = dict.fromkeys([*COMMON, *(name for metric in CATALOGUE.values() for name in metric.labels)])
    rows = [f"| `{name}` | {LABELS[name]} |" for name in used]
    return "\n".join(["## Labels", "", "| label | values |", "|---|---|", *rows, ""])


def _buckets() -> str:
    count = len(LATENCY_BOUNDS)
    ends = f"from {LATENCY_BOUNDS[0]:g} s to {LATENCY_BOUNDS[-1]:g} s"
    return (
        "## Latency\n\n"
        f"The histograms of predictions have {count} bounds {ends}, each a quarter above the one before.\n"
    )


def pages() -> dict[Path, str]:
    """What each generated file should hold."""
    return {DOCS / "metrics.md": metrics_page()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
