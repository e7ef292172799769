"""What the log holds of one deployment, as people ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from seamark.errors import NotFound
from seamark_collector.names import Kind, TableName, check_name

__all__ = ["exists", "overview"]


def overview(root: str, namespace: str, deployment: str) -> dict[str, Any]:
    """For `predictions` and `labels`: version, rows, files, bytes and the oldest time; `NotFound` without either."""
    check_name("namespace", namespace)
    check_name("deployment", deployment)
    addresses = {kind: TableName(kind, namespace, deployment).address(root) for kind in get_args(Kind)}
    found = {kind: _table(address) for kind, address in addresses.items() if exists(address)}
    if not found:
        raise NotFound(f"Cannot find log {namespace}/{deployment}: nothing was stored yet")
    return found


def exists(address: str) -> bool:
    """Is there a table at the address?"""
    # Asking delta-rs about a folder that is not there makes the folder.
    return ("://" in address or Path(address).is_dir()) and DeltaTable.is_deltatable(address)


def _table(address: str) -> dict[str, Any]:
    delta = DeltaTable(address)
    files = pa.table(delta.get_add_actions(flatten=True))
    oldest = pc.min(files["min.time"]).as_py() if "min.time" in files.column_names else None
    return {
        "version": delta.version(),
        "rows": pc.sum(files["num_records"]).as_py() or 0,
        "files": files.num_rows,
        "bytes": pc.sum(files["size_bytes"]).as_py() or 0,
        "oldest": oldest.isoformat().replace("+00:00", "Z") if oldest else None,
    }
