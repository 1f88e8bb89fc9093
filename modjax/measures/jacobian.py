"""Gram matrices of Jacobians: of units in the inputs (upstream), of logits in the units (downstream)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from modjax.measures.base import (
    Batch,
    GramSums,
    Groups,
    Similarity,
    add_sums,
    gram,
    init_sums,
    mean_of_sums,
    one_hot_tangents,
    sum_of_steps,
    units_of,
    zero_perturb,
)
from modjax.networks.base import Network


def update_input(network: Network, groups: Groups, params: Any, state: GramSums, batch: Batch) -> GramSums:
    """Add ``sum_b <dh_i/dx, dh_j/dx>``, the mean over locations.

    By reverse mode, a pass a unit and location, or by forward mode, a pass an input: whichever needs fewer passes is
    taken, no more passes at once than there are units.

    FLOPs a batch of B examples, layer of U units at L locations, D inputs: U L (or D) backward (forward) passes over
    the batch, and the Gram, 2 B L D U^2.
    """
    terms = [_input_gram(network, group, params, batch.x) for group in groups]
    return add_sums(state, batch.x.shape[0], terms)


def _input_gram(network: Network, group: tuple[int, ...], params: Any, x: Array) -> Float[Array, "units units"]:
    def units(x: Array) -> Array:
        return units_of(network.apply(params, x).hidden, group)

    shape = jax.eval_shape(units, x)
    _, num_locations, num_units = shape.shape
    num_inputs = x[0].size

    def gram_of_inputs(step: Any) -> Array:
        # Numbers beyond the last input make tangents of zeros, which add nothing.
        inputs = step * num_at_once + jnp.arange(num_at_once)
        tangents = (inputs[:, None] == jnp.arange(num_inputs)[None]).astype(x.dtype)
        tangents = jnp.broadcast_to(tangents.reshape(num_at_once, 1, *x.shape[1:]), (num_at_once, *x.shape))
        return gram(jax.vmap(lambda tangent: jax.jvp(units, (x,), (tangent,))[1])(tangents))

    if num_inputs < num_locations * num_units:
        num_at_once = min(num_inputs, num_units)
        return sum_of_steps(gram_of_inputs, -(-num_inputs // num_at_once))
    _, pull_back = jax.vjp(units, x)

    def gram_at(location: Any) -> Array:
        (cotangents,) = one_hot_tangents((jnp.zeros(shape.shape, shape.dtype),), (0,), location)
        jacobian = jax.vmap(lambda cotangent: pull_back(cotangent)[0])(cotangents).reshape(num_units, -1)
        return jacobian @ jacobian.T / num_locations

    return sum_of_steps(gram_at, num_locations)


def update_output(network: Network, groups: Groups, params: Any, state: GramSums, batch: Batch) -> GramSums:
    """Add ``sum_b sum_o dy_o/dh_i dy_o/dh_j``, the mean over locations: by reverse mode, a pass a logit.

    Derivatives are taken in ``perturb``. FLOPs a batch of B: O backward passes from the logits to the first hidden
    layer over B examples, and the Gram, 2 B O L U^2.
    """
    _, jacobians = output_jacobians(network, params, batch.x)
    terms = [gram(units_of(jacobians, group, axes_before=2)) for group in groups]
    return add_sums(state, batch.x.shape[0], terms)


def output_jacobians(
    network: Network, params: Any, x: Array
) -> tuple[Float[Array, "batch outputs"], tuple[Array, ...]]:
    """The logits, and dy/dh of every hidden layer, ``[outputs batch locations... units]``."""
    perturb = zero_perturb(network, params, x)
    logits, pull_back = jax.vjp(lambda perturb: network.apply(params, x, perturb).logits, perturb)
    num_outputs = logits.shape[-1]
    cotangents = jnp.broadcast_to(jnp.eye(num_outputs, dtype=logits.dtype)[:, None, :], (num_outputs, *logits.shape))
    return logits, jax.vmap(lambda cotangent: pull_back(cotangent)[0])(cotangents)


input_jacobian = Similarity(init_sums, update_input, mean_of_sums)
output_jacobian = Similarity(init_sums, update_output, mean_of_sums)
