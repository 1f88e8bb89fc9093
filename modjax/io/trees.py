"""Trees of arrays on disk, each in one orbax checkpoint."""

import gc
import logging
import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import PyTree

from modjax.io.files import as_os_error
from modjax.io.untrusted import check_bytes

MAX_ITEMSIZE = 8
LATE_SECONDS = 0.2
PATTERN_CHARACTERS = r"[\[\]*?\\]"


def save_tree(path: Path, tree: PyTree) -> None:
    """Save a tree of arrays as one orbax checkpoint, replacing an older one at the same path.

    Raises:
        OSError: If the checkpoint cannot be written.
    """
    import jax
    import orbax.checkpoint as ocp

    try:
        with told_once(), plain_path(path) as plain, ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(plain, jax.tree.map(np.asarray, tree), force=True)
    except Exception as error:  # orbax and tensorstore have no fixed type of error for a full disk
        raise as_os_error(path, error) from error


@contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Yield an equivalent path without characters like brackets and stars, which orbax treats as a pattern."""
    path = path.resolve()
    if not re.search(PATTERN_CHARACTERS, str(path)):
        yield path
        return
    with TemporaryDirectory() as folder:
        link = Path(folder) / "parent"
        link.symlink_to(path.parent)
        yield link / path.name


def load_tree(path: Path, target: PyTree = None) -> Any:
    """Load a tree of NumPy arrays with the structure of ``target``, or as plain dicts if there is none.

    Raises:
        ValueError: If this is not a checkpoint, the shapes differ, or the arrays do not fit in memory.
    """
    with _no_late_errors(), told_once():
        try:
            with plain_path(path) as plain:
                return _restore(plain, target)
        except Exception as error:  # orbax and tensorstore have no fixed type of error for damage
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        # Outside the except block the error, and the unfinished reads it refers to, can be collected; the reads
        # then need a moment to end while their late errors are still silenced.
        gc.collect()
        time.sleep(LATE_SECONDS)
    raise ValueError(f"{path}: not a readable checkpoint ({reason}).")


def _restore(path: Path, target: PyTree) -> Any:
    import jax
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        about = checkpointer.metadata(path).item_metadata
        about = getattr(about, "tree", about)
        shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(about)]
        wanted = None if target is None else [tuple(leaf.shape) for leaf in jax.tree.leaves(target)]
        if not shapes:
            raise ValueError("it does not say what it holds")
        if wanted is not None and sorted(wanted) != sorted(shapes):
            raise ValueError("it has arrays of other shapes")
        check_bytes(path, sum(MAX_ITEMSIZE * math.prod(shape) for shape in shapes))
        return checkpointer.restore(path, target)


@contextmanager
def told_once() -> Iterator[None]:
    """Suppress orbax's log of errors in its threads, since it raises the same errors again in this one."""

    def is_not_raised_again(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname or record.levelno < logging.ERROR

    logger = logging.getLogger("absl")
    logger.addFilter(is_not_raised_again)
    try:
        yield
    finally:
        logger.removeFilter(is_not_raised_again)


@contextmanager
def _no_late_errors() -> Iterator[None]:
    """Silence errors of reads that end after orbax has closed its event loop.

    If one array cannot be read, nobody waits for the reads of the others, so each would print a traceback.
    """
    before = sys.unraisablehook

    def ignore(error: Any) -> None:
        if "Event loop is closed" not in str(error.exc_value):
            before(error)

    sys.unraisablehook = ignore
    try:
        yield
    finally:
        sys.unraisablehook = before
