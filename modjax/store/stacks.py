"""Stacks: weights of finished trials, saved together as orbax checkpoints."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from modjax.io.checksums import ALTERED, MISSING, UNKNOWN, sum_of, sum_of_json
from modjax.io.files import write_text
from modjax.io.trees import load_tree, save_tree
from modjax.io.untrusted import read_json
from modjax.store.paths import SweepPaths
from modjax.types import Params


def save_stack(paths: SweepPaths, index: int, trial_ids: list[str], params: Params) -> None:
    """Save weights with a leading trials axis; the list of ids is written last and marks the stack as complete."""
    paths.checkpoints.mkdir(parents=True, exist_ok=True)
    save_tree(paths.stack(index), params)
    _write_ids(paths, index, trial_ids)


def _write_ids(paths: SweepPaths, index: int, trial_ids: list[str]) -> None:
    content = {"trial_ids": trial_ids, "sha256": sum_of_json([trial_ids, sum_of(paths.stack(index))])}
    write_text(paths.stack_ids(index), json.dumps(content, indent=1) + "\n")


def stack_problem(paths: SweepPaths, index: int) -> str | None:
    """Return what is wrong with a stack, or None."""
    ids, folder = paths.stack_ids(index), paths.stack(index)
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


def adopt_stack(paths: SweepPaths, index: int) -> None:
    """Record the current checksum of a stack that was written before checksums were kept."""
    trial_ids = read_ids(paths.stack_ids(index))
    if paths.stack(index).is_dir() and "sha256" not in read_json(paths.stack_ids(index), "a list of trials"):
        _write_ids(paths, index, trial_ids)


def load_stack(paths: SweepPaths, index: int, one_trial: PyTree) -> tuple[list[str], Any]:
    """Load a stack.

    Args:
        paths: Paths of the sweep.
        index: Index of the stack.
        one_trial: Tree with the shapes and dtypes of one trial's weights.

    Returns:
        The trial ids, and the weights as NumPy arrays with a leading trials axis.
    """
    import jax

    trial_ids = read_ids(paths.stack_ids(index))
    target = jax.tree.map(lambda leaf: np.empty((len(trial_ids), *leaf.shape), leaf.dtype), one_trial)
    return trial_ids, load_tree(paths.stack(index), target)


def read_ids(path: Path) -> list[str]:
    """Return the trial ids of a stack.

    Raises:
        ValueError: If the file is not a list of trial ids.
    """
    content = read_json(path, "a list of a stack's trials")
    ids = content.get("trial_ids") if isinstance(content, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(name, str) for name in ids):
        raise ValueError(f"{path}: not a list of a stack's trials (expected trial_ids, a list of names).")
    return ids


def next_index(paths: SweepPaths) -> int:
    """Return an index that no stack, complete or not, has used."""
    matches = (re.match(r"stack_([0-9]{1,12})(?![0-9])", path.name) for path in paths.checkpoints.glob("stack_*"))
    return 1 + max((int(match.group(1)) for match in matches if match), default=-1)
