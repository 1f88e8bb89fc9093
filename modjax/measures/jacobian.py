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
    zero_perturb,
)
from modjax.networks.base import Network


def update_input(network: Network, groups: Groups, params: Any, state: GramSums, batch: Batch) -> GramSums:
    """Add ``sum_b <dh_i/dx, dh_j/dx>``: by reverse mode, a pass a unit, or by forward mode, a pass an input.

    Whichever needs fewer passes is taken.

    FLOPs a batch of B examples, layer of U units, D inputs: U (or D) backward (forward) passes over the batch, and the
    Gram, 2 B D U^2.
    """
    terms = [_input_gram(network, group, params, batch.x) for group in groups]
    return add_sums(state, batch.x.shape[0], terms)


def _input_gram(network: Network, group: tuple[int, ...], params: Any, x: Array) -> Float[Array, "units units"]:
    def units_of(x: Array) -> Array:
        hidden = network.apply(params, x).hidden
        return jnp.concatenate([hidden[layer] for layer in group], -1)

    shape = jax.eval_shape(units_of, x)
    num_units, num_inputs = shape.shape[-1], x[0].size
    if num_inputs < num_units:
        tangents = jnp.eye(num_inputs, dtype=x.dtype).reshape(num_inputs, 1, *x.shape[1:])
        tangents = jnp.broadcast_to(tangents, (num_inputs, *x.shape))
        return gram(jax.vmap(lambda tangent: jax.jvp(units_of, (x,), (tangent,))[1])(tangents))
    _, pull_back = jax.vjp(units_of, x)
    cotangents = jnp.broadcast_to(jnp.eye(num_units, dtype=x.dtype)[:, None, :], (num_units, *shape.shape))
    jacobian = jax.vmap(lambda cotangent: pull_back(cotangent)[0])(cotangents).reshape(num_units, -1)
    return jacobian @ jacobian.T


def update_output(network: Network, groups: Groups, params: Any, state: GramSums, batch: Batch) -> GramSums:
    """Add ``sum_b sum_o dy_o/dh_i dy_o/dh_j``: by reverse mode, a pass a logit, derivatives taken in ``perturb``.

    FLOPs a batch of B: O backward passes from the logits to the first hidden layer over B examples, and the Gram,
    2 B O U^2.
    """
    perturb = zero_perturb(network, params, batch.x)
    logits, pull_back = jax.vjp(lambda perturb: network.apply(params, batch.x, perturb).logits, perturb)
    num_outputs = logits.shape[-1]
    cotangents = jnp.broadcast_to(jnp.eye(num_outputs, dtype=logits.dtype)[:, None, :], (num_outputs, *logits.shape))
    jacobians = jax.vmap(lambda cotangent: pull_back(cotangent)[0])(cotangents)
    terms = [gram(jnp.concatenate([jacobians[layer] for layer in group], -1)) for group in groups]
    return add_sums(state, batch.x.shape[0], terms)


input_jacobian = Similarity(init_sums, update_input, mean_of_sums)
output_jacobian = Similarity(init_sums, update_output, mean_of_sums)
