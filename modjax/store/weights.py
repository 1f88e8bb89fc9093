"""Loading the weights of single trials."""

import os
from typing import Any

import numpy as np
from jaxtyping import PyTree

from modjax.io.trees import load_tree
from modjax.store.stacks import read_ids
from modjax.store.sweep import Sweep, open_sweep


def load_params(sweep: Sweep | str | os.PathLike, trial_id: str) -> Any:
    """Return the best weights of one trial; the sweep may still be running.

    Args:
        sweep: A :class:`modjax.Sweep`, or the directory of one.
        trial_id: Id of the trial, as in the trials table.

    Returns:
        Parameters for ``network.apply``, as a tree of NumPy arrays.

    Raises:
        ValueError: If the sweep has no such trial, or has not trained it yet.
    """
    sweep = sweep if isinstance(sweep, Sweep) else open_sweep(sweep)
    paths = sweep.paths
    if trial_id not in paths.tables.read(paths.table("trials"), "trials")["trial_id"]:
        raise ValueError(f"{paths.root} has no trial {trial_id!r}; its trials are in 'modjax table {paths.root}'.")
    # Newest stack first: a trial that was trained again is in several.
    for index in reversed(paths.stack_indices()):
        trial_ids = read_ids(paths.stack_ids(index))
        if trial_id in trial_ids:
            return _pick(load_tree(paths.stack(index)), trial_ids.index(trial_id))
    raise ValueError(f"{paths.root} has no weights of trial {trial_id!r} yet; run the sweep on.")


def _pick(tree: PyTree, position: int) -> Any:
    import jax

    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if any(leaf.ndim < 1 or len(leaf) <= position for leaf in leaves):
        raise ValueError(f"a checkpoint has fewer trials than its list of them; expected more than {position}.")
    return jax.tree.map(lambda leaf: np.asarray(leaf)[position], tree)
