"""Where the log is read: its tables themselves, or a collector that sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from seamark.errors import UserError
from seamark.log import table

__all__ = ["Delta", "Kind", "Source"]

Kind = Literal["predictions", "labels"]


class Source(Protocol):
    """The log of one deployment."""

    def read(
        self, kind: Kind, names: Sequence[str], since: datetime, reduce: Callable[[pa.RecordBatchReader], pa.Table]
    ) -> tuple[pa.Table, int]:
        """What `reduce` makes of the rows, and the table's version.

        The rows are the columns `names`, in any order of rows: predictions made since then, labels received since
        that day. `reduce` may be called again, with all rows from the first on. Raises `UserError` where there is
        no such table or column, or it cannot be read.
        """
        ...


class Delta:
    """Tables under a folder, or an address that delta-rs knows."""

    def __init__(self, root: str, namespace: str, deployment: str) -> None:
        self._root = root
        self._deployment = (namespace, deployment)

    def read(
        self, kind: Kind, names: Sequence[str], since: datetime, reduce: Callable[[pa.RecordBatchReader], pa.Table]
    ) -> tuple[pa.Table, int]:
        """See `Source`."""
        address = table(self._root, kind, *self._deployment)
        wanted = ds.field("date") >= since.date()
        if kind == "predictions":
            wanted &= ds.field("time") >= since
        try:
            delta = _open(address, names)
            scanner = delta.to_pyarrow_dataset().scanner(list(names), filter=wanted)
            return reduce(scanner.to_reader()), delta.version()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"cannot read the log's table {address}: {' '.join(str(error).split())[:500]}") from error


def _open(address: str, names: Sequence[str]) -> DeltaTable:
    # Asking delta-rs about a folder that is not there makes the folder.
    missing = "://" not in address and not Path(address).is_dir()
    if missing or not DeltaTable.is_deltatable(address):
        raise UserError(f"the log has no table {address}")
    delta = DeltaTable(address)
    known = {field.name for field in delta.schema().fields}
    for name in names:
        if name not in known:
            raise UserError(f"the log's table {address} has no column {name}")
    return delta
