"""Splits, epoch orders and minibatches, on the device."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num, UInt8

from modjax.types import Examples, PRNGKey


def to_unit_range(
    x: UInt8[Array, "*shape"] | Num[Array, "*shape"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "*shape"]:
    """Pixels (uint8) to [0, 1]; anything else only changes its dtype.

    Example:
        >>> to_unit_range(jnp.array([0, 51, 255], jnp.uint8)).tolist()
        [0.0, 0.20000001788139343, 1.0]
    """
    if x.dtype == jnp.uint8:
        return x.astype(dtype) / 255
    return x.astype(dtype)


def num_validation(num_examples: int, fraction: float) -> int:
    """Examples held out for validation: the nearest integer to ``fraction * num_examples``."""
    return round(num_examples * fraction)


def split_order(key: PRNGKey, num_examples: int) -> Int[Array, " examples"]:
    """A trial's permutation of the training examples: the last ones are its validation set."""
    return jax.random.permutation(key, num_examples).astype(jnp.int32)


def epoch_batches(key: PRNGKey, train: Int[Array, " examples"], batch_size: int) -> Int[Array, "steps batch"]:
    """A fresh order of the training examples, cut into batches; an incomplete last batch is left out."""
    steps = train.shape[0] // batch_size
    return jax.random.permutation(key, train)[: steps * batch_size].reshape(steps, batch_size)


def take(examples: Examples, indices: Int[Array, " batch"]) -> Examples:
    """The examples at ``indices``, from every array of the tree."""
    return jax.tree.map(lambda array: array[indices], examples)
