"""Large JSON bodies of numbers, read into arrays without a Python object for each number.

What is not plainly of that form is not read here: None is returned, and `body.decode` reads it and says what is wrong.
Nothing is accepted here that is refused there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

from seamark_predictor.body import Document

__all__ = ["WORTH", "read_rows", "read_tensors"]

#: Bytes of a body from which this is faster than reading everything.
WORTH = 2048


def read_rows(body: bytes) -> NDArray[np.float64] | None:
    """The rows of a v1 body that holds `instances`, lists of numbers of one length; else None."""
    try:
        root: Any = simdjson.Parser().parse(body)
        keys = list(root.keys())
        rows = root["instances"]
        if keys.count("instances") != 1 or "inputs" in keys:
            return None
        # One bracket for the list and one for each row: no number hides in a list of its own.
        if body.count(b"[") != len(rows) + 1:
            return None
        width = len(rows[0])
        if not width or any(len(row) != width for row in rows):
            return None
        return np.frombuffer(rows.as_buffer(of_type="d")).reshape(len(rows), width)
    except Exception:
        # The parser raises whatever it stumbles over; the other reader knows how to say it.
        return None


def read_tensors(body: bytes | memoryview) -> Document | None:
    """A v2 body whose tensors' data are flat lists of numbers, which come as arrays; else None."""
    content = bytes(body)
    try:
        root: Any = simdjson.Parser().parse(content)
        keys = list(root.keys())
        if len(set(keys)) < len(keys):
            return None
        inputs = root["inputs"]
        entries = [_entry(inputs.at_pointer(f"/{i}")) for i in range(len(inputs))]
        document = Document({key: _plain(root[key]) for key in keys if key != "inputs"})
    except Exception:
        # As above.
        return None
    # One bracket for each list, and two for each tensor: its shape and its data.
    lists = 1 + isinstance(document.get("outputs"), list)
    if content.count(b"[") != 2 * len(entries) + lists:
        return None
    document["inputs"] = entries
    return document


def _entry(tensor: Any) -> dict[str, Any]:
    keys = list(tensor.keys())
    if len(set(keys)) < len(keys) or "data" not in keys:
        raise ValueError("it is for the other reader")
    entry = {key: _plain(tensor[key]) for key in keys if key != "data"}
    entry["data"] = np.frombuffer(tensor["data"].as_buffer(of_type="d"))
    return entry


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value
