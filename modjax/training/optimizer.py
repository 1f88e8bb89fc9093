"""Optimizers by name: an optax transformation of the gradient into a direction; the trial's rate scales it."""

from collections.abc import Callable

import jax
import optax
from jaxtyping import Array, Float

from modjax.names import one_of
from modjax.types import Params

DIRECTIONS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,  # betas 0.9 and 0.999, eps 1e-8: the defaults of PyTorch too
}


def direction(name: str) -> optax.GradientTransformation:
    """The transformation named ``name``, without a learning rate."""
    return DIRECTIONS[one_of(name, tuple(DIRECTIONS), "optimizer")]()


def apply_step(params: Params, updates: Params, learning_rate: Float[Array, ""]) -> Params:
    """``params - learning_rate * updates``, leaf by leaf, each in its own dtype."""
    return jax.tree.map(lambda p, u: p - (learning_rate * u).astype(p.dtype), params, updates)
