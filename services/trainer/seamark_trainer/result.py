"""The Job's answer: a small JSON document in the termination log, which Kubernetes cuts at 4096 bytes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["MAX_BYTES", "encode", "write"]

MAX_BYTES = 4096
#: Characters kept of a text when there is no room for all; one takes up to 12 bytes.
_LENGTHS = (1000, 300, 100)
_NEEDED = ("error", "package", "digest")


def encode(result: Mapping[str, Any]) -> bytes:
    """At most MAX_BYTES of JSON; metrics go first when there is no room, then all that is not needed."""
    content = json.dumps(dict(result), allow_nan=False).encode()
    if len(content) > MAX_BYTES:
        content = json.dumps({key: value for key, value in result.items() if key != "metrics"}).encode()
    for length in _LENGTHS:
        if len(content) > MAX_BYTES:
            content = json.dumps({key: str(result[key])[:length] for key in _NEEDED if key in result}).encode()
    return content


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Replace the file by rename, so that a reader finds it whole; in place where a rename is not possible.

    Kubernetes mounts the termination log as one file, which cannot be renamed over.
    """
    content = encode(result)
    draft = ""
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except OSError:
        if draft:
            Path(draft).unlink(missing_ok=True)
        path.write_bytes(content)
