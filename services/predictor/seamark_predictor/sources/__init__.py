"""Where models come from: a URI to a file or folder on this machine, whole or not at all.

Belongs here: downloading within limits, unpacking, hiding secrets of addresses.
Does not belong here: what the bytes mean (`opening`). Each scheme's client is imported only when it is needed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

from seamark.errors import InvalidPackage
from seamark_predictor.sources.address import shown
from seamark_predictor.sources.limits import Limits

__all__ = ["Limits", "fetch"]

#: scheme -> module with `download(uri, into, limits)`, which leaves one file or one folder in `into`.
_MODULES = {
    "http": "web",
    "https": "web",
    "s3": "objects",
    "gs": "objects",
    "az": "objects",
    "abfs": "objects",
    "abfss": "objects",
    "models": "registry",
}
_ALLOWED = ", ".join(["a path", "file://", *(f"{scheme}:" for scheme in _MODULES)])


def fetch(uri: str, into: Path, limits: Limits | None = None) -> Path:
    """The file or folder that `uri` names: in place for a path, else below `into`, which is made where it is not.

    Raises `InvalidPackage`, and then nothing of the download is left.
    """
    scheme = _scheme(uri)
    if scheme in ("", "file"):
        return _local(uri, scheme)
    if scheme == "pvc":
        raise InvalidPackage(f"Cannot fetch {shown(uri)}: mount the claim and give the path, as in /mnt/models")
    if scheme not in _MODULES:
        raise InvalidPackage(f"Cannot fetch {shown(uri)}: its scheme is {scheme[:20]!r}; allowed: {_ALLOWED}")
    download = import_module(f"{__name__}.{_MODULES[scheme]}").download
    return _whole(uri, into, limits or Limits(), download)


def _scheme(uri: str) -> str:
    """Only what is written as one: `C:` and `a:b` in a path are none."""
    if uri.startswith("models:/"):
        return "models"
    scheme, found, _ = uri.partition("://")
    return scheme.lower() if found else ""


def _local(uri: str, scheme: str) -> Path:
    if not uri:
        raise InvalidPackage("Cannot fetch the model: its address is empty")
    if not scheme:
        return Path(uri)
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidPackage(f"Cannot fetch {shown(uri)}: it names a host; file:///path is of this machine")
    return Path(unquote(parts.path))


def _whole(uri: str, into: Path, limits: Limits, download: Callable[[str, Path, Limits], None]) -> Path:
    """Downloads beside the place and moves there; what a crash leaves is hidden and never read."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".fetching-", dir=into))
    except OSError as error:
        raise InvalidPackage(f"Cannot fetch {shown(uri)}: {error.strerror} ({into})") from error
    try:
        download(uri, work, limits)
        place = into / work.name.replace(".fetching-", "model-")
        work.rename(place)
    except OSError as error:
        raise InvalidPackage(f"Cannot fetch {shown(uri)}: {error.strerror or type(error).__name__}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _inner(place)


def _inner(place: Path) -> Path:
    """The only file or folder in it, as most archives have one folder at the top."""
    entries = list(place.iterdir())
    return entries[0] if len(entries) == 1 else place
