"""Files from strangers: sizes looked at before memory is taken, no way out of a directory, one clear line."""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

MEMORY_SHARE = 0.5
MAX_JSON_BYTES = 2**28


def memory_limit() -> int:
    """Bytes that one thing read from a file may take: half of the machine's memory."""
    return int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_bytes(path: Path, needed: int) -> None:
    """Raise if what a file says it holds does not fit this machine."""
    if needed > memory_limit():
        raise ValueError(
            f"{path}: would take {needed / 2**30:.3g} GiB of memory; at most {memory_limit() / 2**30:.3g} GiB are "
            "given to one file here."
        )


def read_json(path: Path, what: str) -> Any:
    """JSON from a file of bounded size.

    Raises:
        ValueError: Not a file, too large, or not JSON.
    """
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES:,} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not {what} ({type(error).__name__}: {told}).") from error


def is_inside(name: str) -> bool:
    r"""Whether a relative name stays below where it starts.

    Example:
        >>> is_inside("similarity/layer_0.parquet"), is_inside("../x"), is_inside("/etc/passwd"), is_inside("a\0b")
        (True, False, False, False)
    """
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name and "\\" not in name


def refuse_links(root: Path) -> None:
    """Raise if anything below a directory is a link that leads out of it: what is written there would leave it too.

    Raises:
        ValueError: Names the link.
    """
    own = os.path.realpath(root)
    for folder, folders, files in os.walk(root, followlinks=False):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path) and not _is_below(os.path.realpath(path), own):
                raise ValueError(f"{path} is a link that leads out of {root}; replace it by what it points to.")


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
