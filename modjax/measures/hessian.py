"""Hessian of each example's cross-entropy in the hidden units: downstream, what units do to the loss."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from modjax.measures.base import (
    Batch,
    GramSums,
    Groups,
    Similarity,
    add_sums,
    init_sums,
    mean_of_sums,
    one_hot_tangents,
    zero_perturb,
)
from modjax.networks.base import Network


def update(network: Network, groups: Groups, params: Any, state: GramSums, batch: Batch) -> GramSums:
    """Add ``sum_b d2 CE_b / dh_i dh_j``: forward over reverse, exact for any network, a pass a unit.

    FLOPs a batch of B, group of U units: U times about two backward passes from the logits to the first hidden layer
    over B examples. The products are summed over examples as they arise: no per-example Hessian is ever stored.
    """
    labels = batch.y
    assert labels is not None, "the public edge asks for labels"
    perturb = zero_perturb(network, params, batch.x)

    def total_cross_entropy(perturb: tuple[Array, ...]) -> Array:
        log_probabilities = jax.nn.log_softmax(network.apply(params, batch.x, perturb).logits)
        return -jnp.sum(jnp.take_along_axis(log_probabilities, labels[:, None], -1))

    def hessian_rows(group: tuple[int, ...], tangent: tuple[Array, ...]) -> Array:
        _, products = jax.jvp(jax.grad(total_cross_entropy), (perturb,), (tangent,))
        return jnp.concatenate([products[layer].sum(0) for layer in group], -1)

    terms = [
        jax.vmap(lambda tangent, group=group: hessian_rows(group, tangent))(one_hot_tangents(perturb, group))
        for group in groups
    ]
    return add_sums(state, batch.x.shape[0], terms)


loss_hessian = Similarity(init_sums, update, mean_of_sums)
