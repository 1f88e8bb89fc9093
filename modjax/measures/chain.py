"""Measures of dense chains by closed forms: the registry of forms, and the steps from first batch to matrices.

The formulas are in :mod:`modjax.measures.chain_terms`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

from modjax.measures import covariance as moments
from modjax.measures.base import MeasureBatch, Setting, Sums, add_sums, means_of, sums_of
from modjax.measures.chain_terms import (
    Trace,
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
from modjax.networks.base import DenseChain, Network
from modjax.records import MeasureInfo, resolve
from modjax.types import Params


class ClosedForm(NamedTuple):
    """How a measure of a dense chain is computed without autodiff; a measure's record names its closed form.

    Attributes:
        applies: ``applies(chain) -> bool``, whether the formulas hold for the chain's activation.
        init: ``init(setting, params, dtype) -> state``.
        update: ``update(setting, layers, trace, factor, state, batch) -> state``, which adds a batch.
        finalize: ``finalize(setting, params, state) -> tuple`` of matrices, one per group; only the upper triangles are
            used.
        needs_factor: Whether deeper layers need the first layer's factor.
    """

    applies: Callable[[DenseChain], bool]
    init: Callable[..., Any]
    update: Callable[..., Any]
    finalize: Callable[..., tuple[Array, ...]]
    needs_factor: bool = False


def from_sums(
    sums: Callable[..., list[Array]],
    matrices: Callable[..., dict[tuple[int, int], Array]],
    applies: Callable[[DenseChain], bool] = lambda chain: True,
    needs_factor: bool = False,
) -> ClosedForm:
    """Return a closed form that is made of sums over examples.

    Args:
        sums: ``sums(setting, layers, trace, factor)``, which returns a batch's sums.
        matrices: ``matrices(setting, layers, means)``, which returns a block for each pair of layers (k, m), k <= m.
        applies: The function of that name in :class:`ClosedForm`.
        needs_factor: The flag of that name in :class:`ClosedForm`.
    """

    def init(setting: Setting, params: Params, dtype: DTypeLike) -> Sums:
        # Traced on one block, only for the shapes of the sums.
        def single_block(params: Params) -> list[Array]:
            layers = _layers(setting, params)
            x = jnp.zeros((setting.block, layers[0][0].shape[0]), dtype)
            batch = MeasureBatch(x, None, jnp.ones(setting.block, dtype))
            trace = run_forward(layers, _activation(setting), batch)
            factor = first_factor(layers[0][0]) if needs_factor and len(setting.shapes) > 1 else None
            return sums(setting, layers, trace, factor)

        return sums_of(jax.eval_shape(single_block, params), dtype)

    def update(setting: Setting, layers: list, trace: Trace, factor: Any, state: Sums, batch: MeasureBatch) -> Sums:
        return add_sums(state, batch, sums(setting, layers, trace, factor))

    def finalize(setting: Setting, params: Params, state: Sums) -> tuple[Array, ...]:
        blocks = matrices(setting, _layers(setting, params), means_of(state))
        if not setting.is_combined:
            return tuple(blocks.values())
        # Only k <= m is computed; the blocks below the diagonal are transposes.
        layers = range(len(setting.shapes))
        rows = [[blocks[k, m] if k <= m else blocks[m, k].T for m in layers] for k in layers]
        return (jnp.concatenate([jnp.concatenate(row, 1) for row in rows], 0),)

    return ClosedForm(applies, init, update, finalize, needs_factor)


def _add_moments(
    setting: Setting, layers: list, trace: Trace, factor: Any, state: PyTree, batch: MeasureBatch
) -> moments.Moments:
    del layers, factor
    units = [jnp.concatenate([trace.hidden[layer] for layer in group], -1) for group in setting.groups]
    # A dense layer has one location.
    return moments.merge(state, batch, [values[:, None, :] for values in units])


COVARIANCE = ClosedForm(
    lambda chain: True, lambda setting, params, dtype: moments.init(setting, dtype), _add_moments, moments.finalize
)
INPUT_JACOBIAN = from_sums(input_sums, input_matrices, needs_factor=True)
OUTPUT_JACOBIAN = from_sums(output_sums, output_matrices)
# With f'' = 0 the Hessian needs first derivatives alone.
LOSS_HESSIAN = from_sums(hessian_sums, hessian_matrices, lambda chain: chain.activation in PIECEWISE_LINEAR)


def closed_form_of(info: MeasureInfo) -> ClosedForm:
    """Return the closed form that a measure's record names."""
    assert info.closed_form is not None
    return resolve(info.closed_form)


def has_closed_form(network: Network, info: MeasureInfo) -> bool:
    """Return whether a measure names a closed form that holds for the network."""
    chain = network.chain
    return chain is not None and info.closed_form is not None and closed_form_of(info).applies(chain)


def prepare(setting: Setting, measures: tuple[MeasureInfo, ...], params: Params) -> Array | None:
    """Return the first layer's factor, or None where no measure of a deeper layer needs it."""
    if len(setting.shapes) == 1 or not any(closed_form_of(info).needs_factor for info in measures):
        return None
    return first_factor(_layers(setting, params)[0][0])


def init(setting: Setting, info: MeasureInfo, params: Params, dtype: DTypeLike) -> Any:
    """Return the state of a measure before its first batch."""
    return closed_form_of(info).init(setting, params, dtype)


def update(
    setting: Setting,
    measures: tuple[MeasureInfo, ...],
    params: Params,
    factor: Array | None,
    states: dict[str, Any],
    batch: MeasureBatch,
) -> dict[str, Any]:
    """Add a batch, whose size is a multiple of ``setting.block``, to the states of some measures."""
    # One forward pass serves all measures.
    layers = _layers(setting, params)
    trace = run_forward(layers, _activation(setting), batch)
    return {
        info.name: closed_form_of(info).update(setting, layers, trace, factor, states[info.name], batch)
        for info in measures
    }


def finalize(setting: Setting, info: MeasureInfo, params: Params, state: PyTree) -> tuple[Array, ...]:
    """Return one matrix per group, of which only the upper triangles are used."""
    return closed_form_of(info).finalize(setting, params, state)


def _layers(setting: Setting, params: Params) -> list:
    assert setting.network.chain is not None
    return list(setting.network.chain.layers(params))


def _activation(setting: Setting) -> str:
    assert setting.network.chain is not None
    return setting.network.chain.activation
