"""The measures by their definition: ``jax.jacrev`` and ``jax.hessian`` of every example, one matrix per layer.

This is the straightforward implementation, regardless of cost: every example's derivatives are held in memory before
they are multiplied, so that only few examples fit at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from modjax._util.pixels import to_unit_range
from modjax.measures.plan import layer_shapes
from modjax.names import MEASURES
from modjax.networks.base import Network
from modjax.types import Params

MEMORY = 2**28  # bytes of derivatives at a time


def naive_similarity(
    network: Network, params: Params, x: Any, y: Any, measures: Sequence[str] = MEASURES
) -> dict[str, tuple[np.ndarray, ...]]:
    """Compute ``modjax.similarity`` for one network of dense layers, with the covariance of ``jax.numpy.cov``."""
    dtype = jax.tree.leaves(params)[0].dtype
    widths = [shape[-1] for shape in layer_shapes(network, x.shape[1:])[0]]
    at_once = examples_at_once(widths, int(np.prod(x.shape[1:])), np.dtype(dtype).itemsize)
    x = x.reshape(len(x), -1)
    wanted = tuple(name for name in measures if name != "covariance")
    totals: dict[str, Any] = {}
    hidden = []
    # A loop in Python, so that a batch's derivatives are released before those of the next are computed.
    for start in range(0, len(x), at_once):
        batch = slice(start, start + at_once)
        sums = _sums(network, wanted, params, to_unit_range(jnp.asarray(x[batch]), dtype), jnp.asarray(y[batch]))
        hidden.append(sums.pop("hidden"))
        totals = jax.tree.map(jnp.add, totals, sums) if totals else sums
    results = {name: tuple(np.asarray(total) / len(x) for total in totals[name]) for name in wanted}
    if "covariance" in measures:
        layers = [jnp.concatenate(parts) for parts in zip(*hidden, strict=True)]
        with jax.default_matmul_precision("highest"):
            results["covariance"] = tuple(
                np.asarray(jnp.cov(layer.T, bias=True)).reshape(n, n) for layer, n in zip(layers, widths, strict=True)
            )
    return {name: results[name] for name in measures}


def examples_at_once(widths: Sequence[int], num_inputs: int, itemsize: int) -> int:
    """Return how many examples' derivatives of all units, by all inputs and by each other, fit in memory."""
    num_units = sum(widths)
    return max(1, MEMORY // (num_units * max(num_inputs, num_units) * itemsize))


@partial(jax.jit, static_argnames=("network", "measures"))
def _sums(network: Network, measures: tuple[str, ...], params: Params, x: Array, y: Array) -> dict[str, Any]:
    """Return the sums over the examples of a batch, and the examples' activations."""
    with jax.default_matmul_precision("highest"):
        sums = {name: _of_examples(EXAMPLE_TERMS[name], network, params, x, y) for name in measures}
        return {**sums, "hidden": network.apply(params, x).hidden}


def _of_examples(terms: Callable[..., Any], network: Network, params: Params, x: Array, y: Array) -> Any:
    of_each = jax.vmap(partial(terms, network, params))(x, y)
    return jax.tree.map(lambda matrices: matrices.sum(0), of_each)


def _input_jacobian(network: Network, params: Params, x: Array, y: Array) -> tuple[Array, ...]:
    del y
    jacobians = jax.jacrev(lambda x: tuple(layer[0] for layer in network.apply(params, x[None]).hidden))(x)
    return tuple(J @ J.T for J in jacobians)


def _output_jacobian(network: Network, params: Params, x: Array, y: Array) -> tuple[Array, ...]:
    del y
    jacobians = jax.jacrev(lambda perturb: _logits(network, params, x, perturb))(_zeros(network, params, x))
    return tuple(J.T @ J for J in jacobians)


def _loss_hessian(network: Network, params: Params, x: Array, y: Array) -> tuple[Array, ...]:
    zeros = _zeros(network, params, x)

    def cross_entropy(layer: int, value: Array) -> Array:
        perturb = (*zeros[:layer], value, *zeros[layer + 1 :])
        return -jax.nn.log_softmax(_logits(network, params, x, perturb))[y]

    return tuple(jax.hessian(partial(cross_entropy, layer))(zero) for layer, zero in enumerate(zeros))


def _logits(network: Network, params: Params, x: Array, perturb: tuple[Array, ...]) -> Array:
    return network.apply(params, x[None], tuple(layer[None] for layer in perturb)).logits[0]


def _zeros(network: Network, params: Params, x: Array) -> tuple[Array, ...]:
    return tuple(jnp.zeros_like(layer[0]) for layer in network.apply(params, x[None]).hidden)


EXAMPLE_TERMS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "input_jacobian": _input_jacobian,
    "output_jacobian": _output_jacobian,
    "loss_hessian": _loss_hessian,
}
