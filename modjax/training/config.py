"""The settings of training: ``TrainConfig`` is static and fixed for a run, ``Hyperparams`` are traced and vary."""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modjax.builtins import BASE_HYPERPARAMETERS, HYPERPARAMETERS
from modjax.checks import check_steps, check_validation, examples_per_step
from modjax.names import ALL, KEPT_WEIGHTS, MATMUL_PRECISIONS, MAX_COUNT, OPTIMIZERS, SCHEDULES, one_of
from modjax.types import TrialValues

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
        batch_size: Number of examples per step; an incomplete last batch of an epoch is left out. ``"all"`` takes all
            training examples in each step.
        steps_per_epoch: Number of steps of an epoch if ``batch_size`` is ``"all"``: many, where a step takes less time
            than asking the host for the epoch's row.
        validation_fraction: Share of the training examples held out, drawn from each trial's seed. 0 trains on all of
            them: there is no validation loss then, so that it asks for another schedule than ``plateau``, for
            ``keep="last"`` and for ``early_stopping=False``; ``best_epoch`` is the last one.
        early_stopping: Whether trials may stop before ``max_epochs``.
        early_stopping_patience: Number of epochs in a row without a strictly better validation loss that stop a trial.
        schedule: Schedule of the learning rate: ``plateau``, ``constant``, ``cosine`` or ``warmup_cosine``, which scale
            the trial's learning rate; or a function ``step -> learning rate``, such as optax's schedules are, or
            ``(step, hyperparams) -> learning rate``, where a step is one update.
        plateau_patience: Number of epochs in a row without a better loss that are tolerated; the next one cuts the
            learning rate.
        plateau_factor: Factor by which the learning rate is cut.
        warmup_fraction: Share of all steps in which ``warmup_cosine`` raises the rate from 0 to the trial's own.
        end_factor: Last rate of the two cosine schedules, as a share of the trial's own.
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
    batch_size: int | str = 200
    steps_per_epoch: int = 1
    validation_fraction: float = 0.1
    early_stopping: bool = True
    early_stopping_patience: int = 6
    schedule: str | Callable[..., Any] = "plateau"
    plateau_patience: int = 3
    plateau_factor: float = 0.25
    warmup_fraction: float = 0.1
    end_factor: float = 0.0
    keep: str = "best"
    matmul_precision: str = "float32"
    num_train: int | None = None
    num_slots: int | None = None
    num_devices: int | None = None

    def __post_init__(self) -> None:
        for value, known, kind in (
            (self.optimizer, OPTIMIZERS, "optimizer"),
            (self.schedule, SCHEDULES, "schedule"),
            (self.matmul_precision, MATMUL_PRECISIONS, "matmul_precision"),
            (self.keep, KEPT_WEIGHTS, "keep"),
        ):
            if not callable(value):
                one_of(value, known, kind)
        counts = ("max_epochs", "steps_per_epoch", "early_stopping_patience", "num_train", "num_slots", "num_devices")
        if isinstance(self.batch_size, str) and self.batch_size != ALL:
            raise ValueError(
                f"batch_size must be a whole number from 1 to {MAX_COUNT}, or {ALL!r}; got {self.batch_size!r}."
            )
        for name in (*counts, *(["batch_size"] if self.batch_size != ALL else [])):
            value = getattr(self, name)
            if value is not None and (int(value) != value or not 1 <= value <= MAX_COUNT):
                raise ValueError(f"{name} must be a whole number from 1 to {MAX_COUNT}; got {value}.")
        if int(self.plateau_patience) != self.plateau_patience or self.plateau_patience < 0:
            raise ValueError(f"plateau_patience must be a whole number, at least 0; got {self.plateau_patience}.")
        check_steps(self.steps_per_epoch, self.batch_size)
        self._check_numbers()
        check_validation(self.validation_fraction, self.schedule, self.keep, self.early_stopping)

    def _check_numbers(self) -> None:
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be finite and not negative; got {self.weight_decay}.")
        if not 0 < self.plateau_factor < 1:
            raise ValueError(f"plateau_factor must lie between 0 and 1, both excluded; got {self.plateau_factor}.")
        for name in ("momentum", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, 1 excluded; got {getattr(self, name)}.")
        for name in ("warmup_fraction", "end_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1; got {getattr(self, name)}.")

    def examples_per_step(self, num_examples: int) -> int:
        """Return the number of examples of a training step, of so many examples in all."""
        return examples_per_step(num_examples, self.batch_size, self.validation_fraction, self.num_train)

    def recipe(self) -> "TrainConfig":
        """Return the config without the fields that only say where trials run: what a trial's numbers depend on."""
        return replace(self, num_slots=None, num_devices=None)


def hyperparam(hyperparams: TrialValues, name: str, default: Any) -> Any:
    """Return a hyperparameter by name from a NamedTuple or a mapping, or the default."""
    if isinstance(hyperparams, Mapping):
        return hyperparams.get(name, default)
    return getattr(hyperparams, name, default)
