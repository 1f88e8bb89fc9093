"""Learning rate schedule (PyTorch's ReduceLROnPlateau) and early stopping, for one trial."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from modjax.training.config import TrainConfig
from modjax.types import TrialValues

RELATIVE_THRESHOLD = 1e-4
LEAST_CUT = 1e-8

RUNNING, DONE, DIVERGED = 0, 1, 2
STATUS_NAMES = ("running", "done", "diverged")


class PlateauState(NamedTuple):
    """The learning rate, the best loss so far by the schedule's threshold, and the number of epochs since."""

    learning_rate: Float[Array, ""]
    best_loss: Float[Array, ""]
    num_bad_epochs: Int[Array, ""]


class StoppingState(NamedTuple):
    """The best loss of the trial, its epoch (-1: none yet), the number of epochs since, and the trial's status."""

    best_loss: Float[Array, ""]
    best_epoch: Int[Array, ""]
    num_bad_epochs: Int[Array, ""]
    status: Int[Array, ""]


def is_per_step(config: TrainConfig) -> bool:
    """Whether the learning rate follows from the number of steps alone."""
    return config.schedule not in ("plateau", "constant")


def rate_at(
    config: TrainConfig,
    learning_rate: Float[Array, ""],
    hyperparams: TrialValues,
    step: Int[Array, ""],
    num_steps: int,
) -> Float[Array, ""]:
    """Return the learning rate of a step, from 0, of ``num_steps`` in all, for a schedule that goes by steps.

    cosine: rate * (end + (1 - end) (1 + cos(pi step / num_steps)) / 2), end the config's ``end_factor``.
    warmup_cosine: from 0 to rate in ``warmup_fraction`` of all steps, then the same over those that are left.
    A function is asked for the rate itself.
    """
    schedule = config.schedule
    if callable(schedule):
        given = (step, hyperparams) if takes_hyperparams(schedule) else (step,)
        return jnp.asarray(schedule(*given), learning_rate.dtype)
    num_warmup = round(config.warmup_fraction * num_steps) if schedule == "warmup_cosine" else 0
    if num_warmup:
        decay = optax.warmup_cosine_decay_schedule(
            0.0, 1.0, num_warmup, max(num_steps, num_warmup + 1), config.end_factor
        )
    else:
        decay = optax.cosine_decay_schedule(1.0, num_steps, config.end_factor)
    return learning_rate * jnp.asarray(decay(step), learning_rate.dtype)


def takes_hyperparams(schedule: Callable[..., Any]) -> bool:
    """Whether a schedule is a function of a step and hyperparameters, not of a step alone, as those of optax are."""
    parameters = inspect.signature(schedule).parameters.values()
    positional = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    return sum(item.default is item.empty for item in positional) > 1


def init_plateau(learning_rate: Float[Array, ""]) -> PlateauState:
    """Return the schedule before the first epoch."""
    return PlateauState(learning_rate, jnp.full((), jnp.inf, learning_rate.dtype), jnp.int32(0))


def update_plateau(config: TrainConfig, state: PlateauState, loss: Float[Array, ""]) -> PlateauState:
    """Advance ReduceLROnPlateau(mode "min", threshold 1e-4 relative, eps 1e-8) by one epoch.

    A loss is better if ``loss < best * (1 - 1e-4)``. One more bad epoch after ``plateau_patience`` bad ones in a row
    multiplies the rate by ``plateau_factor``, unless that lowers it by 1e-8 or less; the count starts again either way.
    A ``constant`` schedule never cuts.

    References:
        PyTorch, ``torch.optim.lr_scheduler.ReduceLROnPlateau``.
    """
    is_better = loss < state.best_loss * (1 - RELATIVE_THRESHOLD)
    num_bad = jnp.where(is_better, 0, state.num_bad_epochs + 1)
    is_due = num_bad > config.plateau_patience
    cut = state.learning_rate * config.plateau_factor
    is_cut = (config.schedule == "plateau") & is_due & (state.learning_rate - cut > LEAST_CUT)
    return PlateauState(
        jnp.where(is_cut, cut, state.learning_rate),
        jnp.where(is_better, loss, state.best_loss),
        jnp.where(is_due, 0, num_bad),
    )


def init_stopping(dtype: DTypeLike) -> StoppingState:
    """Return early stopping before the first epoch."""
    return StoppingState(jnp.full((), jnp.inf, dtype), jnp.int32(-1), jnp.int32(0), jnp.int32(RUNNING))


def may_go_on(config: TrainConfig, state: StoppingState) -> bool:
    """Whether a trial that has ended would train on, if ``max_epochs`` were larger."""
    is_patient = not config.early_stopping or int(state.num_bad_epochs) < config.early_stopping_patience
    return int(state.status) == DONE and is_patient


def update_stopping(
    config: TrainConfig, state: StoppingState, loss: Float[Array, ""], epoch: Int[Array, ""]
) -> tuple[StoppingState, Bool[Array, ""]]:
    """Advance early stopping by one epoch; also return whether this epoch is strictly the best so far.

    Without validation (``validation_fraction = 0``) the loss is that of training, and the last epoch the best. A loss
    that is not finite stops the trial at once as diverged; ``early_stopping_patience`` epochs in a row without a
    better one (if ``early_stopping``), or the last epoch, stop it as done.
    """
    is_best = loss < state.best_loss if config.validation_fraction else jnp.isfinite(loss)
    num_bad = jnp.where(is_best, 0, state.num_bad_epochs + 1)
    is_over = (config.early_stopping & (num_bad >= config.early_stopping_patience)) | (epoch + 1 >= config.max_epochs)
    status = jnp.where(jnp.isfinite(loss), jnp.where(is_over, DONE, RUNNING), DIVERGED).astype(jnp.int32)
    is_best = is_best & jnp.isfinite(loss)
    return StoppingState(
        jnp.where(is_best, loss, state.best_loss),
        jnp.where(is_best, epoch, state.best_epoch),
        num_bad,
        status,
    ), is_best
