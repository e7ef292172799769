"""Names that become folders: a deployment's table lies under its namespace and name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from seamark.errors import InvalidInput
from seamark.log import table

__all__ = ["Kind", "TableName", "check_name"]

Kind = Literal["predictions", "labels"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class TableName:
    kind: Kind
    namespace: str
    deployment: str

    def address(self, root: str) -> str:
        return table(root, self.kind, self.namespace, self.deployment)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.deployment}"


def check_name(field: str, value: object) -> str:
    """The value, if it is a name; else `InvalidInput`. Nothing that passes can leave the log's root."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:80] + "..."
    raise InvalidInput(f"{field}: {shown} is not a name of 1 to 63 lower-case letters, digits and inner dashes")
