"""Stacks of finished trials' weights, by orbax."""

import gc
import json
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

from modjax.hostile import check_bytes, read_json
from modjax.storage.files import as_os_error, write_text
from modjax.storage.layout import SweepLayout
from modjax.storage.sums import ALTERED, MISSING, UNKNOWN, sum_of, sum_of_json

MAX_ITEMSIZE = 8
LATE_SECONDS = 0.2
PATTERN_CHARACTERS = r"[\[\]*?\\]"


def save_stack(layout: SweepLayout, index: int, trial_ids: list[str], params: Any) -> None:
    """Save weights with a leading axis of trials; the list of ids, written last, says that the stack is whole."""
    layout.checkpoints.mkdir(parents=True, exist_ok=True)
    save_tree(layout.stack(index), params)
    _write_ids(layout, index, trial_ids)


def _write_ids(layout: SweepLayout, index: int, trial_ids: list[str]) -> None:
    content = {"trial_ids": trial_ids, "sha256": sum_of_json([trial_ids, sum_of(layout.stack(index))])}
    write_text(layout.stack_ids(index), json.dumps(content, indent=1) + "\n")


def stack_problem(layout: SweepLayout, index: int) -> str | None:
    """What is wrong with a stack, or None."""
    ids, folder = layout.stack_ids(index), layout.stack(index)
    if not ids.is_file() or not folder.is_dir():
        return f"{(folder if ids.is_file() else ids).name} {MISSING}"
    try:
        right = sum_of_json([read_ids(ids), sum_of(folder)])
        written = read_json(ids, "a list of a stack's trials").get("sha256")
    except ValueError:
        return ALTERED
    if written is None:
        return UNKNOWN
    return None if written == right else ALTERED


def adopt_stack(layout: SweepLayout, index: int) -> None:
    """Take a stack that was written before sums were kept for what it is."""
    trial_ids = read_ids(layout.stack_ids(index))
    if layout.stack(index).is_dir() and "sha256" not in read_json(layout.stack_ids(index), "a list of trials"):
        _write_ids(layout, index, trial_ids)


def load_stack(layout: SweepLayout, index: int, one_trial: Any) -> tuple[list[str], Any]:
    """Load a stack.

    Args:
        layout: Of the sweep.
        index: Of the stack.
        one_trial: Tree of shapes and dtypes of one trial's weights: the target that orbax restores into.

    Returns:
        The trial ids, and the weights with a leading axis of trials as NumPy arrays.
    """
    import jax

    trial_ids = read_ids(layout.stack_ids(index))
    target = jax.tree.map(lambda leaf: np.empty((len(trial_ids), *leaf.shape), leaf.dtype), one_trial)
    return trial_ids, load_tree(layout.stack(index), target)


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


def read_ids(path: Path) -> list[str]:
    """The ids of a stack.

    Raises:
        ValueError: Not such a file.
    """
    found = read_json(path, "a list of a stack's trials")
    ids = found.get("trial_ids") if isinstance(found, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(name, str) for name in ids):
        raise ValueError(f"{path}: not a list of a stack's trials (expected trial_ids, a list of names).")
    return ids


def next_index(layout: SweepLayout) -> int:
    """An index that no stack, whole or not, has had."""
    found = (re.match(r"stack_([0-9]{1,12})(?![0-9])", path.name) for path in layout.checkpoints.glob("stack_*"))
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)
