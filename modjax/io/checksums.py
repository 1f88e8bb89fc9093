"""Sums of what was written, kept beside it: a changed, shortened or missing file is found before it is used."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modjax.io.files import sha256_of, write_atomic, write_text
from modjax.io.untrusted import is_inside, open_regular, read_json

SUMS = ".sums.json"  # in every folder of tables: {name: SHA-256 of the file, and of the one that replaces it}
COMMENT = "<!-- sha256 of all before: "
CHUNK_BYTES = 2**20
MISSING, ALTERED, UNKNOWN = "is missing", "is not what was written", "has no sum that it could be held against"


def write_summed(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically; its sum is on the disk before it takes its name.

    Until the next time, the sum of the file that it replaces counts as well: a process may be killed in between.
    """
    write_atomic(path, write, before_rename=lambda temporary: _record(path, sha256_of(temporary)))


def _record(path: Path, new: str) -> None:
    known = read_sums(path.parent)
    old = sha256_of(path) if path.is_file() else ""
    kept = [old] if old in known.get(path.name, []) and old != new else []
    write_text(path.with_name(SUMS), json.dumps({**known, path.name: [*kept, new]}, indent=1, sort_keys=True) + "\n")


def read_sums(folder: Path) -> dict[str, list[str]]:
    """The sums of a folder's files; none where there is no list of them, or one that cannot be read."""
    try:
        found = read_json(folder / SUMS, "a list of sums")
        return {name: [str(one) for one in sums] for name, sums in found.items() if is_inside(name) and "/" not in name}
    except (ValueError, AttributeError, TypeError):
        return {}


def adopt_sums(folder: Path, paths: Iterable[Path]) -> None:
    """Take files that were written before sums were kept for what they are."""
    known = read_sums(folder)
    new = {path.name: [sha256_of(path)] for path in paths if path.is_file() and path.name not in known}
    if new:
        write_text(folder / SUMS, json.dumps({**known, **new}, indent=1, sort_keys=True) + "\n")


def file_problem(path: Path, also: Iterable[str] = ()) -> str | None:
    """What is wrong with a file, or None.

    Args:
        path: The file.
        also: Sums that are right besides those kept beside the file.
    """
    if not path.is_file():
        return MISSING
    for _ in range(2):  # once more: another process may have replaced the file after its sums were read
        right = {*read_sums(path.parent).get(path.name, []), *also}
        if not right:
            return UNKNOWN
        if sha256_of(path) in right:
            return None
    return ALTERED


def folder_problem(folder: Path) -> str | None:
    """What is wrong with a folder whose list names every table of it, or None."""
    names = read_sums(folder)
    if not names:
        return f"{folder.name}/{SUMS} {ALTERED}" if (folder / SUMS).is_file() else f"{folder.name} {UNKNOWN}"
    found = {path.name for path in folder.glob("*.parquet")}
    problems = ((name, file_problem(folder / name)) for name in sorted(found | names.keys()))
    return next((f"{name} {problem}" for name, problem in problems if problem), None)


def with_own_sum(page: str) -> str:
    """A page of HTML with a comment at its end that holds the sum of all before it."""
    return page + _comment(hashlib.sha256(page.encode()))


def own_sum_problem(path: Path) -> str | None:
    """What is wrong with a page that :func:`with_own_sum` has ended, or None."""
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
    return ALTERED if COMMENT.encode() in tail + end else UNKNOWN


def _comment(digest: Any) -> str:
    return f"{COMMENT}{digest.hexdigest()} -->\n"


def sum_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder: of the sorted names and sums of all files in it; empty if there is nothing."""
    if not path.is_dir():
        return sha256_of(path) if path.is_file() else ""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def sum_of_json(content: object) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
