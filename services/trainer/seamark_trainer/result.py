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
_MAX_TEXT = 1000


def encode(result: Mapping[str, Any]) -> bytes:
    """At most MAX_BYTES of JSON; metrics go first when there is no room, then texts are cut."""
    content = json.dumps(dict(result), allow_nan=False).encode()
    if len(content) > MAX_BYTES:
        content = json.dumps({key: value for key, value in result.items() if key != "metrics"}).encode()
    if len(content) > MAX_BYTES:
        short = {key: value[:_MAX_TEXT] if isinstance(value, str) else value for key, value in result.items()}
        content = json.dumps(
            {key: value for key, value in short.items() if key in ("error", "package", "digest")}
        ).encode()
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
