"""Learning rate schedule (PyTorch's ReduceLROnPlateau) and early stopping, for one trial."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from modjax.training.config import TrainConfig

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


def update_stopping(
    config: TrainConfig, state: StoppingState, loss: Float[Array, ""], epoch: Int[Array, ""]
) -> tuple[StoppingState, Bool[Array, ""]]:
    """Advance early stopping by one epoch; also return whether this epoch is strictly the best so far.

    A loss that is not finite stops the trial at once as diverged; ``early_stopping_patience`` epochs in a row without a
    better one (if ``early_stopping``), or the last epoch, stop it as done.
    """
    is_best = loss < state.best_loss
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
