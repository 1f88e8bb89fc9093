"""Atomic file operations: written under a temporary name, flushed, then renamed."""

import errno
import fcntl
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modjax.io.untrusted import open_regular


def write_atomic(
    path: Path, write: Callable[[Path], object], before_rename: Callable[[Path], object] | None = None
) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it, and rename it to ``path``.

    ``before_rename`` is called with the temporary file once it is complete and on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename(temporary)
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush a folder, so that new names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Remove a folder so that its name disappears at once, even if the process is killed half-way."""
    old = path.with_name(f".{path.name}.old.tmp")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    shutil.rmtree(old, ignore_errors=True)


def set_aside(path: Path, folder: Path) -> Path:
    """Move a damaged file or folder into ``folder`` under a free name, and return the new path."""
    folder.mkdir(exist_ok=True)
    names = (path.name if not number else f"{path.name}.{number}" for number in itertools.count())
    aside = next(folder / name for name in names if not (folder / name).exists())
    path.replace(aside)
    return aside


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` if the block succeeds, and is removed if it raises."""
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_os_error(path: Path, error: Exception) -> OSError:
    """Return a library's error about a file that it could not write as an OSError with one line of text.

    A full or read-only disk keeps its error number, so that the report can suggest a remedy.
    """
    text = " ".join(str(error).split())
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text or errno.errorcode[number] in text:
            return OSError(number, os.strerror(number), str(path))
    return OSError(f"cannot write {path}: {text[:300]}")


class LockedError(RuntimeError):
    """Another process is working in the directory."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that is released when the process ends, however it ends.

    Raises:
        LockedError: If another process holds the lock.
        ValueError: If ``path`` exists and is not a regular file.
    """
    with open(open_regular(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW), "rb+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{path.parent} is in use by another modjax process; wait for it to end, or choose another directory."
            ) from None
        yield
