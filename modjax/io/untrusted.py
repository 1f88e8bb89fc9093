"""Safe reading of files of unknown origin: bounded memory, no way out of a directory, one-line errors."""

import json
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

MEMORY_SHARE = 0.5
MAX_JSON_BYTES = 2**28
NO_FILE = "neither a file nor a folder; remove it"


def memory_limit() -> int:
    """Return how many bytes of memory one file's content may take: half of the machine's memory."""
    return int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_bytes(path: Path, needed: int) -> None:
    """Raise ValueError if a file's content needs more memory than one file may take."""
    if needed > memory_limit():
        raise ValueError(
            f"{path}: would take {needed / 2**30:.3g} GiB of memory; at most {memory_limit() / 2**30:.3g} GiB are "
            "given to one file here."
        )


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file and return its descriptor; opening a pipe could block, a device could do anything.

    Raises:
        ValueError: If ``path`` is not a regular file.
    """
    if os.path.lexists(path) and not path.is_file():
        raise ValueError(f"{path}: {NO_FILE}")
    # Checked again on the descriptor: the file may have been replaced after the first check.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ValueError(f"{path}: {NO_FILE}")


def read_small_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: If the file is missing or may not be read.
        ValueError: If it is not a regular file, or too large.
    """
    with open(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"{path}: more than {max_bytes:,} bytes")
        return file.read(size)


def read_json(path: Path, what: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the JSON content of a file of bounded size.

    Raises:
        ValueError: If the file is missing, too large, or not JSON.
    """
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        return json.loads(read_small_file(path, max_bytes).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())[:200]
        raise ValueError(f"{path}: not {what} ({type(error).__name__}: {reason}).") from error


def is_inside(name: str) -> bool:
    r"""Return whether a relative path stays inside the directory that it starts from.

    Example:
        >>> is_inside("similarity/layer_0.parquet"), is_inside("../x"), is_inside("/etc/passwd"), is_inside("a\0b")
        (True, False, False, False)
    """
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name and "\\" not in name


def refuse_links(root: Path) -> None:
    """Raise if anything below a directory is a link that leads out of it, since writes would follow the link.

    Pipes, sockets and devices are refused as well, because opening one may block. Call this before anything in the
    directory is opened.

    Raises:
        ValueError: If there is such an entry; the message names it.
    """
    own = os.path.realpath(root)
    for folder, folders, files in os.walk(root, followlinks=False):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            mode = _mode_of(path)
            if stat.S_ISLNK(mode) and not _is_below(os.path.realpath(path), own):
                raise ValueError(f"{path} is a link that leads out of {root}; replace it by what it points to.")
            if stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise ValueError(f"{path}: {NO_FILE}.")


def _mode_of(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:  # gone since it was listed: the sweep may be running
        return stat.S_IFREG


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
