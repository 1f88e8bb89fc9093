"""Activation covariance: upstream, what units respond to."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from modjax.measures.base import MeasureBatch, Setting, Similarity, transposed_gram, units_of
from modjax.types import Params


class Moments(NamedTuple):
    """Running moments of the activations: number of examples, means and centred second moments.

    ``means`` are ``[locations units]`` for each group. ``centred`` are the sums of outer products over examples and
    locations, ``[units units]``; ``lost`` is what rounding has lost of them so far.
    """

    num_examples: Float[Array, ""]
    means: tuple[Array, ...]
    centred: tuple[Array, ...]
    lost: tuple[Array, ...]


def init(setting: Setting, dtype: DTypeLike) -> Moments:
    """Return the moments of no examples."""
    shapes = [(len(locations), setting.width(group)) for group, locations in enumerate(setting.locations)]
    zeros = tuple(jnp.zeros((units, units), dtype) for _, units in shapes)
    return Moments(jnp.zeros((), dtype), tuple(jnp.zeros(shape, dtype) for shape in shapes), zeros, zeros)


def update(setting: Setting, params: Params, prepared: PyTree, state: Moments, batch: MeasureBatch) -> Moments:
    """Merge a batch's moments into the running ones.

    With batch mean m_b and centred moment M_b over n_b examples, and d = m_b - m:
    m <- m + d n_b / (n + n_b);  M <- M + M_b + d d^T n n_b / (n + n_b), at each location, M summed over locations.
    Nothing is ever subtracted from a large second moment, so that a near-constant unit keeps a variance >= 0; what
    rounding loses of M is carried to the next batch.

    FLOPs per example: the forward pass, and 2 L U^2 for a group of U units at L locations.

    References:
        Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    del prepared
    hidden = setting.network.apply(params, batch.x).hidden
    return merge(state, batch, [units_of(setting, hidden, group) for group in range(len(setting.groups))])


def merge(state: Moments, batch: MeasureBatch, units_of_groups: list[Float[Array, "batch _ _"]]) -> Moments:
    """Merge the activations of a batch, one entry per group, into the running moments."""
    num_new = batch.is_valid.sum()
    total = state.num_examples + num_new
    is_valid = batch.is_valid[:, None, None]
    means, centred, lost = [], [], []
    for units, mean, moment, less in zip(units_of_groups, state.means, state.centred, state.lost, strict=True):
        # The mean of the differences from one example is exact for a constant unit, however large.
        origin = units[:1]
        new_mean = origin[0] + jnp.sum((units - origin) * is_valid, 0) / jnp.maximum(num_new, 1)
        deviations = ((units - new_mean[None]) * is_valid).reshape(-1, units.shape[-1])
        shift = new_mean - mean
        term = transposed_gram(deviations) + shift.T @ shift * (state.num_examples * num_new / jnp.maximum(total, 1))
        # Kahan's compensation, as in :func:`modjax.measures.base.add_sums`.
        term = term - less
        after = moment + term
        means.append(mean + shift * (num_new / jnp.maximum(total, 1)))
        centred.append(after)
        lost.append((after - moment) - term)
    return Moments(total, tuple(means), tuple(centred), tuple(lost))


def finalize(setting: Setting, params: Params, state: Moments) -> tuple[Array, ...]:
    """Return ``S_ij = E[h_i h_j] - E[h_i] E[h_j]`` (divided by n), the mean over locations."""
    del setting, params
    pairs = zip(state.centred, state.means, strict=True)
    return tuple(moment / (state.num_examples * means.shape[0]) for moment, means in pairs)


covariance = Similarity(init, update, finalize)
