"""ONE trial: its state, its first moment, one epoch of it. Pure; the trials axis is added elsewhere."""

import zlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from modjax.checks import num_validation
from modjax.data.batches import epoch_batches, split_order, take
from modjax.training.config import TrainConfig, hyperparam
from modjax.training.metrics import evaluate_means
from modjax.training.objective import Task, objective
from modjax.training.optimizer import apply_step, direction
from modjax.training.schedule import (
    PlateauState,
    StoppingState,
    init_plateau,
    init_stopping,
    update_plateau,
    update_stopping,
)
from modjax.types import Examples, Params, PRNGKey

DEFAULT_LEARNING_RATE = 1e-3


class TrialState(NamedTuple):
    """Everything a trial carries from epoch to epoch.

    Attributes:
        seed: Every key of the trial is folded from it by name.
        order: The trial's permutation of the training examples; the last ones are its validation set.
        params: Weights after the latest epoch.
        optimizer: State of the optax transformation.
        best_params: Weights of the epoch with the best validation loss (the initial ones before the first).
        plateau: Learning rate schedule.
        stopping: Early stopping.
        epoch: Epochs trained so far.
    """

    seed: UInt32[Array, ""]
    order: Int[Array, " examples"]
    params: Params
    optimizer: Any
    best_params: Params
    plateau: PlateauState
    stopping: StoppingState
    epoch: Int[Array, ""]


def named_key(seed: UInt32[Array, ""], name: str) -> PRNGKey:
    """The trial's key for one purpose: folded from its seed by name, so that no purpose shifts another's numbers."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def init_trial(
    task: Task, config: TrainConfig, seed: UInt32[Array, ""], hyperparams: Any, num_examples: int
) -> TrialState:
    """A trial before its first epoch: same seed, same weights, split and batch order, whatever its hyperparameters."""
    params = task.init(named_key(seed, "init"), hyperparams)
    dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    learning_rate = jnp.asarray(hyperparam(hyperparams, "learning_rate", DEFAULT_LEARNING_RATE), dtype)
    return TrialState(
        seed,
        split_order(named_key(seed, "split"), num_examples),
        params,
        direction(config.optimizer).init(params),
        params,
        init_plateau(learning_rate),
        init_stopping(dtype),
        jnp.int32(0),
    )


def update(
    task: Task,
    config: TrainConfig,
    state: tuple[Params, Any],
    hyperparams: Any,
    learning_rate: Float[Array, ""],
    batch: Examples,
    key: PRNGKey,
) -> tuple[tuple[Params, Any], Float[Array, ""]]:
    """One step on one batch; returns the carried state and the batch's mean loss without penalty."""
    params, optimizer = state
    gradient, loss = jax.grad(partial(objective, task), has_aux=True)(params, hyperparams, batch, key)
    updates, optimizer = direction(config.optimizer).update(gradient, optimizer, params)
    return (apply_step(params, updates, learning_rate), optimizer), loss


def epoch(
    task: Task, config: TrainConfig, state: TrialState, hyperparams: Any, examples: Examples
) -> tuple[TrialState, dict[str, Array]]:
    """Train one trial for one epoch, validate, keep the best weights, schedule, and decide whether it goes on.

    Returns:
        The state, and the epoch's row of the history: ``train_loss`` (running mean, no penalty), ``val_<name>`` for
        each entry of ``task.evaluate``, ``learning_rate`` (the one this epoch used), ``status`` and ``epoch``.
    """
    order_key = jax.random.fold_in(named_key(state.seed, "order"), state.epoch)
    dropout_key = jax.random.fold_in(named_key(state.seed, "noise"), state.epoch)
    held_out = num_validation(state.order.shape[0], config.validation_fraction)
    train, validation = state.order[:-held_out], state.order[-held_out:]
    batches = epoch_batches(order_key, train, config.batch_size)

    def step(carry: Any, inputs: Any) -> Any:
        indices, number = inputs
        batch, key = take(examples, indices), jax.random.fold_in(dropout_key, number)
        return update(task, config, carry, hyperparams, state.plateau.learning_rate, batch, key)

    steps = jnp.arange(batches.shape[0])
    (params, optimizer), losses = jax.lax.scan(step, (state.params, state.optimizer), (batches, steps))

    means = evaluate_means(task, params, hyperparams, examples, validation)
    val_loss = means["loss"].astype(state.stopping.best_loss.dtype)
    plateau = update_plateau(config, state.plateau, val_loss)
    stopping, is_best = update_stopping(config, state.stopping, val_loss, state.epoch)
    best_params = jax.tree.map(partial(jnp.where, is_best), params, state.best_params)
    row = {
        "epoch": state.epoch,
        "train_loss": jnp.mean(losses),
        **{f"val_{name}": mean for name, mean in means.items()},
        "learning_rate": state.plateau.learning_rate,
        "status": stopping.status,
    }
    state = TrialState(state.seed, state.order, params, optimizer, best_params, plateau, stopping, state.epoch + 1)
    return state, row
