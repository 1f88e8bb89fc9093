"""Trees of arrays on disk, one orbax checkpoint each."""

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

from modjax.io.files import as_os_error
from modjax.io.untrusted import check_bytes

MAX_ITEMSIZE = 8
LATE_SECONDS = 0.2
PATTERN_CHARACTERS = r"[\[\]*?\\]"


def save_tree(path: Path, tree: Any) -> None:
    """Save a tree of arrays as one orbax checkpoint; an older one of that name is replaced.

    Raises:
        OSError: It cannot be written.
    """
    import jax
    import orbax.checkpoint as ocp

    try:
        with told_once(), plain_path(path) as plain, ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(plain, jax.tree.map(np.asarray, tree), force=True)
    except Exception as error:  # orbax and tensorstore raise what they like for a full disk
        raise as_os_error(path, error) from error


@contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """A path to the same place for orbax, which takes brackets, stars and the like in one for a pattern of names."""
    path = path.resolve()
    if not re.search(PATTERN_CHARACTERS, str(path)):
        yield path
        return
    with TemporaryDirectory() as folder:
        link = Path(folder) / "parent"
        link.symlink_to(path.parent)
        yield link / path.name


def load_tree(path: Path, target: Any = None) -> Any:
    """Load a tree of NumPy arrays, into the shapes of ``target``; without one, as it was saved, in plain dicts.

    Raises:
        ValueError: Not a checkpoint, one of other shapes, or one of arrays that do not fit this machine.
    """
    with _no_late_errors(), told_once():
        try:
            with plain_path(path) as plain:
                return _restore(plain, target)
        except Exception as error:  # orbax and tensorstore raise what they like for a damaged file
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        gc.collect()  # the error is gone, and with it what is left of the reads that it stopped
        time.sleep(LATE_SECONDS)
    raise ValueError(f"{path}: not a readable checkpoint ({told}).")


def _restore(path: Path, target: Any) -> Any:
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
    """Orbax logs an error of its threads with all its lines, and raises it again where it is waited for."""

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
    """Where one array cannot be read, the reads of the others end after orbax has closed its loop, and complain.

    Nobody waits for them, so each would print a traceback; they are given a moment to end unheard.
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
