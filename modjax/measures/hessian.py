"""Hessian of each example's cross-entropy in the hidden units, by autodiff: downstream, what units do to the loss."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from modjax.measures.base import (
    MeasureBatch,
    Setting,
    by_location,
    from_group_terms,
    gram,
    one_hot_tangents,
    sum_over,
    units_of,
    zero_perturb,
)
from modjax.measures.jacobian import output_jacobians
from modjax.types import Params


def hessian_terms(setting: Setting, params: Params, prepared: PyTree, batch: MeasureBatch) -> list[Array]:
    """Return ``sum_b d2 CE_b / dh_i dh_j`` at each location, averaged over locations."""
    del prepared
    of_groups = _from_first_derivatives if setting.network.is_piecewise_linear else _forward_over_reverse
    return of_groups(setting, params, batch)


def _from_first_derivatives(setting: Setting, params: Params, batch: MeasureBatch) -> list[Array]:
    """Return ``J^T (diag p - p p^T) J`` with J = dy/dh and p = softmax(y): exact where y is piecewise linear in h.

    It is computed as a Gram of sqrt(p_o) (J_o - sum_q p_q J_q). FLOPs per example: O backward passes, and the
    Gram, 2 O L U^2.
    """
    logits, jacobians = output_jacobians(setting, params, batch)
    p = jax.nn.softmax(logits).T[:, :, None]
    terms = []
    for group in range(len(setting.groups)):
        J = units_of(setting, jacobians, group, axes_before=2)  # noqa: N806 - the formula's letter
        rows = J.reshape(*J.shape[:2], -1)
        # The barrier has the mean computed once: fused into its consumer, it would be summed again for every logit.
        mean = jax.lax.optimization_barrier(jnp.sum(p * rows, 0))
        terms.append(gram((jnp.sqrt(p) * (rows - mean[None])).reshape(J.shape)))
    return terms


def _forward_over_reverse(setting: Setting, params: Params, batch: MeasureBatch) -> list[Array]:
    """Return the exact Hessian of any network, by one pass per unit and location.

    FLOPs per example, group of U units at L locations: U L times about two backward passes from the logits to the first
    hidden layer. The products are summed over examples and locations as they arise: no per-example Hessian is stored.
    """
    zeros = zero_perturb(setting.network, params, batch.x)

    def hessian_at(group: int, location: Any) -> Array:
        layers = setting.groups[group]

        loss = total_cross_entropy(setting, params, batch, zeros, layers)
        own = tuple(zeros[layer] for layer in layers)  # no derivative passes through what lies below

        def rows(tangent: tuple[Array, ...]) -> Array:
            _, products = jax.jvp(jax.grad(loss), (own,), (tangent,))
            return jnp.concatenate([by_location(product)[:, location] for product in products], -1).sum(0)

        return jax.vmap(rows)(one_hot_tangents(own, tuple(range(len(own))), location))

    terms = []
    for group, locations in enumerate(setting.locations):
        terms.append(sum_over(partial(hessian_at, group), jnp.asarray(locations)) / len(locations))
    return terms


def total_cross_entropy(
    setting: Setting, params: Params, batch: MeasureBatch, zeros: tuple[Array, ...], layers: tuple[int, ...]
) -> Callable[[tuple[Array, ...]], Array]:
    """Return the valid examples' total cross-entropy as a function of ``perturb`` in some layers, 0 elsewhere."""
    labels = batch.y
    assert labels is not None, "the public edge asks for labels"

    def total(perturb: tuple[Array, ...]) -> Array:
        whole = list(zeros)
        for layer, values in zip(layers, perturb, strict=True):
            whole[layer] = values
        log_probabilities = jax.nn.log_softmax(setting.network.apply(params, batch.x, tuple(whole)).logits)
        chosen = jnp.take_along_axis(log_probabilities, labels[:, None], -1)
        return -jnp.sum(chosen * batch.is_valid[:, None])

    return total


loss_hessian = from_group_terms(hessian_terms)
