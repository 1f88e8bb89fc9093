"""Activation covariance: upstream, what units respond to."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from modjax.measures.base import Batch, Groups, Similarity, symmetric
from modjax.networks.base import Network


class Moments(NamedTuple):
    """Number of examples, mean and centred second moment (sum of outer products) of each group."""

    num_examples: Float[Array, ""]
    means: tuple[Array, ...]
    centred: tuple[Array, ...]


def init(widths: tuple[int, ...], dtype: DTypeLike) -> Moments:
    """No example seen yet."""
    return Moments(
        jnp.zeros((), dtype),
        tuple(jnp.zeros(width, dtype) for width in widths),
        tuple(jnp.zeros((width, width), dtype) for width in widths),
    )


def update(network: Network, groups: Groups, params: Any, state: Moments, batch: Batch) -> Moments:
    """Merge a batch's moments into the running ones.

    With batch mean m_b and centred moment M_b over n_b examples, and d = m_b - m:
    m <- m + d n_b / (n + n_b);  M <- M + M_b + d d^T n n_b / (n + n_b).
    Nothing is ever subtracted from a large second moment, so that a near-constant unit keeps a variance >= 0.

    References:
        Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    hidden = network.apply(params, batch.x).hidden
    num_new = batch.x.shape[0]
    total = state.num_examples + num_new
    means, centred = [], []
    for group, mean, moment in zip(groups, state.means, state.centred, strict=True):
        units = jnp.concatenate([hidden[layer] for layer in group], -1)
        new_mean = units.mean(0)
        deviations = units - new_mean[None]
        shift = new_mean - mean
        means.append(mean + shift * (num_new / total))
        centred.append(
            moment + deviations.T @ deviations + jnp.outer(shift, shift) * (state.num_examples * num_new / total)
        )
    return Moments(total, tuple(means), tuple(centred))


def finalize(state: Moments) -> tuple[Array, ...]:
    """``S_ij = E[h_i h_j] - E[h_i] E[h_j]``, divided by n."""
    return tuple(symmetric(moment) / state.num_examples for moment in state.centred)


covariance = Similarity(init, update, finalize)
