"""The prediction log's layout: where its Delta tables are and what their columns are called.

predictions: prediction_id, row, time (UTC microseconds), date, revision, then one column per input (`x_...`) and
output (`y_...`). labels: prediction_id, row, label (text), time (UTC), date, source, sequence. Only answered
predictions (status 200) are rows; refusals are counted by the monitor. A label meets every revision's prediction with
its id and row, whichever arrived first; of several labels for one row the last received wins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["columns", "table"]


def table(root: str, kind: str, namespace: str, deployment: str) -> str:
    """The address of a table; kind is `predictions` or `labels`."""
    return f"{root.rstrip('/')}/{kind}/{namespace}/{deployment}"


def columns(prefix: str, names: Sequence[str]) -> list[str]:
    """Column names for feature or output names, by position.

    Delta refuses spaces and punctuation, so they become `_`, and takes names that differ in case only for one, so they
    are lower-case. Of features, name the numbers first, then the categories, each in schema order.

    >>> columns("x", ["mean radius", "mean_radius", "Age"])
    ['x_mean_radius', 'x_mean_radius_2', 'x_age']
    """
    taken: set[str] = set()
    result = []
    for name in names:
        base = f"{prefix}_" + re.sub(r"[^0-9A-Za-z_]", "_", name).lower()
        column, count = base, 1
        while column in taken:
            count += 1
            column = f"{base}_{count}"
        taken.add(column)
        result.append(column)
    return result
