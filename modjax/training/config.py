"""What a training run fixes (``TrainConfig``, static) and what a sweep varies (``Hyperparams``, traced)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from modjax.names import MAX_COUNT, OPTIMIZERS, one_of


class Hyperparams(NamedTuple):
    """What a sweep of the paper varies without recompiling: scalars here, the trials axis comes from vmap."""

    learning_rate: Float[Array, ""] | np.ndarray | float = 1e-3
    l1: Float[Array, ""] | np.ndarray | float = 0.0
    l2: Float[Array, ""] | np.ndarray | float = 0.0
    dropout: Float[Array, ""] | np.ndarray | float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """What all trials of a population share; a change of any field compiles a new program.

    Attributes:
        optimizer: Name of the optimizer.
        max_epochs: A trial ends after so many epochs at the latest.
        batch_size: Examples per step; an incomplete last batch of an epoch is left out.
        validation_fraction: Share of the training examples held out, drawn from each trial's seed.
        early_stopping_patience: So many epochs in a row without a strictly better validation loss stop the trial.
        plateau_patience: One more than so many epochs in a row without a better loss cut the learning rate.
        plateau_factor: The cut.
        num_slots: Trials that train side by side; None lets modjax choose.
    """

    optimizer: str = "adam"
    max_epochs: int = 500
    batch_size: int = 200
    validation_fraction: float = 0.1
    early_stopping_patience: int = 6
    plateau_patience: int = 3
    plateau_factor: float = 0.25
    num_slots: int | None = None

    def __post_init__(self) -> None:
        one_of(self.optimizer, OPTIMIZERS, "optimizer")
        for name in ("max_epochs", "batch_size", "early_stopping_patience", "num_slots"):
            value = getattr(self, name)
            if value is not None and (int(value) != value or not 1 <= value <= MAX_COUNT):
                raise ValueError(f"{name} must be a whole number from 1 to {MAX_COUNT}; got {value}.")
        if int(self.plateau_patience) != self.plateau_patience or self.plateau_patience < 0:
            raise ValueError(f"plateau_patience must be a whole number, at least 0; got {self.plateau_patience}.")
        for name in ("validation_fraction", "plateau_factor"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, both excluded; got {value}.")


def hyperparam(hyperparams: Any, name: str, default: float) -> Any:
    """A hyperparameter by name from a NamedTuple or a dict, or the default."""
    if isinstance(hyperparams, dict):
        return hyperparams.get(name, default)
    return getattr(hyperparams, name, default)
