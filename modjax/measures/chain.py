"""Measures of dense chains by closed forms: which there are, and their way from the first batch to the matrices.

The formulas are in :mod:`modjax.measures.chain_terms`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from modjax.measures import covariance as moments
from modjax.measures.base import MeasureBatch, Setting, Sums, add_sums, means_of, sums_of
from modjax.measures.chain_terms import (
    first_factor,
    hessian_matrices,
    hessian_sums,
    input_matrices,
    input_sums,
    output_matrices,
    output_sums,
    run_forward,
)
from modjax.names import PIECEWISE_LINEAR
from modjax.networks.base import Network

SUMS = {"input_jacobian": input_sums, "output_jacobian": output_sums, "loss_hessian": hessian_sums}
MATRICES = {"input_jacobian": input_matrices, "output_jacobian": output_matrices, "loss_hessian": hessian_matrices}


def has_closed_form(network: Network, measure: str) -> bool:
    """Whether this module computes a measure of a network: three of any dense chain, the Hessian where f'' = 0."""
    chain = network.chain
    return chain is not None and (measure != "loss_hessian" or chain.activation in PIECEWISE_LINEAR)


def prepare(setting: Setting, measures: tuple[str, ...], params: Any) -> Array | None:
    """The first layer's factor, where a deeper one's input Jacobian is asked for."""
    if "input_jacobian" not in measures or len(setting.shapes) == 1:
        return None
    return first_factor(_layers(setting, params)[0][0])


def init(setting: Setting, measure: str, params: Any, dtype: DTypeLike) -> Any:
    """The state of a measure before its first batch."""
    if measure == "covariance":
        return moments.init(setting, dtype)

    def one_batch(params: Any) -> list[Array]:
        layers = _layers(setting, params)
        x = jnp.zeros((setting.block, layers[0][0].shape[0]), dtype)
        batch = MeasureBatch(x, None, jnp.ones(setting.block, dtype))
        trace = run_forward(layers, _activation(setting), batch)
        return SUMS[measure](setting, layers, trace, prepare(setting, (measure,), params))

    return sums_of(jax.eval_shape(one_batch, params), dtype)


def update(
    setting: Setting,
    measures: tuple[str, ...],
    params: Any,
    factor: Array | None,
    states: dict[str, Any],
    batch: MeasureBatch,
) -> dict[str, Any]:
    """Add a batch, whose size is a multiple of ``setting.block``, to the states of some measures."""
    layers = _layers(setting, params)
    trace = run_forward(layers, _activation(setting), batch)
    after = {}
    for measure in measures:
        if measure == "covariance":
            units = [jnp.concatenate([trace.hidden[layer] for layer in group], -1) for group in setting.groups]
            after[measure] = moments.merge(states[measure], batch, [one[:, None, :] for one in units])
        else:
            after[measure] = add_sums(states[measure], batch, SUMS[measure](setting, layers, trace, factor))
    return after


def finalize(setting: Setting, measure: str, params: Any, state: Any) -> tuple[Array, ...]:
    """A matrix a group; the upper triangles count."""
    if measure == "covariance":
        return moments.finalize(setting, params, state)
    assert isinstance(state, Sums)
    found = MATRICES[measure](setting, _layers(setting, params), means_of(state))
    if not setting.is_combined:
        return tuple(found.values())
    layers = range(len(setting.shapes))
    rows = [[found[k, m] if k <= m else found[m, k].T for m in layers] for k in layers]
    return (jnp.concatenate([jnp.concatenate(row, 1) for row in rows], 0),)


def _layers(setting: Setting, params: Any) -> list:
    assert setting.network.chain is not None
    return list(setting.network.chain.layers(params))


def _activation(setting: Setting) -> str:
    assert setting.network.chain is not None
    return setting.network.chain.activation
