"""A measure is three pure functions over batches of ONE network: ``Similarity(init, update, finalize)``.

Everything is a sum over examples, so that any split into batches gives the same matrix. Layers are handled in groups:
``((0,), (1,))`` gives one matrix a layer, ``((0, 1),)`` one matrix over the units of both, cross blocks included.

A layer may compute its units at many locations (a convolution's channels). Its S_ij is then computed at each location,
between the activations of i and j there, and averaged over locations; a dense layer has one location. Layers of one
group have the same locations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from modjax.networks.base import Network

Groups = tuple[tuple[int, ...], ...]
Shapes = tuple[tuple[int, int], ...]


class Batch(NamedTuple):
    """Examples to analyse: ``x [batch ...]`` in the dtype of the parameters, ``y [batch]`` integer labels or None."""

    x: Array
    y: Array | None


class Similarity(NamedTuple):
    """One measure.

    Attributes:
        init: ``init(shapes, dtype) -> state``; ``shapes`` are ``(locations, units)`` of each group.
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


def init_sums(shapes: Shapes, dtype: DTypeLike) -> GramSums:
    """Nothing summed yet."""
    return GramSums(jnp.zeros((), dtype), tuple(jnp.zeros((units, units), dtype) for _, units in shapes))


def add_sums(state: GramSums, num_examples: int, terms: list[Array]) -> GramSums:
    """Add a batch's sums over examples, each already a mean over locations."""
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


def by_location(layer: Array, axes_before: int = 1) -> Float[Array, "*rows locations units"]:
    """``[batch locations... units]`` as ``[batch locations units]``; ``axes_before`` counts the axes kept in front."""
    return layer.reshape(*layer.shape[:axes_before], -1, layer.shape[-1])


def units_of(
    hidden: tuple[Array, ...], group: tuple[int, ...], axes_before: int = 1
) -> Float[Array, "*rows locations units"]:
    """The units of a group's layers side by side."""
    return jnp.concatenate([by_location(hidden[layer], axes_before) for layer in group], -1)


def gram(jacobian: Float[Array, "rows batch locations units"]) -> Float[Array, "units units"]:
    """``sum over rows and examples, mean over locations, of J_i J_j``, as one matrix product."""
    flat = jacobian.reshape(-1, jacobian.shape[-1])
    return flat.T @ flat / jacobian.shape[-2]


def zero_perturb(network: Network, params: Any, x: Array) -> tuple[Array, ...]:
    """Zeros shaped like the hidden activations of a batch: what downstream derivatives are taken in."""
    hidden = jax.eval_shape(lambda x: network.apply(params, x).hidden, x)
    return tuple(jnp.zeros(layer.shape, layer.dtype) for layer in hidden)


def sum_of_steps(step: Callable[[Any], Array], num_steps: int) -> Array:
    """``step(0) + ... + step(num_steps - 1)``, one after the other, so that only one step's intermediates exist."""
    if num_steps == 1:
        return step(0)
    shape = jax.eval_shape(step, 0)
    total, _ = jax.lax.scan(
        lambda total, index: (total + step(index), None), jnp.zeros(shape.shape, shape.dtype), jnp.arange(num_steps)
    )
    return total


def one_hot_tangents(perturb: tuple[Array, ...], group: tuple[int, ...], location: Any) -> tuple[Array, ...]:
    """For each unit of a group, a tangent of ``perturb``: 1 for that unit at a location in every example, 0 elsewhere.

    Returns:
        ``[units batch locations... units_of_layer]`` for each layer. One pass serves all examples of a batch, since no
        example's output depends on another's.
    """
    total = sum(perturb[layer].shape[-1] for layer in group)
    tangents = [jnp.zeros((total, *layer.shape), layer.dtype) for layer in perturb]
    start = 0
    for layer in group:
        num_examples, num_locations, width = by_location(perturb[layer]).shape
        identity = jnp.eye(total, width, -start, dtype=perturb[layer].dtype)[:, None, None, :]
        is_here = (jnp.arange(num_locations) == location)[None, None, :, None]
        tangent = jnp.broadcast_to(jnp.where(is_here, identity, 0), (total, num_examples, num_locations, width))
        tangents[layer] = tangent.reshape(total, *perturb[layer].shape)
        start += width
    return tuple(tangents)
