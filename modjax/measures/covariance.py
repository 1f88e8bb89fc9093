"""Activation covariance: upstream, what units respond to."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from modjax.measures.base import Batch, Groups, Shapes, Similarity, symmetric, units_of
from modjax.networks.base import Network


class Moments(NamedTuple):
    """Number of examples; of each group the means ``[locations units]`` and the centred second moment.

    The latter is the sum of outer products over examples and locations, ``[units units]``.
    """

    num_examples: Float[Array, ""]
    means: tuple[Array, ...]
    centred: tuple[Array, ...]


def init(shapes: Shapes, dtype: DTypeLike) -> Moments:
    """No example seen yet."""
    return Moments(
        jnp.zeros((), dtype),
        tuple(jnp.zeros(shape, dtype) for shape in shapes),
        tuple(jnp.zeros((units, units), dtype) for _, units in shapes),
    )


def update(network: Network, groups: Groups, params: Any, state: Moments, batch: Batch) -> Moments:
    """Merge a batch's moments into the running ones.

    With batch mean m_b and centred moment M_b over n_b examples, and d = m_b - m:
    m <- m + d n_b / (n + n_b);  M <- M + M_b + d d^T n n_b / (n + n_b), at each location, M summed over locations.
    Nothing is ever subtracted from a large second moment, so that a near-constant unit keeps a variance >= 0.

    References:
        Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    hidden = network.apply(params, batch.x).hidden
    num_new = batch.x.shape[0]
    total = state.num_examples + num_new
    means, centred = [], []
    for group, mean, moment in zip(groups, state.means, state.centred, strict=True):
        units = units_of(hidden, group)
        new_mean = units.mean(0)
        deviations = (units - new_mean[None]).reshape(-1, units.shape[-1])
        shift = new_mean - mean
        means.append(mean + shift * (num_new / total))
        centred.append(moment + deviations.T @ deviations + shift.T @ shift * (state.num_examples * num_new / total))
    return Moments(total, tuple(means), tuple(centred))


def finalize(state: Moments) -> tuple[Array, ...]:
    """``S_ij = E[h_i h_j] - E[h_i] E[h_j]``, divided by n, the mean over locations."""
    pairs = zip(state.centred, state.means, strict=True)
    return tuple(symmetric(moment) / (state.num_examples * means.shape[0]) for moment, means in pairs)


covariance = Similarity(init, update, finalize)
