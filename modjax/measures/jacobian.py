"""Gram matrices of Jacobians by autodiff: of units in the inputs (upstream), of logits in the units (downstream)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from modjax.measures.base import (
    MeasureBatch,
    Setting,
    from_group_terms,
    gram,
    one_hot_tangents,
    sum_over,
    units_of,
    zero_perturb,
)
from modjax.measures.stem import split_stem, stem_factor
from modjax.types import Params


def prepare_input(setting: Setting, params: Params) -> list[Array | None]:
    """Return the factor of the stem's matrix for each group, None where there is no stem."""
    dtype = jax.tree.leaves(params)[0].dtype
    x = jnp.zeros((1, *setting.in_shape), dtype)
    return [stem_factor(partial(_units, setting, group, params), x) for group in range(len(setting.groups))]


def input_terms(setting: Setting, params: Params, prepared: list[Array | None], batch: MeasureBatch) -> list[Array]:
    """Return ``sum_b <dh_i/dx, dh_j/dx>``, averaged over locations.

    Reverse mode takes one pass per unit and location, forward mode one pass per input: whichever needs fewer passes is
    used, and no more passes are made at once than there are units. Where the inputs enter through one matrix product,
    derivatives are taken in its outputs and multiplied by a factor of its matrix (:mod:`modjax.measures.stem`): nothing
    is then as wide as the inputs.

    FLOPs per example, U units at L locations, D inputs, S outputs of the stem (D without one), R = min(S, D): U L
    backward passes down to the stem (or R forward passes), 2 U L S R for the factor, and the Gram, 2 L R U^2.
    """
    return [_input_gram(setting, group, params, factor, batch) for group, factor in enumerate(prepared)]


def _input_gram(
    setting: Setting, group: int, params: Params, factor: Array | None, batch: MeasureBatch
) -> Float[Array, "units units"]:
    """Return the Gram of one group, by the mode that needs fewer passes."""

    def units(x: Array) -> Array:
        return _units(setting, group, params, x) * batch.is_valid[:, None, None]

    stem = None if factor is None else split_stem(units, batch.x)
    function, x = (units, batch.x) if stem is None else (stem.rest, stem.first(batch.x))
    num_inputs = math.prod(x.shape[1:])
    # The columns of the stem's factor stand in for the inputs: their derivatives have the same Gram.
    directions = jnp.eye(num_inputs, dtype=x.dtype) if factor is None else factor.T
    num_locations, num_units = len(setting.locations[group]), setting.width(group)
    if len(directions) < num_locations * num_units:
        return _by_forward_mode(function, x, directions, num_units)
    _, pull_back = jax.vjp(function, x)

    def gram_at(location: Any) -> Array:
        like = jnp.zeros((x.shape[0], num_locations, num_units), x.dtype)
        (cotangents,) = one_hot_tangents((like,), (0,), location)
        jacobian = jax.vmap(lambda cotangent: pull_back(cotangent)[0])(cotangents).reshape(num_units, -1, num_inputs)
        # From derivatives in the stem's outputs to something with the Gram of those in the inputs.
        jacobian = jacobian if factor is None else jacobian @ factor
        flat = jacobian.reshape(num_units, -1)
        return flat @ flat.T

    return sum_over(gram_at, jnp.arange(num_locations)) / num_locations


def _units(setting: Setting, group: int, params: Params, x: Array) -> Array:
    return units_of(setting, setting.network.apply(params, x).hidden, group)


def _by_forward_mode(
    function: Callable[..., Any], x: Array, directions: Float[Array, "rank inputs"], num_units: int
) -> Array:
    """Return the Gram of derivatives in every direction, no more of them at once than there are units."""
    at_once = min(len(directions), num_units)
    num_steps = -(-len(directions) // at_once)
    # Rows of zeros beyond the last direction add nothing.
    padded = jnp.pad(directions, ((0, num_steps * at_once - len(directions)), (0, 0)))

    def gram_of(some: Float[Array, "directions inputs"]) -> Array:
        tangents = jnp.broadcast_to(some.reshape(at_once, 1, *x.shape[1:]), (at_once, *x.shape))
        return gram(jax.vmap(lambda tangent: jax.jvp(function, (x,), (tangent,))[1])(tangents))

    return sum_over(gram_of, padded.reshape(num_steps, at_once, -1))


def output_terms(setting: Setting, params: Params, prepared: PyTree, batch: MeasureBatch) -> list[Array]:
    """Return ``sum_b sum_o dy_o/dh_i dy_o/dh_j``, averaged over locations, by one reverse pass per logit.

    Derivatives are taken in ``perturb``. FLOPs per example: O backward passes from the logits to the first hidden
    layer, and the Gram, 2 O L U^2.
    """
    del prepared
    _, jacobians = output_jacobians(setting, params, batch)
    return [gram(units_of(setting, jacobians, group, axes_before=2)) for group in range(len(setting.groups))]


def output_jacobians(
    setting: Setting, params: Params, batch: MeasureBatch
) -> tuple[Float[Array, "batch outputs"], tuple[Array, ...]]:
    """Return the logits, and dy/dh of every hidden layer, ``[outputs batch locations... units]``; 0 for padding."""
    perturb = zero_perturb(setting.network, params, batch.x)
    logits, pull_back = jax.vjp(lambda perturb: setting.network.apply(params, batch.x, perturb).logits, perturb)
    num_outputs = logits.shape[-1]
    # No example's logits depend on another example: one pass per logit serves the whole batch.
    one_hot = jnp.eye(num_outputs, dtype=logits.dtype)[:, None, :] * batch.is_valid[None, :, None]
    return logits, jax.vmap(lambda cotangent: pull_back(cotangent)[0])(one_hot)


input_jacobian = from_group_terms(input_terms, prepare_input)
output_jacobian = from_group_terms(output_terms)
