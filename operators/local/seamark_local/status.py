"""What `seamark status` shows, from the operator's summaries: tables that a newcomer can read at 80 columns, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from seamark_local.store import Status

__all__ = ["cropped", "details", "processes_table", "table", "troubles"]

Summary = Mapping[str, Any]
Revision = Mapping[str, Any]
NOTHING = "–"
ROLE_STYLES = {"champion": "bold green", "challenger": "bold yellow", "shadow": "yellow"}
VERDICT_STYLES = {"Better": "green", "Equivalent": "green", "Worse": "bold red"}
PHASE_STYLES = {"ready": "green", "succeeded": "green", "backoff": "bold red", "failed": "bold red"}
LONGEST_FEATURE = 12
MOST_ALARMS = 3
#: Terminal columns from which on every number has a table column of its own. Below, some share one.
WIDE = 100
#: Terminal columns below which drift and quality are left out.
NARROW = 78


def table(summaries: Sequence[Summary], *, namespaces: bool = False) -> RenderableType:
    """One row per revision, two lines each as the headings say; below, a few words per deployment.

    namespaces: they are of several, so that each is named with its own.
    """
    return _Fitting(
        [{**one, "title": f"{one['namespace']}/{one['name']}"} for one in summaries] if namespaces else summaries
    )


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Looks at the terminal's width only when it is shown, so that it follows a change of it."""

    summaries: Sequence[Summary]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield _table(self.summaries, options.max_width)
        yield from map(details, self.summaries)


def cropped(shown: RenderableType) -> RenderableType:
    """As much as fits the terminal's height; a last line says what does not."""
    return _Cropped(shown)


@dataclass(frozen=True, slots=True)
class _Cropped:
    shown: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self.shown, options.update(height=None), pad=False)
        fits = console.height if len(lines) <= console.height else console.height - 1
        for line in lines[:fits]:
            yield from line
            yield Segment.line()
        if len(lines) > fits:
            hint = f"{len(lines) - fits} more lines; name one deployment or enlarge the terminal"
            yield Text(hint, "yellow", no_wrap=True, overflow="ellipsis", end="")


def details(summary: Summary) -> RenderableType:
    """What is going on, in words: step, verdict, retraining, alarms, trouble."""
    words = Text(f"{_title(summary)}: ", style="bold")
    words.append("ready" if summary.get("ready") else "not ready", "green" if summary.get("ready") else "bold red")
    verdict = summary.get("verdict")
    alarms = _some(summary.get("alarms", ()))
    said = (
        ("step", summary.get("step"), ""),
        ("verdict", f"{verdict['outcome']}: {verdict['message']}" if verdict else "", ""),
        ("retraining", summary.get("retraining"), ""),
        ("alarms", alarms, "red"),
        ("note", summary.get("message"), "yellow"),
        ("address", summary.get("url"), "dim"),
    )
    lines = Table.grid(padding=(0, 1))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for name, text, style in said:
        if text:
            lines.add_row(f"  {name:<10}", Text(str(text), style))
    return Group(words, lines) if lines.row_count else words


def _title(summary: Summary) -> str:
    return str(summary.get("title") or summary.get("name", ""))


def _some(alarms: Sequence[str]) -> str:
    more = f" and {len(alarms) - MOST_ALARMS} more" if len(alarms) > MOST_ALARMS else ""
    return ", ".join(alarms[:MOST_ALARMS]) + more


# --- the table


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    cell: Callable[[Summary, Revision], Text]
    justify: Literal["left", "right"] = "right"


def _table(summaries: Sequence[Summary], width: int) -> Table:
    columns = _columns(width)
    shown = Table(box=box.HORIZONTALS, show_edge=False, padding=(0, 1 if width >= WIDE else 0, 0, 0))
    shown.add_column(_heading("Deployment\nphase"), overflow="fold", min_width=10)
    for column in columns:
        shown.add_column(_heading(column.heading), justify=column.justify, no_wrap=True)
    for summary in summaries:
        for row, revision in enumerate(summary.get("revisions", ())):
            cells = (column.cell(summary, revision) for column in columns)
            shown.add_row(_deployment(summary) if row == 0 else "", *cells)
        shown.add_section()
    return shown


def _heading(text: str) -> Text:
    first, _, second = text.partition("\n")
    return Text(first, "bold").append(f"\n{second}", "dim not bold") if second else Text(first, "bold")


def _deployment(summary: Summary) -> Text:
    namespace, slash, name = _title(summary).rpartition("/")
    text = Text(f"{namespace}/\n", "dim not bold") if slash else Text()
    return text.append(name, "bold").append(f"\n{summary.get('phase', '')}", "dim not bold")


