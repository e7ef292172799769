"""`python -m seamark_trainer.initial`: a first package from a CSV file, by the same path as every later one."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from seamark.errors import UserError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 2 for a mistake the user can mend. Prints one line of JSON: package, digest, metrics."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="level=%(levelname)s %(message)s")
    try:
        print(json.dumps(_make(options)))  # noqa: T201  # the command's output
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the contract: one line on standard error
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seamark-train",
        description="Make a model package from a CSV file whose first line names the columns. Rows are taken to be in "
        "the order of time: the newest 30 % measure the model.",
    )
    parser.add_argument("--data", required=True, type=Path, metavar="FILE.csv")
    parser.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--version", required=True, help="the package's version")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="the package, a new folder")
    parser.add_argument(
        "--task", choices=("binary", "multiclass", "regression"), help="found from the target if left out"
    )
    parser.add_argument("--candidates", nargs="+", default=[], metavar="NAME", help="logistic|linear, forest, boosting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-rows", type=int, default=50, metavar="N", help="fewer are refused (default %(default)s)")
    parser.add_argument("--shuffle", action="store_true", help="the file's order means nothing, as in sorted files")
    return parser


def _make(options: argparse.Namespace) -> dict[str, Any]:
    # Imported late, so that --help answers at once.
    import numpy as np

    from seamark_trainer import table
    from seamark_trainer.training import Plan, train

    found = table.read(options.data, options.target, options.task)
    names = _candidates(options.candidates, found.data.schema.task)
    finite = ~np.isinf(found.data.numbers).any(axis=1)
    order = np.flatnonzero(finite)
    if options.shuffle:
        order = np.random.default_rng(options.seed).permutation(order)
    data = found.data.take(order)
    plan = Plan(
        name=options.name,
        version=options.version,
        folder=options.output,
        candidates=names,
        seed=options.seed,
        min_rows=options.min_rows,
        lineage={"data": options.data.name, "rows": data.rows},
        excluded={"no target": found.unlabelled, "infinite value": int(np.count_nonzero(~finite))},
    )
    try:
        made = train(data, plan)
    except UserError as error:
        hint = "" if options.shuffle or "class" not in str(error) else "; for a sorted file use --shuffle"
        cause = str(error).removeprefix(f"Cannot write package {options.output}: ")
        raise UserError(f"Cannot make package {options.output}: {cause}{hint}") from error
    return {"package": str(made.folder), "digest": made.digest, "metrics": dict(made.manifest.metrics)}


def _candidates(given: list[str], task: str) -> tuple[str, ...]:
    from seamark_trainer.candidates import known

    names = tuple(name for text in given for name in text.split(",") if name)
    for name in names:
        if name not in known(task):
            raise UserError(f"Cannot use candidate {name!r}: for {task} there are {', '.join(known(task))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
