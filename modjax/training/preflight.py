"""Checks that a task takes the data, made on shapes alone, before anything compiles."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from modjax.training.config import TrainConfig
from modjax.training.hyperparameters import HyperparamValues, Reads
from modjax.training.objective import Task
from modjax.training.optimizer import transformation
from modjax.training.schedule import takes_hyperparams
from modjax.types import Examples, Params


def check_task(
    task: Task, config: TrainConfig, hyperparams: HyperparamValues, examples: Examples, optional: Iterable[str] = ()
) -> set[str]:
    """Trace one trial's functions on the shapes of a batch; then run the task's own check of the data.

    Args:
        task: The task, as pure functions of one trial.
        config: Static settings.
        hyperparams: Hyperparameters ``[trials]``.
        examples: Tree of arrays.
        optional: Names of hyperparameters that need not be read.

    Returns:
        The columns of the history that training will have.

    Raises:
        ValueError: If shapes do not fit, the loss is no scalar, the sums lack ``count`` or ``loss``, the task refuses
            the data, or nothing reads a hyperparameter.
    """
    reads = Reads(jax.tree.map(lambda column: jnp.asarray(np.asarray(column)[0]), hyperparams))
    size = config.examples_per_step(jax.tree.leaves(examples)[0].shape[0])
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), examples)
    params = _trace("init", lambda: task.init(jax.random.key(0), reads))
    loss = _trace("loss", lambda *given: task.loss(given[0], reads, given[1], jax.random.key(0)), params, batch)
    if not hasattr(loss, "shape") or loss.shape != ():
        raise ValueError(f"the task's loss must be a scalar, the mean over a batch; got {_shape(loss)}.")
    sums = _trace("evaluate", lambda *given: task.evaluate(given[0], reads, given[1]), params, batch)
    if not isinstance(sums, dict) or not {"count", "loss"} <= sums.keys():
        entries = sorted(sums) if isinstance(sums, dict) else type(sums).__name__
        raise ValueError(f"the task's evaluate must be a dict of sums with 'count' and 'loss'; got {entries}.")
    _trace("penalty", lambda params: task.penalty(params, reads), params)
    _check_tree("mask", task.mask, params, lambda params: task.mask(params, reads) if task.mask else params)
    _check_tree("project", task.project, params, lambda p: task.project(p, reads, p) if task.project else p)
    _check_read(config, hyperparams, reads, params, optional)
    task.check(examples)
    metrics = [f"val_{name}" for name in sums if name != "count"] if config.validation_fraction else []
    return {"train_loss", "learning_rate", *metrics}


def _check_tree(name: str, function: Callable[..., Any] | None, params: Params, call: Callable[..., Any]) -> None:
    """Raise unless a function of the task, if there is one, returns a tree like the weights."""
    if function is None:
        return
    tree = _trace(name, call, params)
    if jax.tree.map(jnp.shape, tree) != jax.tree.map(jnp.shape, params):
        raise ValueError(
            f"the task's {name} must return a tree like the weights, {_shape(params)}; got {_shape(tree)}."
        )


def _check_read(
    config: TrainConfig, hyperparams: HyperparamValues, reads: Reads, params: Params, optional: Iterable[str]
) -> None:
    """Raise if nothing reads a hyperparameter: neither the functions that were traced, nor optimizer, nor schedule."""
    rate = jnp.zeros(())
    _trace("optimizer", lambda params: transformation(config, rate, reads).init(params), params)
    schedule = config.schedule
    if isinstance(schedule, str):
        reads.names.add("learning_rate")
    elif takes_hyperparams(schedule):
        _trace("schedule", lambda: jnp.asarray(schedule(jnp.int32(0), reads)))
    unread = [name for name in hyperparams if name not in reads.names and name not in ("seed", *optional)]
    if unread:
        known = ", ".join(sorted(reads.names & {*hyperparams, *hyperparams.constants} | {"seed"}))
        raise ValueError(
            f"hyperparameter {unread[0]!r} is read by nothing, neither by the task nor by the optimizer or the "
            f"schedule; they read {known}. Remove it, or correct its name."
        )


def _trace(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:  # whatever the task's functions and the libraries they call may raise
        lines = str(error).strip().splitlines() or [""]
        about = f" for a batch of {_shape(arguments[-1])}" if name in ("loss", "evaluate") else ""
        raise ValueError(f"the task's {name} cannot be computed{about}: {type(error).__name__}: {lines[0]}") from error


def _shape(tree: PyTree) -> str:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return ", ".join(
        f"{jax.tree_util.keystr(path).strip('.') or 'value'} {list(np.shape(leaf))}" for path, leaf in leaves
    )
