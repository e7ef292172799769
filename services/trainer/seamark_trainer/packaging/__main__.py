"""`python -m seamark_trainer.packaging`: a package of a model that somebody already has."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seamark.errors import UserError

if TYPE_CHECKING:
    from seamark_trainer.packaging.making import Made, Plan

__all__ = ["main"]

_FORMATS = ("auto", "onnx", "native")


class _Lines(logging.Formatter):
    """What it is at, as plain lines; warnings are marked."""

    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(record.getMessage().split())
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 2 for a mistake the user can mend. Prints one line of JSON; says what it is at beside it."""
    options = _parser().parse_args(arguments)
    _listen(logging.WARNING if options.quiet else logging.INFO)
    _use_one_thread()
    try:
        from seamark_trainer.packaging.making import make

        with warnings.catch_warnings():
            # Libraries warn about models of other versions; what matters of it is said when the model is opened.
            warnings.simplefilter("ignore")
            made = make(_plan(options))
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)  # noqa: T201  # the contract: one line on standard error
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(_report(made)))  # noqa: T201  # the command's output
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m seamark_trainer.packaging",
        description="Make a model package of a model file or an MLflow folder, and a sample of its input.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=".skops, .onnx, .joblib, .pkl or an MLflow folder")
    parser.add_argument("--data", required=True, type=Path, metavar="SAMPLE", help="typical rows, CSV or Parquet")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="the package, a new folder")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--version", default="v1", help="the package's version (default: %(default)s)")
    parser.add_argument("--label", metavar="COLUMN", help="the sample's column with the true answers")
    parser.add_argument("--format", choices=_FORMATS, default="auto", help="default: %(default)s")
    parser.add_argument("--tolerance", type=float, help="how far ONNX may be from the original (default: 0.0001)")
    parser.add_argument(
        "--category", action="append", default=[], metavar="COLUMN", help="texts that look like numbers"
    )
    parser.add_argument("--classes", default="", metavar="A,B,...", help="of an ONNX model that does not tell them")
    parser.add_argument(
        "--min-rows", type=int, default=50, metavar="N", help="fewer are refused (default: %(default)s)"
    )
    parser.add_argument("--trust-pickle", action="store_true", help="read pickles, which can run any code")
    parser.add_argument("--force", action="store_true", help="replace the package in DIR")
    parser.add_argument("--quiet", action="store_true", help="print nothing but warnings and the result")
    return parser


def _listen(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logger = logging.getLogger("seamark_trainer.packaging")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


def _use_one_thread() -> None:
    """As a predictor does; the numeric libraries read these when they are first imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _plan(options: argparse.Namespace) -> Plan:
    from seamark_trainer.packaging.conversion import TOLERANCE
    from seamark_trainer.packaging.making import Plan

    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    if not 0 <= tolerance < float("inf"):
        raise UserError(f"Cannot use --tolerance: {tolerance:g} is not a number of at least 0")
    for option in ("name", "version"):
        if getattr(options, option) == "":
            raise UserError(f"Cannot use --{option}: it is empty")
    return Plan(
        model=options.model,
        data=options.data,
        output=options.output,
        name=options.name,
        version=options.version,
        label=options.label,
        format=options.format,
        trust_pickle=options.trust_pickle,
        categories=tuple(options.category),
        classes=_classes(options.classes),
        tolerance=tolerance,
        min_rows=max(options.min_rows, 1),
        force=options.force,
    )


def _classes(text: str) -> tuple[str | int, ...]:
    """Whole numbers as such where all are."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        return tuple(words)


def _report(made: Made) -> dict[str, Any]:
    manifest, choice = made.package.manifest, made.choice
    parity, speed = choice.parity, choice.speed
    return {
        "package": str(made.package.folder),
        "digest": made.package.digest,
        "name": manifest.name,
        "version": manifest.version,
        "format": manifest.model.format,
        "task": manifest.schema.task,
        "classes": list(manifest.schema.classes),
        "features": len(manifest.schema.features),
        "rows": made.rows,
        "metrics": dict(manifest.metrics),
        "parity": parity
        and {
            "compared": parity.what,
            "largestDifference": parity.difference,
            "allowed": parity.limit,
            "differingLabels": parity.labels,
            "rows": parity.rows,
        },
        "secondsPerRow": speed and {"native": speed.native, "onnx": speed.onnx},
        "notConverted": choice.kept,
    }


if __name__ == "__main__":
    sys.exit(main())
