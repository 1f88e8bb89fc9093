"""Copies of finished sweeps in any store that fsspec supports; the manifest is always copied last."""

import json
from pathlib import Path
from typing import Any

from modjax.io.files import sha256_of
from modjax.io.untrusted import read_json
from modjax.store.paths import SweepPaths

PROBE = ".modjax-probe"


def check_target(url: str) -> None:
    """Raise unless files can be written to a URL, before hours of work rely on it.

    Raises:
        ValueError: If there is no store of that kind, or its package is not installed.
        OSError: If the store cannot be written to.
    """
    store, root = _open(url)
    probe = f"{root}/{PROBE}"
    try:
        store.makedirs(root, exist_ok=True)
        store.pipe_file(probe, b"")
        store.rm_file(probe)
    except Exception as error:  # every store has exceptions of its own
        raise OSError(f"cannot write to {url}: {' '.join(str(error).split())}") from error


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        store, root = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"copy_to: cannot use {url!r} ({reason}); expected a URL that fsspec knows.") from error
    return store, root.rstrip("/")


def finished_files(paths: SweepPaths) -> list[Path]:
    """Return the files to copy, relative to the sweep's directory, manifest last; none is temporary or damaged."""
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
    """Copy the files that the store does not have yet, and return those that were copied.

    Each file arrives whole or not at all: object stores show an object only when it is complete, and on a file system
    the file is renamed from a temporary name. An older manifest is removed before any other file changes, so a copy
    with a manifest always has all files that its checksums name.

    Args:
        paths: Paths of a finished sweep.
        url: URL of the target folder.

    Raises:
        ValueError: If there is no such store.
        OSError: If copying failed; files copied so far stay, and a second call continues from there.
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
    except Exception as error:  # every store has exceptions of its own
        raise OSError(f"cannot copy to {url}: {' '.join(str(error).split())}") from error


def _known(store: Any, root: str) -> dict[str, Any]:
    """Return the manifest at the target, or an empty one if there is none."""
    path = f"{root}/manifest.json"
    if not store.exists(path):
        return {}
    try:
        return json.loads(store.cat_file(path))
    except ValueError:
        return {"damaged": True}


def _is_same(store: Any, target: str, path: Path) -> bool:
    """Return whether the target already holds a file, so that an interrupted copy of large stacks can continue."""
    if not store.exists(target) or store.info(target).get("size") != path.stat().st_size:
        return False
    known = store.info(target)
    if "ETag" in known or "etag" in known:  # remote store: for stacks, which are never rewritten, size is enough
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
