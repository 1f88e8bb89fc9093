"""Optimizers: by name, or any optax transformation; each trial has its own learning rate and hyperparameters.

An optimizer is a function ``(learning_rate, hyperparams) -> optax.GradientTransformation``, called with the scalars of
one trial. The schedule changes ``learning_rate`` between epochs; the state of the transformation is kept.
"""

from collections.abc import Callable
from typing import Any

import optax

from modjax.builtins import OPTIMIZER_HYPERPARAMETERS
from modjax.training.config import TrainConfig, hyperparam
from modjax.types import TrialValues

Optimizer = Callable[[Any, Any], optax.GradientTransformation]


def adam(config: TrainConfig) -> Optimizer:
    """Return Adam (betas 0.9 and 0.999 unless hyperparameters say otherwise, eps 1e-8: PyTorch's defaults too)."""
    del config
    return lambda learning_rate, hyperparams: optax.adam(learning_rate, **_betas(hyperparams))


def adamw(config: TrainConfig) -> Optimizer:
    """Return Adam with decoupled weight decay on all parameters: p -= learning_rate * (adam + weight_decay * p)."""
    return lambda learning_rate, hyperparams: optax.adamw(
        learning_rate,
        weight_decay=hyperparam(hyperparams, "weight_decay", config.weight_decay),
        **_betas(hyperparams),
    )


def _betas(hyperparams: TrialValues) -> dict[str, Any]:
    """Return the decay rates of the moments that are given: constants of the program otherwise."""
    given = {name: hyperparam(hyperparams, name, None) for name in ("b1", "b2")}
    return {name: value for name, value in given.items() if value is not None}


def sgd(config: TrainConfig) -> Optimizer:
    """Return gradient descent with momentum as in PyTorch: v = momentum * v + g, p -= learning_rate * v."""
    return lambda learning_rate, hyperparams: optax.sgd(
        learning_rate, momentum=hyperparam(hyperparams, "momentum", config.momentum)
    )


OPTIMIZER_FUNCTIONS: dict[str, Callable[[TrainConfig], Optimizer]] = {"adam": adam, "adamw": adamw, "sgd": sgd}


def transformation(config: TrainConfig, learning_rate: Any, hyperparams: TrialValues) -> optax.GradientTransformation:
    """Return the config's optimizer for one trial at one learning rate."""
    optimizer = config.optimizer
    make = optimizer if callable(optimizer) else OPTIMIZER_FUNCTIONS[optimizer](config)
    return make(learning_rate, hyperparams)


def optimizer_hyperparams(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the hyperparameters that the optimizer takes, beside the learning rate."""
    named = OPTIMIZER_HYPERPARAMETERS[config.optimizer] if isinstance(config.optimizer, str) else ()
    return (*named, *config.optimizer_hyperparams)
