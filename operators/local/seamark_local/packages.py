"""Model packages on this machine: what a URI resolves to, and copies that cannot change any more.

A revision is served from HOME/packages/<digest>, a copy made and verified once, so that a later edit of the user's
folder makes a new revision and never changes a running one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from seamark.errors import InvalidPackage, Unavailable
from seamark.package import Manifest, parse_manifest
from seamark.seen import ModelSeen

__all__ = ["Packages", "local_folder", "resolve_model"]

MAX_MANIFEST = 4 * 2**20
CHUNK = 2**20
#: Resolved packages remembered, so that the loop does not hash each model several times a second.
REMEMBERED = 256
#: Files that a package may have beside those whose digests it names.
UNPINNED = ("card.md", "contract.json")


def resolve_model(uri: str, base: Path | None = None) -> ModelSeen:
    """What the package at `uri` is now: its digest and version, or an `error`. Every file's hash is checked.

    uri: `file:///folder` or a plain path, taken relative to `base`.
    """
    try:
        folder = _folder(uri, base)
        content, manifest = _read(folder)
        _check_files(folder, manifest)
    except InvalidPackage as error:
        return ModelSeen(uri, error=str(error))
    return ModelSeen(uri, hashlib.sha256(content).hexdigest(), manifest.version, format=manifest.model.format)


def local_folder(uri: str) -> Path | None:
    """The folder that a package's `uri` names on this machine, whether it is there or not; None when it names none."""
    try:
        return _folder(uri, None)
    except InvalidPackage:
        return None


def _folder(uri: str, base: Path | None) -> Path:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidPackage(f"Cannot read model package {uri}: {error}") from error
    if parts.scheme not in ("", "file"):
        cause = f"only file: packages are served on a laptop yet; got {parts.scheme}:"
        raise InvalidPackage(f"Cannot read model package {uri}: {cause}")
    if parts.netloc not in ("", "localhost"):
        raise InvalidPackage(f"Cannot read model package {uri}: a file: address has three slashes; got a host")
    path = Path(unquote(parts.path)) if parts.scheme else (base or Path()) / uri
    if not path.is_absolute() or "\0" in str(path):
        raise InvalidPackage(f"Cannot read model package {uri}: it is not an absolute path")
    return path


def _read(folder: Path) -> tuple[bytes, Manifest]:
    """The bytes of seamark.json, and what they say."""
    path = folder / "seamark.json"
    try:
        if not path.is_file():
            cause = "it holds no seamark.json" if folder.is_dir() else "there is no such folder"
            raise InvalidPackage(f"Cannot read model package {folder}: {cause}")
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise InvalidPackage(f"Cannot read model package {folder}: {error.strerror}") from error
    if len(content) > MAX_MANIFEST:
        raise InvalidPackage(f"Cannot read model package {folder}: seamark.json is over {MAX_MANIFEST} bytes")
    try:
        return content, parse_manifest(content)
    except InvalidPackage as error:
        cause = str(error).removeprefix("Cannot read ")
        raise InvalidPackage(f"Cannot read model package {folder}: {cause}") from error


def _files(manifest: Manifest) -> dict[str, str]:
    """SHA-256 by file name."""
    return {manifest.model.file: manifest.model.sha256, "profile.json": manifest.profile_sha256}


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name, wanted in _files(manifest).items():
        try:
            found = _copy(folder / name, None)
        except OSError as error:
            raise InvalidPackage(f"Cannot read model package {folder}: {name}: {error.strerror}") from error
        _same(folder, name, found, wanted)


def _same(folder: Path, name: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise InvalidPackage(
            f"Cannot read model package {folder}: {name} has SHA-256 {found[:12]}..., "
            f"seamark.json says {wanted[:12]}..."
        )


def _copy(source: Path, target: Path | None) -> str:
    """The SHA-256 of a regular file, copied to `target` (and to the disk) on the way when there is one."""
    if source.exists() and not source.is_file():
        raise OSError(0, "is not a regular file")
    digest = hashlib.sha256()
    with source.open("rb") as reader, (target or Path(os.devnull)).open("wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        if target:
            os.fsync(writer.fileno())
    return digest.hexdigest()


class Packages:
    """The packages of one home. Resolving is remembered until a file's size or time changes."""

    def __init__(self, home: Path) -> None:
        self.folder = (home / "packages").absolute()
        self._known: dict[str, tuple[tuple[object, ...], ModelSeen]] = {}

    def resolve(self, uri: str) -> ModelSeen:
        """As `resolve_model`, hashing only what changed."""
        mark = self._mark(uri)
        known = self._known.get(uri)
        if known and mark and known[0] == mark:
            return known[1]
        seen = resolve_model(uri)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[uri] = (mark, seen)
        return seen

    def _mark(self, uri: str) -> tuple[object, ...]:
        """Changes when a file of the package does; empty where there is nothing to look at."""
        try:
            found = [(entry.name, entry.stat()) for entry in os.scandir(_folder(uri, None))]
        except (OSError, InvalidPackage):
            return ()
        return tuple(sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found))

    def path(self, digest: str) -> Path:
        """Where the kept copy is, whether it is there or not."""
        return self.folder / digest

    def keep(self, uri: str, digest: str) -> Path:
        """Copy the package to HOME/packages/<digest> unless it is there; raises `InvalidPackage` or `Unavailable`."""
        target = self.path(digest)
        if (target / "seamark.json").is_file():
            return target
        source = _folder(uri, None)
        content, manifest = _read(source)
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise InvalidPackage(
                f"Cannot keep model package {source}: it changed; its digest is {found[:12]}..., not {digest[:12]}..."
            )
        try:
            self._keep(source, content, manifest, target)
        except OSError as error:
            raise Unavailable(f"Cannot keep model package {source}: {error.strerror}") from error
        return target

    def _keep(self, source: Path, content: bytes, manifest: Manifest, target: Path) -> None:
        draft = target.with_name(f".{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            for name, wanted in _files(manifest).items():
                _same(source, name, _copy(source / name, draft / name), wanted)
            for name in UNPINNED:
                if (source / name).is_file():
                    _copy(source / name, draft / name)
            # Last, because its presence says that the copy is whole.
            with (draft / "seamark.json").open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
