"""The report: one HTML file with its pictures inside, to open, mail or keep."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any

__all__ = ["render"]

WIDTH, HEIGHT = 960, 190
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 26
DEPTH = HEIGHT - TOP - BOTTOM
NAMES, BAR = 170, 28
COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#64748b")
MARKED = ("Alarm", "AlarmCleared", "RetrainingStarted", "Promoted", "RolledBack", "ContractViolated")

Points = Sequence[tuple[float, float | None]]


def render(summary: dict[str, Any], samples: Sequence[dict[str, Any]], chapters: Sequence[tuple[float, str]]) -> str:
    """The page. samples: what was seen twice a second; chapters: (time, title)."""
    began = chapters[0][0] if chapters else summary["started"]
    ended = summary["finished"]
    axis = _Axis(began, ended, chapters, [event for event in summary["events"] if event["kind"] in MARKED])
    charts = [
        axis.lines(
            "Live accuracy of the champion, from labels",
            {"accuracy": _series(samples, "quality")},
            low=0.5,
            high=1.0,
            form=_percent,
        ),
        axis.lines(
            "Drift: highest score over its threshold (1 = alarm)",
            {"score / threshold": _series(samples, "drift")},
            line=1.0,
            form=_plain,
        ),
        axis.lines("Share of the traffic by revision", _weights(samples), low=0, high=100, form=lambda v: f"{v:.0f} %"),
        axis.lines(
            "Users' 99th percentile latency, at the gateway",
            {"p99": _series(samples, "p99")},
            low=0,
            form=lambda v: f"{v * 1000:.0f} ms",
        ),
    ]
    page = Template((Path(__file__).parent / "report.html").read_text())
    return page.substitute(
        outcome="Everything happened" if summary["passed"] else "Not everything happened",
        state="good" if summary["passed"] else "bad",
        facts=f"{len(summary['events'])} events, {summary['requests']} requests, {ended - summary['started']:.0f} s, "
        + time.strftime("%Y-%m-%d %H:%M", time.localtime(summary["started"])),
        charts="".join(charts) + _ranking(summary["events"]),
        checks="".join(_chapter(title, summary["checks"]) for _, title in chapters),
        events="".join(_event(event, began) for event in summary["events"]),
    )


class _Axis:
    """Time on x, shared by every chart, with chapters as bands and events as marks."""

    def __init__(
        self, began: float, ended: float, chapters: Sequence[tuple[float, str]], events: Sequence[dict[str, Any]]
    ) -> None:
        self._began = began
        self._span = max(ended - began, 1.0)
        self._chapters = chapters
        self._events = events

    def _x(self, moment: float) -> float:
        return LEFT + (moment - self._began) / self._span * (WIDTH - LEFT - RIGHT)

    def lines(
        self,
        title: str,
        series: dict[str, Points],
        *,
        form: Callable[[float], str],
        low: float | None = None,
        high: float | None = None,
        line: float | None = None,
    ) -> str:
        values = [value for points in series.values() for _, value in points if value is not None]
        values += [] if line is None else [line]
        bottom = low if low is not None else 0.0
        top = high if high is not None else max(values, default=1.0) * 1.1
        bottom = min([bottom, *values])

        def y(value: float) -> float:
            return TOP + (1 - (value - bottom) / max(top - bottom, 1e-9)) * (HEIGHT - TOP - BOTTOM)

        parts = [self._bands(), self._grid(bottom, top, y, form)]
        if line is not None:
            parts.append(
                f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(line):.1f}" y2="{y(line):.1f}"/>'
            )
        parts += [self._marks()]
        legend = []
        for i, (name, points) in enumerate(series.items()):
            colour = COLOURS[i % len(COLOURS)]
            parts += [f'<polyline stroke="{colour}" points="{run}"/>' for run in self._runs(points, y)]
            legend.append(f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>')
        drawing = (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
        )
        return f"<figure><figcaption>{html.escape(title)}<div>{''.join(legend)}</div></figcaption>{drawing}</figure>"

    def _runs(self, points: Points, y: Callable[[float], float]) -> list[str]:
        """Unbroken stretches; a gap in the data stays a gap."""
        runs: list[list[str]] = [[]]
        for moment, value in points:
            if value is None:
                runs.append([])
            elif moment >= self._began:
                runs[-1].append(f"{self._x(moment):.1f},{y(value):.1f}")
        return [" ".join(run) for run in runs if len(run) > 1]

    def _bands(self) -> str:
        ends = [moment for moment, _ in self._chapters[1:]] + [self._began + self._span]
        bands = []
        for i, ((start, title), end) in enumerate(zip(self._chapters, ends, strict=False)):
            x = self._x(start)
            width = max(self._x(end) - x, 0)
            bands.append(
                f'<rect class="band{i % 2}" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{DEPTH}"/>'
                f'<text class="chapter" x="{x + 4:.1f}" y="{TOP + 12}">{title[:1]}</text>'
            )
        return "".join(bands)

    def _grid(self, bottom: float, top: float, y: Callable[[float], float], form: Callable[[float], str]) -> str:
        rows = [bottom + (top - bottom) * i / 4 for i in range(5)]
        lines = "".join(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{form(v)}</text>'
            for v in rows
        )
        step = next(s for s in (15, 30, 60, 120, 300, 3600) if self._span / s <= 16 or s == 3600)
        ticks = "".join(
            f'<text x="{self._x(self._began + second):.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{second // 60}:{second % 60:02d}</text>"
            for second in range(0, int(self._span) + 1, step)
        )
        return lines + ticks

    def _marks(self) -> str:
        marks = []
        for event in self._events:
            x = f"{self._x(event['time']):.1f}"
            title = html.escape(f"{event['kind']}: {event['message']}")
            line = f'<line class="mark {event["kind"]}" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
            marks.append(f"{line}<title>{title}</title></line>")
        return "".join(marks)


def _series(samples: Sequence[dict[str, Any]], key: str) -> Points:
    return [(sample["time"], sample[key]) for sample in samples]


def _weights(samples: Sequence[dict[str, Any]]) -> dict[str, Points]:
    names = dict.fromkeys(name for sample in samples for name in sample["weights"])
    return {name: [(sample["time"], sample["weights"].get(name)) for sample in samples] for name in names}


def _percent(value: float) -> str:
    return f"{value * 100:.0f} %"


def _plain(value: float) -> str:
    return f"{value:.1f}"


def _ranking(events: Sequence[dict[str, Any]]) -> str:
    """What the alarm said before the retraining: each feature's score beside its threshold, by impact."""
    cleared = next((event["time"] for event in events if event["kind"] == "AlarmCleared"), float("inf"))
    alarms = [event for event in events if event["kind"] == "Alarm" and event["time"] < cleared]
    findings = alarms[-1]["evidence"]["findings"] if alarms else []
    if not findings:
        return ""
    scale = (WIDTH - 2 * RIGHT - NAMES) / max(finding["score"] for finding in findings)
    bars = []
    for i, finding in enumerate(findings):
        y = i * BAR + 8
        limit = NAMES + finding["threshold"] * scale
        label = html.escape(finding["feature"] or finding["kind"])
        bars.append(
            f'<text x="{NAMES - 8}" y="{y + 14}" text-anchor="end">{label}</text>'
            f'<rect fill="{COLOURS[0]}" x="{NAMES}" y="{y}" width="{finding["score"] * scale:.1f}" height="{BAR - 8}"/>'
            f'<line class="limit" x1="{limit:.1f}" x2="{limit:.1f}" y1="{y - 3}" y2="{y + BAR - 5}"/>'
            f'<text class="inside" x="{NAMES + 6}" y="{y + 14}">{finding["score"]:.2f}</text>'
        )
    title = "The last alarm: drift by feature, ranked by impact (dashed: threshold)"
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {len(findings) * BAR + 12}" role="img" aria-label="{title}">{"".join(bars)}</svg>'
    )
    return f"<figure><figcaption>{title}</figcaption>{drawing}</figure>"


def _chapter(title: str, checks: Sequence[dict[str, Any]]) -> str:
    rows = "".join(_check(check) for check in checks if check["chapter"] == title)
    return f"<tr><th colspan=3>{html.escape(title)}</th></tr>{rows}"


def _check(check: dict[str, Any]) -> str:
    mark, state = ("✔", "good") if check["passed"] else ("✖", "bad")
    claim, detail = html.escape(check["claim"]), html.escape(check["detail"])
    return f'<tr><td class="{state}">{mark}</td><td>{claim}</td><td>{detail}</td></tr>'


def _event(event: dict[str, Any], began: float) -> str:
    seconds = event["time"] - began
    return (
        f"<tr><td>{seconds:.1f} s</td><td><b class={event['kind']}>{event['kind']}</b></td>"
        f"<td>{html.escape(event['revision'])}</td><td>{html.escape(event['message'])}</td></tr>"
    )
