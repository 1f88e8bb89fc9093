"""ONE trial, as pure functions: its state, its initialization and one epoch. The trials axis is added elsewhere."""

import zlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree, UInt32

from modjax.checks import num_validation
from modjax.data.batches import epoch_batches, split_order, take
from modjax.training.config import TrainConfig, hyperparam
from modjax.training.metrics import evaluate_means
from modjax.training.objective import Task, objective
from modjax.training.optimizer import transformation
from modjax.training.schedule import (
    PlateauState,
    StoppingState,
    init_plateau,
    init_stopping,
    is_per_step,
    rate_at,
    update_plateau,
    update_stopping,
)
from modjax.types import Examples, Params, PRNGKey, TrialValues

DEFAULT_LEARNING_RATE = 1e-3


class Clock(NamedTuple):
    """What a trial's batches and noise depend on, beside its number of examples.

    Attributes:
        seed: Seed, from which every key of the trial is folded by name.
        epoch: Number of epochs trained so far.
    """

    seed: UInt32[Array, "*lanes"]
    epoch: Int[Array, "*lanes"]


class TrialState(NamedTuple):
    """The state that a trial carries from epoch to epoch, beside its clock.

    Attributes:
        params: Weights after the latest epoch.
        optimizer: State of the optax transformation.
        best_params: Weights to return so far, by ``config.keep``: those of the epoch with the best validation loss, or
            of the last one with a finite loss (the initial ones before the first).
        plateau: State of the learning rate schedule.
        stopping: State of early stopping.
    """

    params: Params
    optimizer: Any
    best_params: Params
    plateau: PlateauState
    stopping: StoppingState


def named_key(seed: UInt32[Array, ""], name: str) -> PRNGKey:
    """Return the trial's key for one purpose, folded from its seed by name: no purpose shifts another's numbers."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def init_trial(task: Task, config: TrainConfig, seed: UInt32[Array, ""], hyperparams: TrialValues) -> TrialState:
    """Return a trial before its first epoch; equal seeds give equal weights, unless the task says otherwise."""
    return start_trial(task, config, initial_params(task, seed, hyperparams), hyperparams)


def start_trial(task: Task, config: TrainConfig, params: Params, hyperparams: TrialValues) -> TrialState:
    """Return a trial before its first epoch, from given weights; those that the task masks are 0."""
    params = masked(task, params, hyperparams)
    dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    learning_rate = jnp.asarray(hyperparam(hyperparams, "learning_rate", DEFAULT_LEARNING_RATE), dtype)
    return TrialState(
        params,
        transformation(config, learning_rate, hyperparams).init(params),
        params,
        init_plateau(learning_rate),
        init_stopping(dtype),
    )


def initial_params(task: Task, seed: UInt32[Array, ""], hyperparams: TrialValues) -> Params:
    """Return the weights that a trial starts from, those that the task masks at 0."""
    return masked(task, task.init(named_key(seed, "init"), hyperparams), hyperparams)


def masked(task: Task, tree: Params, hyperparams: TrialValues) -> Params:
    """Return a tree of weights, or of their gradients, with 0 where the task's mask is 0."""
    if task.mask is None:
        return tree
    # Not a product: what is masked may be NaN.
    return jax.tree.map(lambda leaf, is_kept: jnp.where(is_kept, leaf, 0), tree, task.mask(tree, hyperparams))


def split(config: TrainConfig, seed: UInt32[Array, ""], num_examples: int) -> tuple[Array, Array]:
    """Return the indices of a trial's training and validation examples, the same for all trials of a seed."""
    order = split_order(named_key(seed, "split"), num_examples)
    held_out = num_validation(num_examples, config.validation_fraction)
    train, validation = order[: num_examples - held_out], order[num_examples - held_out :]
    # The first of the split's order, so that validation is the same whatever the number.
    return (train if config.num_train is None else train[: config.num_train]), validation


