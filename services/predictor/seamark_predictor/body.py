"""JSON bodies: strict first, and on failure once more leniently to say what is wrong in the user's words."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np
import orjson

from seamark.errors import InvalidInput
from seamark.package import Schema
from seamark_predictor.rows import Rows, show

__all__ = ["Document", "decode", "refuse_bare_numbers"]

#: Bytes up to which a body that is not JSON is read again; Python's reader is slow and takes much memory.
_LONGEST_SECOND_READING = 1024 * 1024
_LONGEST_INTEGER = 18
#: Lists and objects in a body. Empty ones take 30 times their bytes in memory, and the reader lets nobody else work.
_MOST_BRACKETS = 1 << 20


class Document(dict[str, Any]):
    """A JSON object. `bare` holds the strict reader's complaint where bare NaN or Infinity was read as infinity."""

    bare: str = ""


def decode(body: bytes | memoryview) -> Document:
    """The object that a body holds; raises `InvalidInput`.

    Python clients write bare NaN and Infinity, and numbers such as 1e999, which JSON does not have. A document that is
    otherwise fine is returned with `bare` set, only for `refuse_bare_numbers` to name the features.
    """
    _few_brackets(body)
    try:
        document = orjson.loads(body)
        bare = ""
    except orjson.JSONDecodeError as error:
        bare = str(error)
        document = _read_leniently(body, bare)
    if not isinstance(document, dict):
        raise InvalidInput(f"Cannot read the body: it is {show(document)}; a JSON object is needed")
    result = Document(document)
    result.bare = bare
    return result


def _few_brackets(body: bytes | memoryview) -> None:
    """Counts those within texts, too."""
    if len(body) <= _MOST_BRACKETS:
        return
    content = bytes(body)
    found = content.count(b"[") + content.count(b"{")
    if found > _MOST_BRACKETS:
        problem = f"it has {found} lists and objects, or their brackets in texts; at most {_MOST_BRACKETS} are allowed"
        raise InvalidInput(f"Cannot read the body: {problem}", status=413)


def _read_leniently(body: bytes | memoryview, complaint: str) -> Any:
    """The document with every number that JSON does not have as infinity."""
    bare = 0

    def infinity(_: str) -> float:
        nonlocal bare
        bare += 1
        return math.inf

    def number(text: str) -> float:
        value = float(text)
        return infinity(text) if math.isinf(value) else value

    def integer(text: str) -> float:
        return int(text) if len(text) <= _LONGEST_INTEGER else number(text)

    problem = InvalidInput(f"Cannot read the body: it is not JSON: {complaint}")
    if len(body) > _LONGEST_SECOND_READING:
        raise problem
    try:
        document = json.loads(bytes(body), parse_constant=infinity, parse_float=number, parse_int=integer)
    except (ValueError, RecursionError) as error:
        raise problem from error
    if not bare:
        raise problem
    return document


def refuse_bare_numbers(complaint: str, rows: Rows, schema: Schema) -> NoReturn:
    """Refuses rows of a document that was read leniently, naming the features that hold NaN or Infinity.

    complaint: the strict reader's.
    """
    counts = np.count_nonzero(np.isinf(rows.numbers), axis=0).tolist()
    found = tuple((name, "nonfinite", n) for name, n in zip(schema.numbers, counts, strict=True) if n)
    if not found:
        raise InvalidInput(f"Cannot read the body: it is not JSON: {complaint}")
    names = ", ".join(show(name) for name, _, _ in found[:5])
    raise InvalidInput(
        f"Cannot predict: NaN or an infinite number in feature {names}; finite numbers are allowed, and null where the "
        "model takes missing values",
        status=422,
        violations=found,
    )
