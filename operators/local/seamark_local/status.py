"""What `seamark status` shows, from the operator's summaries: a table that a newcomer can read at 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from seamark_local.store import Status

__all__ = ["details", "processes_table", "table", "troubles"]

Summary = Mapping[str, Any]
NOTHING = "–"
ROLE_STYLES = {"champion": "bold green", "challenger": "bold yellow", "shadow": "yellow"}
VERDICT_STYLES = {"Better": "green", "Equivalent": "green", "Worse": "bold red"}
PHASE_STYLES = {"ready": "green", "succeeded": "green", "backoff": "bold red", "failed": "bold red"}
LONGEST_FEATURE = 12
MOST_ALARMS = 3


def table(summaries: Sequence[Summary]) -> Table:
    """One row per revision, two lines each as the headings say; below, a few words per deployment."""
    shown = Table(box=box.HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), caption_justify="left", caption_style="")
    shown.add_column(_heading("Deployment\nphase"), overflow="fold", min_width=10)
    for heading in ("Revision\nversion", "Role\nverdict"):
        shown.add_column(_heading(heading), no_wrap=True)
    for heading in ("Weight\ncopied", "Ready", "Req/s", "Errors", "p99"):
        shown.add_column(_heading(heading), justify="right", no_wrap=True)
    shown.add_column(_heading("Drift\nfeature"), no_wrap=True)
    shown.add_column(_heading("Quality\nrows"), justify="right", no_wrap=True)
    for summary in summaries:
        for row, revision in enumerate(summary.get("revisions", ())):
            shown.add_row(_deployment(summary) if row == 0 else "", *_cells(summary, revision))
        shown.add_section()
    if summaries:
        shown.caption = Text("\n").join(details(summary) for summary in summaries)
    return shown


def details(summary: Summary) -> Text:
    """What is going on, in words: step, verdict, retraining, alarms, trouble."""
    words = Text(f"{summary.get('name', '')}: ", style="bold")
    words.append("ready" if summary.get("ready") else "not ready", "green" if summary.get("ready") else "bold red")
    verdict = summary.get("verdict")
    alarms = _some(summary.get("alarms", ()))
    said = (
        ("step", summary.get("step"), ""),
        ("verdict", f"{verdict['outcome']}: {verdict['message']}" if verdict else "", ""),
        ("retraining", summary.get("retraining"), ""),
        ("alarms", alarms, "red"),
        ("note", summary.get("message"), "yellow"),
    )
    for name, text, style in said:
        if text:
            words.append(f"\n  {name:<10} ", "dim").append(str(text), style)
    return words


def _some(alarms: Sequence[str]) -> str:
    more = f" and {len(alarms) - MOST_ALARMS} more" if len(alarms) > MOST_ALARMS else ""
    return ", ".join(alarms[:MOST_ALARMS]) + more


def _heading(text: str) -> Text:
    first, _, second = text.partition("\n")
    return Text(first, "bold").append(f"\n{second}", "dim not bold") if second else Text(first, "bold")


def _deployment(summary: Summary) -> Text:
    return Text(str(summary.get("name", "")), "bold").append(f"\n{summary.get('phase', '')}", "dim not bold")


def _cells(summary: Summary, revision: Mapping[str, Any]) -> tuple[Text, ...]:
    role = str(revision.get("role", ""))
    short = str(revision["name"]).removeprefix(f"{summary.get('name', '')}-")
    return (
        Text(short[-10:]).append(f"\n{revision.get('version', '')[:10]}", "dim"),
        _role(summary, role),
        _weight(revision),
        Text(str(revision.get("ready", NOTHING))),
        Text(_number(revision.get("requests_per_second"), ".1f")),
        _errors(revision.get("error_rate")),
        Text(_seconds(revision.get("p99"))),
        _drift(revision.get("drift")),
        _quality(revision),
    )


def _role(summary: Summary, role: str) -> Text:
    """The gates judge whoever is under test."""
    text = Text(role, ROLE_STYLES.get(role, "dim"))
    verdict = summary.get("verdict")
    if not verdict or role not in ("challenger", "shadow"):
        return text
    return text.append(f"\n{verdict['outcome']}", VERDICT_STYLES.get(verdict["outcome"], "not bold"))


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def _weight(revision: Mapping[str, Any]) -> Text:
    weight = Text(f"{revision.get('weight', 0)} %")
    copied = revision.get("mirror", 0)
    return weight.append(f"\n{copied} %", "yellow") if copied else weight


def _errors(rate: float | None) -> Text:
    return Text(NOTHING) if rate is None else Text(f"{100 * rate:.1f} %", "red" if rate > 0 else "")


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _drift(drift: Mapping[str, Any] | None) -> Text:
    """Score and threshold side by side, as `0.41 > 0.10`, and the feature; `>` is an alarm."""
    if not drift:
        return Text(NOTHING)
    alarms = drift["score"] > drift["threshold"]
    feature = str(drift.get("feature", ""))
    feature = feature if len(feature) <= LONGEST_FEATURE else feature[: LONGEST_FEATURE - 1] + "…"
    text = Text(f"{drift['score']:.2f} {'>' if alarms else '<'} {drift['threshold']:.2f}", "bold red" if alarms else "")
    return text.append(f"\n{feature}", "dim not bold")


def _quality(revision: Mapping[str, Any]) -> Text:
    quality = Text(_number(revision.get("quality"), ".3f"))
    rows = revision.get("quality_rows") or 0
    return quality.append(f"\n{rows}", "dim") if rows else quality


# --- processes


def troubles(statuses: Mapping[str, Status]) -> list[Status]:
    """The processes that are not what they should be, and say why."""
    return [status for status in statuses.values() if status.message and status.phase not in ("ready", "succeeded")]


def processes_table(statuses: Mapping[str, Status]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("Process", "Phase"):
        shown.add_column(heading, overflow="fold")
    for heading in ("Pid", "Port", "Restarts"):
        shown.add_column(heading, justify="right")
    shown.add_column("Message", overflow="fold")
    for name in sorted(statuses):
        status = statuses[name]
        shown.add_row(
            name,
            Text(status.phase, PHASE_STYLES.get(status.phase, "yellow")),
            str(status.pid or NOTHING),
            str(status.port or NOTHING),
            str(status.restarts),
            Text(status.message),
        )
    return shown
