"""A measure is three pure functions over batches of ONE network: ``Similarity(init, update, finalize)``.

Everything is a sum over examples, so that any split into batches gives the same matrix. Layers are handled in groups:
``((0,), (1,))`` gives one matrix a layer, ``((0, 1),)`` one matrix over the units of both, cross blocks included.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from modjax.networks.base import Network

Groups = tuple[tuple[int, ...], ...]


class Batch(NamedTuple):
    """Examples to analyse: ``x [batch ...]`` in the dtype of the parameters, ``y [batch]`` integer labels or None."""

    x: Array
    y: Array | None


class Similarity(NamedTuple):
    """One measure.

    Attributes:
        init: ``init(widths, dtype) -> state``; ``widths`` are the units of each group.
        update: ``update(network, groups, params, state, batch) -> state``, adds a batch.
        finalize: ``finalize(state) -> tuple`` of ``[units units]``, exactly symmetric, one a group.
    """

    init: Callable[..., Any]
    update: Callable[..., Any]
    finalize: Callable[..., tuple[Array, ...]]


class GramSums(NamedTuple):
    """Sum over examples of each group's matrix, and the number of examples."""

    num_examples: Float[Array, ""]
    sums: tuple[Array, ...]


def init_sums(widths: tuple[int, ...], dtype: DTypeLike) -> GramSums:
    """Nothing summed yet."""
    return GramSums(jnp.zeros((), dtype), tuple(jnp.zeros((width, width), dtype) for width in widths))


def add_sums(state: GramSums, num_examples: int, terms: list[Array]) -> GramSums:
    """Add a batch's sums."""
    return GramSums(state.num_examples + num_examples, tuple(a + b for a, b in zip(state.sums, terms, strict=True)))


def mean_of_sums(state: GramSums) -> tuple[Array, ...]:
    """``sum / count``, exactly symmetric."""
    return tuple(symmetric(total) / state.num_examples for total in state.sums)


def symmetric(matrix: Float[Array, "units units"]) -> Float[Array, "units units"]:
    """The upper triangle, mirrored: exactly symmetric, where ``(M + M^T) / 2`` is not.

    A compiler may contract the products in that sum, one way for an entry and another way for its mirror image; a
    choice between entries leaves it nothing to contract.
    """
    return jnp.where(jnp.tri(len(matrix), dtype=bool), matrix.T, matrix)


def gram(jacobian: Float[Array, "rows batch units"]) -> Float[Array, "units units"]:
    """``sum over rows and examples of J_i J_j``, as one matrix product."""
    flat = jacobian.reshape(-1, jacobian.shape[-1])
    return flat.T @ flat


def zero_perturb(network: Network, params: Any, x: Array) -> tuple[Array, ...]:
    """Zeros shaped like the hidden activations of a batch: what downstream derivatives are taken in."""
    hidden = jax.eval_shape(lambda x: network.apply(params, x).hidden, x)
    return tuple(jnp.zeros(layer.shape, layer.dtype) for layer in hidden)


def one_hot_tangents(perturb: tuple[Array, ...], group: tuple[int, ...]) -> tuple[Array, ...]:
    """For each unit of a group, a tangent of ``perturb`` that is 1 for that unit in every example and 0 elsewhere.

    Returns:
        ``[units batch units_of_layer]`` for each layer. One pass serves all examples of a batch, since no example's
        output depends on another's.
    """
    total = sum(perturb[layer].shape[-1] for layer in group)
    tangents = [jnp.zeros((total, *layer.shape), layer.dtype) for layer in perturb]
    start = 0
    for layer in group:
        width = perturb[layer].shape[-1]
        identity = jnp.eye(total, width, -start, dtype=perturb[layer].dtype)
        tangents[layer] = jnp.broadcast_to(identity[:, None, :], tangents[layer].shape)
        start += width
    return tuple(tangents)
