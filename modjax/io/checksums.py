"""Checksums kept beside files, so that changed, truncated or missing files are noticed before they are used."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modjax.io.files import sha256_of, write_atomic, write_text
from modjax.io.untrusted import is_inside, open_regular, read_json

SUMS = ".sums.json"  # in every folder of tables: {name: [SHA-256 of the file, SHA-256 of its replacement]}
COMMENT = "<!-- sha256 of all before: "
CHUNK_BYTES = 2**20
MISSING, ALTERED, UNKNOWN = "is missing", "is not what was written", "has no sum that it could be held against"


def write_summed(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically and record its checksum before it gets its final name.

    The checksum of the replaced file stays valid until the next write, since the process may be killed in between.
    """
    write_atomic(path, write, before_rename=lambda temporary: _record(path, sha256_of(temporary)))


def _record(path: Path, new: str) -> None:
    # Keep the old sum only if the file still has it: a damaged file must not become valid.
    known = read_sums(path.parent)
    old = sha256_of(path) if path.is_file() else ""
    kept = [old] if old in known.get(path.name, []) and old != new else []
    write_text(path.with_name(SUMS), json.dumps({**known, path.name: [*kept, new]}, indent=1, sort_keys=True) + "\n")


def read_sums(folder: Path) -> dict[str, list[str]]:
    """Return the checksums of a folder's files by name; empty if the list is missing or cannot be read."""
    try:
        content = read_json(folder / SUMS, "a list of sums")
        return {
            name: [str(checksum) for checksum in sums]
            for name, sums in content.items()
            if is_inside(name) and "/" not in name
        }
    except (ValueError, AttributeError, TypeError):
        return {}


def adopt_sums(folder: Path, paths: Iterable[Path]) -> None:
    """Record the current checksums of files that were written before checksums were kept."""
    known = read_sums(folder)
    new = {path.name: [sha256_of(path)] for path in paths if path.is_file() and path.name not in known}
    if new:
        write_text(folder / SUMS, json.dumps({**known, **new}, indent=1, sort_keys=True) + "\n")


def file_problem(path: Path, also: Iterable[str] = ()) -> str | None:
    """Return what is wrong with a file, or None.

    Args:
        path: Path of the file.
        also: Valid checksums in addition to those kept beside the file.
    """
    if not path.is_file():
        return MISSING
    for _ in range(2):  # twice: another process may replace the file after its sums were read
        right = {*read_sums(path.parent).get(path.name, []), *also}
        if not right:
            return UNKNOWN
        if sha256_of(path) in right:
            return None
    return ALTERED


def folder_problem(folder: Path) -> str | None:
    """Return what is wrong with a folder whose checksums must cover all its tables, or None."""
    names = read_sums(folder)
    if not names:
        return f"{folder.name}/{SUMS} {ALTERED}" if (folder / SUMS).is_file() else f"{folder.name} {UNKNOWN}"
    tables = {path.name for path in folder.glob("*.parquet")}
    problems = ((name, file_problem(folder / name)) for name in sorted(tables | names.keys()))
    return next((f"{name} {problem}" for name, problem in problems if problem), None)


def with_own_sum(page: str) -> str:
    """Return an HTML page with a comment at its end that holds the checksum of everything before it."""
    return page + _comment(hashlib.sha256(page.encode()))


def own_sum_problem(path: Path) -> str | None:
    """Return what is wrong with a page that was made by :func:`with_own_sum`, or None."""
    if not path.is_file():
        return MISSING
    digest, length = hashlib.sha256(), len(_comment(hashlib.sha256()))
    with open(open_regular(path), "rb") as file:
        left = max(0, os.fstat(file.fileno()).st_size - length)
        tail = b""
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            digest.update(chunk)
            left, tail = left - len(chunk), chunk
        end = file.read(length + 1)
    if end == _comment(digest).encode():
        return None
    # A damaged comment may straddle the last chunk; a page without any comment was never summed.
    return ALTERED if COMMENT.encode() in tail + end else UNKNOWN


def _comment(digest: Any) -> str:
    return f"{COMMENT}{digest.hexdigest()} -->\n"


def sum_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and sums of all files in a folder; empty if neither exists."""
    if not path.is_dir():
        return sha256_of(path) if path.is_file() else ""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def sum_of_json(content: object) -> str:
    """Return the SHA-256 of a value as sorted JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
