"""The weights of one trial of a sweep."""

import os
from typing import Any

import numpy as np

from modjax.io.trees import load_tree
from modjax.store.stacks import read_ids
from modjax.store.sweep import Sweep, open_sweep
from modjax.store.tables import read_table


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
    paths = sweep.paths
    if trial_id not in read_table(paths.table("trials"), "trials")["trial_id"]:
        raise ValueError(f"{paths.root} has no trial {trial_id!r}; its trials are in 'modjax table {paths.root}'.")
    for path in sorted(paths.checkpoints.glob("stack_*.json"), reverse=True):
        trial_ids = read_ids(path)
        if trial_id in trial_ids:
            place = trial_ids.index(trial_id)
            return _pick(load_tree(path.with_suffix("")), place)
    raise ValueError(f"{paths.root} has no weights of trial {trial_id!r} yet; run the sweep on.")


def _pick(tree: Any, place: int) -> Any:
    import jax

    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if any(leaf.ndim < 1 or len(leaf) <= place for leaf in leaves):
        raise ValueError(f"a checkpoint has fewer trials than its list of them; expected more than {place}.")
    return jax.tree.map(lambda leaf: np.asarray(leaf)[place], tree)