def update(
    task: Task,
    config: TrainConfig,
    state: tuple[Params, Any],
    hyperparams: TrialValues,
    learning_rate: Float[Array, ""],
    batch: Examples,
    key: PRNGKey,
    initial: Params = None,
) -> tuple[tuple[Params, Any], Float[Array, ""]]:
    """Take one step on a batch; return the carried state and the batch's mean loss without penalty.

    ``initial`` are the weights that the trial started from, for a task that projects.
    """
    params, optimizer = state
    gradient, loss = jax.grad(partial(objective, task), has_aux=True)(params, hyperparams, batch, key)
    gradient = masked(task, gradient, hyperparams)
    updates, optimizer = transformation(config, learning_rate, hyperparams).update(gradient, optimizer, params)
    params = masked(task, optax.apply_updates(params, updates), hyperparams)
    if task.project is not None:
        params = task.project(params, hyperparams, initial)
    return (params, optimizer), loss


def epoch(
    task: Task, config: TrainConfig, clock: Clock, state: TrialState, hyperparams: TrialValues, examples: Examples
) -> tuple[TrialState, dict[str, Array]]:
    """Train one trial for one epoch, validate, keep the best weights, schedule, and decide whether it goes on.

    Trials with the same clock see the same batches and the same noise. Under a vmap that does not map the clock, the
    batches are gathered once, and the first layer's products become one wide product.

    Returns:
        The state, and the epoch's row of the history: ``epoch``, ``train_loss`` (running mean, no penalty),
        ``val_<name>`` for each entry of ``task.evaluate`` if there is a validation set, ``learning_rate`` (that of this
        epoch's last step), ``status`` and ``best_epoch``.
    """
    # Keys depend on the seed and the epoch alone, never on what ran before: a resumed trial gives the same numbers.
    order_key = jax.random.fold_in(named_key(clock.seed, "order"), clock.epoch)
    noise_key = jax.random.fold_in(named_key(clock.seed, "noise"), clock.epoch)
    train, validation = split(config, clock.seed, jax.tree.leaves(examples)[0].shape[0])
    if isinstance(config.batch_size, str):  # all examples at once need no order
        batches = jnp.broadcast_to(train, (config.steps_per_epoch, *train.shape))
    else:
        batches = epoch_batches(order_key, train, config.batch_size)
    num_steps = batches.shape[0]
    initial = None if task.project is None else initial_params(task, clock.seed, hyperparams)

    def rate(number: Any) -> Array:
        """Return the learning rate of a step of this epoch."""
        learning_rate = state.plateau.learning_rate
        if not is_per_step(config):
            return learning_rate
        step_number = clock.epoch * num_steps + number
        return rate_at(config, learning_rate, hyperparams, step_number, config.max_epochs * num_steps)

    def step(carry: PyTree, inputs: PyTree) -> Any:
        indices, number = inputs
        batch, key = take(examples, indices), jax.random.fold_in(noise_key, number)
        return update(task, config, carry, hyperparams, rate(number), batch, key, initial)

    steps = jnp.arange(num_steps)
    (params, optimizer), losses = jax.lax.scan(step, (state.params, state.optimizer), (batches, steps))

    is_validated = config.validation_fraction > 0
    means = evaluate_means(task, params, hyperparams, examples, validation) if is_validated else {}
    val_loss = (means["loss"] if is_validated else jnp.mean(losses)).astype(state.stopping.best_loss.dtype)
    plateau = update_plateau(config, state.plateau, val_loss)
    stopping, is_best = update_stopping(config, state.stopping, val_loss, clock.epoch)
    # With ``keep="last"`` weights are kept up to the last finite loss, so that a diverged trial returns no NaN.
    is_kept = is_best if config.keep == "best" else jnp.isfinite(val_loss)
    best_params = jax.tree.map(partial(jnp.where, is_kept), params, state.best_params)
    row = {
        "epoch": clock.epoch,
        "train_loss": jnp.mean(losses),
        **{f"val_{name}": mean for name, mean in means.items()},
        "learning_rate": rate(num_steps - 1),
        "status": stopping.status,
        "best_epoch": stopping.best_epoch,
    }
    return TrialState(params, optimizer, best_params, plateau, stopping), row
