"""Addresses of model packages in a cluster: `pvc://CLAIM/PATH`, a folder on a PersistentVolumeClaim."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seamark.errors import InvalidSpec

__all__ = ["Claim", "parse"]

_SCHEME = "pvc://"
#: A DNS subdomain, as Kubernetes wants the names of claims.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
#: The longest path that Linux opens, less some for the files in the folder.
_LONGEST_PATH = 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """name: of the PersistentVolumeClaim. path: of a folder in it, relative, without `.`, `..` and doubled slashes."""

    name: str
    path: str

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.name}/{self.path}"


def parse(uri: str, where: str = "spec.model.uri") -> Claim:
    """The claim and path that `uri` names, or `InvalidSpec` at `where`."""
    if not uri.startswith(_SCHEME):
        raise InvalidSpec(where, f"{_shown(uri)} is not pvc://CLAIM/PATH; no other address is served in a cluster yet")
    name, _, path = uri.removeprefix(_SCHEME).partition("/")
    if not _NAME.fullmatch(name):
        raise InvalidSpec(where, f"{_shown(uri)} does not name a PersistentVolumeClaim after pvc://")
    path = path.removesuffix("/")
    if problem := _problem(path):
        raise InvalidSpec(where, f"{_shown(uri)} has a path that {problem}")
    return Claim(name, path)


def _problem(path: str) -> str:
    """What is wrong with a path; "" if nothing is. A path is used as it stands: no percent-decoding, no expansion."""
    parts = path.split("/")
    rules = (
        (not path, "is empty; name the package's folder, as pvc://models/churn/v1"),
        (len(path.encode(errors="replace")) > _LONGEST_PATH, f"is longer than {_LONGEST_PATH} bytes"),
        (not path.isprintable() or "\\" in path, "has control characters or backslashes"),
        (".." in parts, "leads out of its folder with .."),
        ("" in parts or "." in parts, "is absolute, or has empty or . parts"),
    )
    return next((text for stands, text in rules if stands), "")


def _shown(uri: str) -> str:
    text = ascii(uri)
    return text if len(text) <= 120 else text[:117] + "..."
