"""`python -m seamark_monitor`, `seamark-monitor`."""

from __future__ import annotations

import sys

from seamark.errors import UserError
from seamark_monitor import logs
from seamark_monitor.service import run
from seamark_monitor.settings import parse

__all__ = ["main"]


def main() -> None:
    logs.configure()
    try:
        run(parse())
    except UserError as error:
        # One line: a cause from outside may hold several.
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
