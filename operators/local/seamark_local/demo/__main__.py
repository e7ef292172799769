"""`seamark demo`: prepare, tell the story, write the summary and the report, leave nothing running."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from seamark_local.demo import data, report
from seamark_local.demo.platform import Platform, PlatformFailed
from seamark_local.demo.screen import Screen
from seamark_local.demo.story import Story, Unmet, read_manifest

__all__ = ["main", "run"]


def run(home: Path) -> int:
    """The whole demo in `home`, which is emptied first. Exit status: 0 all seen, 1 not, 2 could not start."""
    console = Console()
    try:
        with _alone(home):
            return _run(home, console)
    except BlockingIOError:
        console.print(f"Cannot start the demo: another one is running in {home}", style="red")
        return 2


def _run(home: Path, console: Console) -> int:
    began = time.time()
    _empty(home)
    with Screen(console) as screen:
        try:
            world, packages = _prepare(home, screen)
            platform = Platform(home)
            story = Story(platform, screen, world, packages)
            try:
                platform.start(read_manifest())
                screen.say(f"gateway at http://{platform.host}:{platform.port}; home {home}")
                story.tell()
            except Unmet as error:
                screen.say(str(error), style="bold red")
            finally:
                _look_once_more(story)
                story.traffic.stop()
                platform.stop()
        except (PlatformFailed, subprocess.CalledProcessError) as error:
            screen.say(f"Cannot run the demo: {error}", style="bold red")
            return 2
        except KeyboardInterrupt:
            screen.say("stopped; nothing is left running")
            return 130
    summary = _summary(story, began)
    (home / "summary.json").write_text(json.dumps(summary, indent=1))
    (home / "report.html").write_text(report.render(summary, story.samples, story.chapters))
    _print_end(console, home, summary)
    return 0 if summary["passed"] else 1


def _look_once_more(story: Story) -> None:
    if story.platform.events:
        story.platform.refresh()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Holds the demo's lock; raises BlockingIOError when another demo holds it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _empty(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    (home / "packages").mkdir(parents=True)


def _prepare(home: Path, screen: Screen) -> tuple[data.World, Path]:
    """The world, and packages `v1` and `broken`, made as a user would make them from a CSV file."""
    world = data.load()
    packages = home / "packages"
    flipped = {"malignant": "benign", "benign": "malignant"}
    labels = {"v1": world.train_labels, "broken": tuple(flipped[label] for label in world.train_labels)}
    for version, target in labels.items():
        screen.say(f"training {version} on {len(target)} rows")
        table = home / f"{version}.csv"
        data.write_csv(table, world.names, world.train, target)
        _train(table, version, packages / version, home / f"{version}.log")
    return world, packages


def _train(table: Path, version: str, folder: Path, log: Path) -> None:
    command = [sys.executable, "-m", "seamark_trainer.initial", "--data", str(table), "--target", data.TARGET]
    command += ["--name", "scanner", "--version", version, "-o", str(folder), "--candidates", "logistic"]
    with log.open("wb") as output:
        subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=True)


def _summary(story: Story, began: float) -> dict[str, Any]:
    keys = ("time", "kind", "revision", "reason", "message", "evidence")
    answers = story.traffic.since(0)
    return {
        "passed": bool(story.checks) and all(check.passed for check in story.checks) and len(story.chapters) == 5,
        "started": began,
        "finished": time.time(),
        "requests": len(answers),
        "checks": [
            {"chapter": c.chapter, "claim": c.claim, "passed": c.passed, "detail": c.detail} for c in story.checks
        ],
        "events": [{key: event[key] for key in keys} for event in story.platform.events],
    }


def _print_end(console: Console, home: Path, summary: dict[str, Any]) -> None:
    passed = sum(check["passed"] for check in summary["checks"])
    seconds = summary["finished"] - summary["started"]
    colour, words = ("green", "The main job works") if summary["passed"] else ("red", "Not everything happened")
    console.print()
    console.print(
        f"[bold {colour}]{words}[/bold {colour}]: {passed} of {len(summary['checks'])} checks,"
        f" {len(summary['events'])} events, {summary['requests']} requests, {seconds:.0f} s",
        highlight=False,
    )
    for check in summary["checks"]:
        if not check["passed"]:
            console.print(f"  [red]✖[/red] {check['claim']} ({check['detail']})", highlight=False)
    shown = Path(os.path.relpath(home))
    console.print(f"Report:  {shown / 'report.html'}\nSummary: {shown / 'summary.json'}", highlight=False)


def main() -> None:
    sys.exit(run(Path(".seamark/demo").absolute()))


if __name__ == "__main__":
    main()
