"""The settings of training: ``TrainConfig`` is static and fixed for a run, ``Hyperparams`` are traced and vary."""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modjax.builtins import BASE_HYPERPARAMETERS, HYPERPARAMETERS
from modjax.names import KEPT_WEIGHTS, MATMUL_PRECISIONS, MAX_COUNT, OPTIMIZERS, SCHEDULES, one_of

# One field per record.
Hyperparams = namedtuple(
    "Hyperparams", BASE_HYPERPARAMETERS, defaults=[HYPERPARAMETERS[name].default for name in BASE_HYPERPARAMETERS]
)
Hyperparams.__doc__ = "Hyperparameters that vary without recompiling: scalars in a task, ``[trials]`` columns outside."


@dataclass(frozen=True)
class TrainConfig:
    """Settings that all trials of a population share; a change of any field compiles a new program.

    Attributes:
        optimizer: Name of an optimizer, or a function ``(learning_rate, hyperparams) -> optax.GradientTransformation``
            of one trial's traced scalars, such as ``lambda lr, h: optax.rmsprop(lr, decay=h["decay"])``.
        optimizer_hyperparams: Names of the hyperparameters that such a function takes, beside the learning rate.
        momentum: Momentum of ``sgd``, unless a hyperparameter has that name.
        weight_decay: Decoupled weight decay of ``adamw``, unless a hyperparameter has that name (PyTorch's default).
        max_epochs: Largest number of epochs of a trial.
        batch_size: Number of examples per step; an incomplete last batch of an epoch is left out.
        validation_fraction: Share of the training examples held out, drawn from each trial's seed.
        early_stopping: Whether trials may stop before ``max_epochs``.
        early_stopping_patience: Number of epochs in a row without a strictly better validation loss that stop a trial.
        schedule: Schedule of the learning rate: ``plateau``, or ``constant``.
        plateau_patience: Number of epochs in a row without a better loss that are tolerated; the next one cuts the
            learning rate.
        plateau_factor: Factor by which the learning rate is cut.
        keep: Weights to return: those of the ``best`` epoch by validation loss, or of the ``last`` one whose loss is
            finite. ``best_epoch`` is that of the best validation loss either way.
        matmul_precision: Precision of matrix products: ``float32``, or on accelerators that have them ``tf32`` or
            ``bf16`` (products of rounded factors, summed in float32).
        num_train: Number of training examples to use, the first of each trial's split; None uses all.
        num_slots: Number of trials that train side by side; None lets modjax choose, and pack the last trials into
            fewer lanes.
        num_devices: Number of local devices to use; None uses all.
    """

    optimizer: str | Callable[..., Any] = "adam"
    optimizer_hyperparams: tuple[str, ...] = ()
    momentum: float = 0.9
    weight_decay: float = 0.01
    max_epochs: int = 500
    batch_size: int = 200
    validation_fraction: float = 0.1
    early_stopping: bool = True
    early_stopping_patience: int = 6
    schedule: str = "plateau"
    plateau_patience: int = 3
    plateau_factor: float = 0.25
    keep: str = "best"
    matmul_precision: str = "float32"
    num_train: int | None = None
    num_slots: int | None = None
    num_devices: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.optimizer):
            one_of(self.optimizer, OPTIMIZERS, "optimizer")
        one_of(self.matmul_precision, MATMUL_PRECISIONS, "matmul_precision")
        one_of(self.schedule, SCHEDULES, "schedule")
        one_of(self.keep, KEPT_WEIGHTS, "keep")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie between 0 and 1, 1 excluded; got {self.momentum}.")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be finite and not negative; got {self.weight_decay}.")
        for name in ("max_epochs", "batch_size", "early_stopping_patience", "num_train", "num_slots", "num_devices"):
            value = getattr(self, name)
            if value is not None and (int(value) != value or not 1 <= value <= MAX_COUNT):
                raise ValueError(f"{name} must be a whole number from 1 to {MAX_COUNT}; got {value}.")
        if int(self.plateau_patience) != self.plateau_patience or self.plateau_patience < 0:
            raise ValueError(f"plateau_patience must be a whole number, at least 0; got {self.plateau_patience}.")
        for name in ("validation_fraction", "plateau_factor"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, both excluded; got {value}.")

    def recipe(self) -> "TrainConfig":
        """Return the config without the fields that only say where trials run: what a trial's numbers depend on."""
        return replace(self, num_slots=None, num_devices=None)


def hyperparam(hyperparams: Any, name: str, default: Any) -> Any:
    """Return a hyperparameter by name from a NamedTuple or a mapping, or the default."""
    if isinstance(hyperparams, Mapping):
        return hyperparams.get(name, default)
    return getattr(hyperparams, name, default)
