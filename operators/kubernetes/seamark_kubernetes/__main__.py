"""`python -m seamark_kubernetes`: run the operator until told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

from seamark.errors import UserError
from seamark_kubernetes import options

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 after a stop by signal, 2 for a mistake the user can mend."""
    try:
        settings = options.parse(arguments)
        # Imported late, so that --help and mistakes answer at once.
        from seamark_kubernetes import credentials, process

        config = credentials.load()
        _configure_logs()
        return asyncio.run(process.serve(settings, config))
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one line a mistake is told in
        return 2


def _configure_logs() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    # They tell of every request and every event.
    for name in ("kopf", "httpx2", "httpcore2", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
