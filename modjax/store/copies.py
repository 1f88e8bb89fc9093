"""A finished sweep copied to a store that fsspec knows: other files first, the manifest last."""

import json
from pathlib import Path
from typing import Any

from modjax.io.files import sha256_of
from modjax.io.untrusted import read_json
from modjax.store.paths import SweepPaths

PROBE = ".modjax-probe"


def check_target(url: str) -> None:
    """Raise unless files can be written there, before hours of work rely on it.

    Raises:
        ValueError: No store of that kind, or its package is not installed.
        OSError: It cannot be written to.
    """
    store, root = _open(url)
    probe = f"{root}/{PROBE}"
    try:
        store.makedirs(root, exist_ok=True)
        store.pipe_file(probe, b"")
        store.rm_file(probe)
    except Exception as error:  # each store raises what it likes
        raise OSError(f"cannot write to {url}: {' '.join(str(error).split())}") from error


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        store, root = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"copy_to: cannot use {url!r} ({told}); expected a URL that fsspec knows.") from error
    return store, root.rstrip("/")


def finished_files(paths: SweepPaths) -> list[Path]:
    """The files of a finished sweep, relative to its directory, the manifest last; nothing temporary or damaged."""
    left_out = {paths.manifest, paths.manifest_copy, paths.lock}
    aside = (paths.parts, paths.damaged, paths.training)
    files = [
        path
        for path in sorted(paths.root.rglob("*"))
        if path.is_file() and path not in left_out and not any(folder in path.parents for folder in aside)
    ]
    files = [path for path in files if not any(part.endswith(".tmp") for part in path.relative_to(paths.root).parts)]
    return [path.relative_to(paths.root) for path in (*files, paths.manifest)]


def copy_finished(paths: SweepPaths, url: str) -> list[Path]:
    """Copy what is not there yet; returns what was copied.

    Each file is there whole or not at all: object stores show an object once all of it has arrived, on a file system it
    is renamed from a temporary name. An older manifest is removed before any other file changes, so that whatever has a
    manifest has all the files that its checksums speak of.

    Args:
        paths: Of a finished sweep.
        url: A folder of a store.

    Raises:
        ValueError: No such store.
        OSError: Copying failed; what was copied stays, and doing it again goes on.
    """
    store, root = _open(url)
    try:
        known = _known(store, root)
        manifest = read_json(paths.manifest, "a sweep's manifest")
        manifest_name = paths.manifest.relative_to(paths.root)
        if known == manifest:
            return []
        for name in (manifest_name, paths.manifest_copy.relative_to(paths.root)):
            if store.exists(f"{root}/{name}"):
                store.rm_file(f"{root}/{name}")
        sums = manifest.get("checksums", {})
        same = {name for name, checksum in known.get("checksums", {}).items() if sums.get(name) == checksum}
        copied = []
        for name in finished_files(paths):
            if str(name) in same or _is_same(store, f"{root}/{name}", paths.root / name):
                continue
            _put(store, paths.root / name, f"{root}/{name}")
            copied.append(name)
        return copied
    except Exception as error:  # each store raises what it likes
        raise OSError(f"cannot copy to {url}: {' '.join(str(error).split())}") from error


def _known(store: Any, root: str) -> dict[str, Any]:
    """The manifest that is there; an empty one where there is none."""
    path = f"{root}/manifest.json"
    if not store.exists(path):
        return {}
    try:
        return json.loads(store.cat_file(path))
    except ValueError:
        return {"damaged": True}


def _is_same(store: Any, target: str, path: Path) -> bool:
    """Whether a file that no manifest speaks of is there: stacks are many, large and never written again."""
    if not store.exists(target) or store.info(target).get("size") != path.stat().st_size:
        return False
    known = store.info(target)
    if "ETag" in known or "etag" in known:  # a store far away: the size will do for files that are never rewritten
        return "checkpoints" in path.parts
    with store.open(target, "rb") as file:
        import hashlib

        return hashlib.file_digest(file, "sha256").hexdigest() == sha256_of(path)


def _put(store: Any, path: Path, target: str) -> None:
    folder, _, name = target.rpartition("/")
    store.makedirs(folder, exist_ok=True)
    if "file" not in _protocols(store):
        store.put_file(str(path), target)
        return
    temporary = f"{folder}/.{name}.tmp"
    store.put_file(str(path), temporary)
    Path(temporary).replace(target)


def _protocols(store: Any) -> tuple[str, ...]:
    return (store.protocol,) if isinstance(store.protocol, str) else tuple(store.protocol)