def _version(summary: Summary, revision: Revision) -> Text:
    prefix = f"{summary.get('name', '')}-"
    short, version = (str(revision.get(key, "")).removeprefix(prefix) for key in ("name", "version"))
    return Text(short[-10:]).append(f"\n{version[:10]}", "dim")


def _role(summary: Summary, revision: Revision) -> Text:
    """The gates judge whoever is under test."""
    role = "rolled back" if revision.get("phase") == "RolledBack" else str(revision.get("role", ""))
    text = Text(role, ROLE_STYLES.get(role, "dim"))
    verdict = summary.get("verdict")
    if not verdict or role not in ("challenger", "shadow"):
        return text
    return text.append(f"\n{verdict['outcome']}", VERDICT_STYLES.get(verdict["outcome"], "not bold"))


def _weight(_: Summary, revision: Revision) -> Text:
    weight = Text(f"{revision.get('weight', 0)} %")
    copied = revision.get("mirror", 0)
    return weight.append(f"\n{copied} %", "yellow") if copied else weight


def _ready(_: Summary, revision: Revision) -> Text:
    ready = str(revision.get("ready", "0/0"))
    return Text(NOTHING if ready == "0/0" else ready)


def _requests(_: Summary, revision: Revision) -> Text:
    return Text(_number(revision.get("requests_per_second"), ".1f"))


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def _errors(_: Summary, revision: Revision) -> Text:
    rate = revision.get("error_rate")
    return Text(NOTHING) if rate is None else Text(f"{100 * rate:.1f} %", "red" if rate > 0 else "")


def _p99(_: Summary, revision: Revision) -> Text:
    seconds = revision.get("p99")
    if seconds is None:
        return Text(NOTHING)
    return Text(f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms")


def _drift(_: Summary, revision: Revision) -> Text:
    """Score and threshold side by side, as `0.41 > 0.10`, and the feature; `>` is an alarm."""
    drift = revision.get("drift")
    if not drift:
        return Text(NOTHING)
    alarms = drift.get("exceeds", drift["score"] > drift["threshold"])
    feature = str(drift.get("feature", ""))
    feature = feature if len(feature) <= LONGEST_FEATURE else feature[: LONGEST_FEATURE - 1] + "…"
    text = Text(f"{drift['score']:.2f} {'>' if alarms else '<'} {drift['threshold']:.2f}", "bold red" if alarms else "")
    return text.append(f"\n{feature}", "dim not bold")


def _quality(_: Summary, revision: Revision) -> Text:
    quality = Text(_number(revision.get("quality"), ".3f"))
    rows = revision.get("quality_rows") or 0
    return quality.append(f"\n{rows}", "dim") if rows else quality


def _over(
    upper: Callable[[Summary, Revision], Text], lower: Callable[[Summary, Revision], Text]
) -> Callable[[Summary, Revision], Text]:
    return lambda summary, revision: Text("\n").join((upper(summary, revision), lower(summary, revision)))


_FIRST = (
    _Column("Revision\nversion", _version, "left"),
    _Column("Role\nverdict", _role, "left"),
    _Column("Weight\ncopied", _weight),
)
_APART = (
    _Column("Ready", _ready),
    _Column("Req/s", _requests),
    _Column("Errors", _errors),
    _Column("p99", _p99),
)
_SHARED = (
    _Column("Ready\nreq/s", _over(_ready, _requests)),
    _Column("Errors\np99", _over(_errors, _p99)),
)
_LAST = (
    _Column("Drift\nfeature", _drift, "left"),
    _Column("Quality\nrows", _quality),
)


def _columns(width: int) -> tuple[_Column, ...]:
    """What fits a terminal of `width` columns beside the deployment's name."""
    if width >= WIDE:
        return *_FIRST, *_APART, *_LAST
    return (*_FIRST, *_SHARED, *_LAST) if width >= NARROW else (*_FIRST, *_SHARED)


# --- processes


def troubles(statuses: Mapping[str, Status]) -> list[Status]:
    """The processes that are not what they should be, and say why; of a deployment's Jobs only the last matters."""
    wrong = [status for status in statuses.values() if status.message and status.phase not in ("ready", "succeeded")]
    return [status for status in wrong if status.phase != "failed" or not _was_followed(status.name, statuses)]


def _was_followed(job: str, statuses: Mapping[str, Status]) -> bool:
    """Jobs are numbered: `trainer-churn-retrain-3`."""
    stem, _, number = job.rpartition("-")
    others = (name.rpartition("-") for name in statuses)
    return number.isdecimal() and any(
        other == stem and later.isdecimal() and int(later) > int(number) for other, _, later in others
    )


def processes_table(statuses: Mapping[str, Status], gateway: int = 0) -> Table:
    """`gateway`: the port people call; the gateway's own status has the one it is probed on."""
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
            str((gateway if name == "gateway" else 0) or status.port or NOTHING),
            str(status.restarts),
            Text(status.message),
        )
    return shown
