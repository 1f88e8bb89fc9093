"""Stacks of finished trials' weights, by orbax."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from modjax.storage.files import write_text
from modjax.storage.layout import SweepLayout


def save_stack(layout: SweepLayout, index: int, trial_ids: list[str], params: Any) -> None:
    """Save weights with a leading axis of trials; the list of ids, written last, says that the stack is whole."""
    import orbax.checkpoint as ocp

    layout.checkpoints.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(layout.stack(index).resolve(), _to_numpy(params), force=True)
    write_text(layout.stack_ids(index), json.dumps({"trial_ids": trial_ids}, indent=1) + "\n")


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
    import orbax.checkpoint as ocp

    trial_ids = read_ids(layout.stack_ids(index))
    target = jax.tree.map(lambda leaf: np.empty((len(trial_ids), *leaf.shape), leaf.dtype), one_trial)
    with ocp.StandardCheckpointer() as checkpointer:
        return trial_ids, checkpointer.restore(layout.stack(index).resolve(), target)


def read_ids(path: Path) -> list[str]:
    """The ids of a stack."""
    return json.loads(path.read_text(encoding="utf-8"))["trial_ids"]


def next_index(layout: SweepLayout) -> int:
    """An index that no stack, whole or not, has had."""
    found = (re.match(r"stack_(\d+)", path.name) for path in layout.checkpoints.glob("stack_*"))
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


def _to_numpy(tree: Any) -> Any:
    import jax

    return jax.tree.map(np.asarray, tree)
