"""Checks that a task takes the data, made on shapes alone, before anything compiles."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from modjax.training.config import TrainConfig
from modjax.training.objective import Task
from modjax.types import Examples


def check_task(task: Task, config: TrainConfig, hyperparams: Any, examples: Examples) -> None:
    """Trace one trial's init, loss and evaluate on the shapes of a batch; then run the task's own check of the data.

    Args:
        task: The task, as pure functions of one trial.
        config: Static settings.
        hyperparams: Tree of ``[trials]`` arrays.
        examples: Tree of arrays.

    Raises:
        ValueError: If shapes do not fit, the loss is no scalar, the sums lack ``count`` or ``loss``, or the task
            refuses the data.
    """
    values = jax.tree.map(lambda column: jnp.asarray(np.asarray(column)[0]), hyperparams)
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((config.batch_size, *leaf.shape[1:]), leaf.dtype), examples)
    params = _trace("init", partial(task.init, jax.random.key(0)), values)
    loss = _trace("loss", lambda *given: task.loss(*given, jax.random.key(0)), params, values, batch)
    if not hasattr(loss, "shape") or loss.shape != ():
        raise ValueError(f"the task's loss must be a scalar, the mean over a batch; got {_shape(loss)}.")
    sums = _trace("evaluate", task.evaluate, params, values, batch)
    if not isinstance(sums, dict) or not {"count", "loss"} <= sums.keys():
        entries = sorted(sums) if isinstance(sums, dict) else type(sums).__name__
        raise ValueError(f"the task's evaluate must be a dict of sums with 'count' and 'loss'; got {entries}.")
    task.check(examples)


def _trace(name: str, function: Any, *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:  # whatever the task's functions and the libraries they call may raise
        lines = str(error).strip().splitlines() or [""]
        shapes = [_shape(argument) for argument in arguments[-1:]] if name != "init" else []
        suffix = f" of {shapes[0]}" if shapes else ""
        raise ValueError(
            f"the task's {name} cannot be computed for a batch{suffix}: {type(error).__name__}: {lines[0]}"
        ) from error


def _shape(tree: Any) -> str:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return ", ".join(
        f"{jax.tree_util.keystr(path).strip('.') or 'value'} {list(np.shape(leaf))}" for path, leaf in leaves
    )
