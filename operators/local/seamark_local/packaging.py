"""`seamark package`: runs the trainer's packaging as a process, and says what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from seamark.errors import SeamarkError
from seamark_local.child import ended_text

__all__ = ["package"]

#: Exit status of a process that has told the user what to mend.
_USER_ERROR = 2


def package(
    model: Path,
    options: Mapping[str, object],
    categories: Sequence[str],
    flags: Mapping[str, bool],
    *,
    as_json: bool,
) -> None:
    """options: None for one that is not given. Its words reach the user as it says them."""
    words = [f"{option}={value}" for option, value in options.items() if value is not None]
    words += [f"--category={name}" for name in categories]
    words += [flag for flag, wanted in flags.items() if wanted]
    command = [sys.executable, "-m", "seamark_trainer.packaging", *words, "--", str(model)]
    output = _run(command, model)
    if as_json:
        typer.echo(json.dumps(json.loads(output), indent=1))
        return
    for line in _summary(json.loads(output), trusted=flags["--trust-pickle"]):
        typer.echo(line)


def _run(command: list[str], model: Path) -> bytes:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            output, _ = process.communicate()
        except KeyboardInterrupt:
            # Ctrl-C reached it as well; it takes away what it had begun to write.
            process.wait()
            raise
    if process.returncode == _USER_ERROR:
        raise typer.Exit(_USER_ERROR)
    if process.returncode:
        raise SeamarkError(f"Cannot package {model}: the process ended with {ended_text(process.returncode)}")
    return output


def _summary(made: Mapping[str, Any], *, trusted: bool) -> Iterator[str]:
    classes = ", ".join(map(str, made["classes"][:5])) + (", ..." if len(made["classes"]) > 5 else "")
    task = f"{made['task']} of {classes}" if classes else made["task"]
    yield f"Packaged {made['name']} {made['version']} in {made['package']}: {made['format']}, {task}"
    yield f"  profile   {_count(made['rows'], 'row')} of {_count(made['features'], 'feature')}"
    if made["metrics"]:
        values = ", ".join(f"{name} {value:.4g}" for name, value in made["metrics"].items() if name != "rows")
        yield f"  measured  {values} on {_count(int(made['metrics']['rows']), 'row')}, which it may have been fitted on"
    if made["parity"]:
        yield f"  parity    {_parity(made['parity'])}"
    if made["secondsPerRow"]:
        yield f"  speed     {_speed(made['secondsPerRow'])}"
    if made["notConverted"]:
        yield f"  format    not converted: {made['notConverted']}"
    yield f"  digest    {made['digest']}"
    trust = " --trust-pickle" if made["format"] == "joblib" and trusted else ""
    yield f"Serve it: seamark serve {quote(made['package'])}{trust}"


def _parity(parity: Mapping[str, Any]) -> str:
    """How far the ONNX model's answers are from the original's."""
    rows = _count(parity["rows"], "row")
    labels = f"{parity['differingLabels']:,} of {parity['rows']:,} labels differ"
    if not parity["compared"]:
        return f"as ONNX {labels}"
    largest = f"{parity['compared']} differ by {parity['largestDifference']:.2g} at most"
    allowed = f"(allowed: {parity['allowed']:.2g})"
    if parity["compared"] == "values":
        return f"as ONNX {largest} {allowed}, on {rows}"
    return f"as ONNX {labels}; {largest} {allowed}"


def _speed(seconds: Mapping[str, float]) -> str:
    native, onnx = seconds["native"], seconds["onnx"]
    calls = f"one call for one row: {_time(native)} before, {_time(onnx)} as ONNX"
    return f"{calls}, {native / onnx:.3g} times as fast; a request adds its own time"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
