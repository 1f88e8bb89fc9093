"""Splits, epoch orders and minibatches, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from modjax.types import Examples, PRNGKey


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
