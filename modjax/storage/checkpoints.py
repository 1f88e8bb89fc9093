"""Stacks of finished trials' weights, by orbax."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from modjax.storage.files import as_os_error, write_text
from modjax.storage.layout import SweepLayout
from modjax.storage.results import Sweep, open_sweep
from modjax.storage.sums import ALTERED, MISSING, UNKNOWN, sum_of, sum_of_json


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
        written = json.loads(ids.read_text(encoding="utf-8")).get("sha256")
        right = sum_of_json([read_ids(ids), sum_of(folder)])
    except (ValueError, AttributeError):
        return ALTERED
    if written is None:
        return UNKNOWN
    return None if written == right else ALTERED


def adopt_stack(layout: SweepLayout, index: int) -> None:
    """Take a stack that was written before sums were kept for what it is."""
    if layout.stack(index).is_dir() and "sha256" not in json.loads(layout.stack_ids(index).read_text("utf-8")):
        _write_ids(layout, index, read_ids(layout.stack_ids(index)))


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
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path.resolve(), jax.tree.map(np.asarray, tree), force=True)
    except Exception as error:  # orbax and tensorstore raise what they like for a full disk
        raise as_os_error(path, error) from error


def load_tree(path: Path, target: Any = None) -> Any:
    """Load a tree of NumPy arrays, into the shapes of ``target``; without one, as it was saved, in plain dicts."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.resolve(), target)


def load_params(sweep: Sweep | str | os.PathLike, trial_id: str) -> Any:
    """The best weights of one trial of a sweep, finished or still running.

    Args:
        sweep: A :class:`modjax.Sweep`, or its directory.
        trial_id: As in the table of trials.

    Returns:
        A tree of NumPy arrays: what ``network.apply`` takes.

    Raises:
        ValueError: The sweep has no such trial, or has not trained it.
    """
    sweep = sweep if isinstance(sweep, Sweep) else open_sweep(sweep)
    layout = sweep.layout
    known = sweep.trials["trial_id"].to_list()
    if trial_id not in known:
        raise ValueError(f"{layout.root} has no trial {trial_id!r}; its trials are in 'modjax table {layout.root}'.")
    for path in sorted(layout.checkpoints.glob("stack_*.json"), reverse=True):
        trial_ids = read_ids(path)
        if trial_id in trial_ids:
            place = trial_ids.index(trial_id)
            return _pick(load_tree(path.with_suffix("")), place)
    raise ValueError(f"{layout.root} has no weights of trial {trial_id!r} yet; run the sweep on.")


def _pick(tree: Any, place: int) -> Any:
    import jax

    return jax.tree.map(lambda leaf: np.asarray(leaf)[place], tree)


def read_ids(path: Path) -> list[str]:
    """The ids of a stack.

    Raises:
        ValueError: Not a list of ids.
    """
    try:
        return [str(one) for one in json.loads(path.read_text(encoding="utf-8"))["trial_ids"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the list of a stack's trials ({type(error).__name__}).") from error


def next_index(layout: SweepLayout) -> int:
    """An index that no stack, whole or not, has had."""
    found = (re.match(r"stack_(\d+)", path.name) for path in layout.checkpoints.glob("stack_*"))
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)
