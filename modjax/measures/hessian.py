"""Hessian of each example's cross-entropy in the hidden units: downstream, what units do to the loss."""

from functools import partial
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
    by_location,
    gram,
    init_sums,
    mean_of_sums,
    one_hot_tangents,
    sum_of_steps,
    units_of,
    zero_perturb,
)
from modjax.measures.jacobian import output_jacobians
from modjax.networks.base import Network


def update(network: Network, groups: Groups, params: Any, state: GramSums, batch: Batch) -> GramSums:
    """Add ``sum_b d2 CE_b / dh_i dh_j`` at each location, the mean over locations."""
    of_groups = _from_first_derivatives if network.is_piecewise_linear else _forward_over_reverse
    return add_sums(state, batch.x.shape[0], of_groups(network, groups, params, batch))


def _from_first_derivatives(network: Network, groups: Groups, params: Any, batch: Batch) -> list[Array]:
    """``J^T (diag p - p p^T) J`` with J = dy/dh and p = softmax(y): exact where y is piecewise linear in h.

    As a Gram of sqrt(p_o) (J_o - sum_q p_q J_q). FLOPs a batch of B: O backward passes, and the Gram, 2 B O L U^2.
    """
    logits, jacobians = output_jacobians(network, params, batch.x)
    p = jax.nn.softmax(logits).T[:, :, None, None]
    terms = []
    for group in groups:
        J = units_of(jacobians, group, axes_before=2)  # noqa: N806 - the formula's letter
        terms.append(gram(jnp.sqrt(p) * (J - jnp.sum(p * J, 0, keepdims=True))))
    return terms


def _forward_over_reverse(network: Network, groups: Groups, params: Any, batch: Batch) -> list[Array]:
    """Exact for any network, a pass a unit and location.

    FLOPs a batch of B, group of U units at L locations: U L times about two backward passes from the logits to the
    first hidden layer over B examples. The products are summed over examples and locations as they arise: no
    per-example Hessian is ever stored.
    """
    labels = batch.y
    assert labels is not None, "the public edge asks for labels"
    perturb = zero_perturb(network, params, batch.x)

    def total_cross_entropy(perturb: tuple[Array, ...]) -> Array:
        log_probabilities = jax.nn.log_softmax(network.apply(params, batch.x, perturb).logits)
        return -jnp.sum(jnp.take_along_axis(log_probabilities, labels[:, None], -1))

    def hessian_at(group: tuple[int, ...], location: Any) -> Array:
        def rows(tangent: tuple[Array, ...]) -> Array:
            _, products = jax.jvp(jax.grad(total_cross_entropy), (perturb,), (tangent,))
            return units_of(products, group)[:, location].sum(0)

        return jax.vmap(rows)(one_hot_tangents(perturb, group, location))

    terms = []
    for group in groups:
        num_locations = by_location(perturb[group[0]]).shape[1]
        terms.append(sum_of_steps(partial(hessian_at, group), num_locations) / num_locations)
    return terms


loss_hessian = Similarity(init_sums, update, mean_of_sums)
