"""Measures given as a plain function ``(network, params, x, y) -> tuple of [units units]``, one matrix per layer.

The function returns means over the examples that it is given, so that batches, which are never padded, are weighted by
their sizes; a measure that is no such mean (``batched=False``) gets all examples at once.
"""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from modjax._util.pixels import to_unit_range
from modjax.measures.base import Similarity, symmetric
from modjax.measures.plan import layer_shapes
from modjax.networks.base import Network, bound
from modjax.records import MeasureInfo, resolve
from modjax.types import Params

BATCH = 1000
MOST_ASYMMETRY = 1e-5
TOLERANCE = 1e-3  # relative to the largest entry, of float32 means of two and of four examples
_CHECKED: set[tuple[Network, MeasureInfo]] = set()


def is_function(info: MeasureInfo) -> bool:
    """Whether a measure's kernel is a plain function, not a :class:`modjax.measures.base.Similarity`."""
    kernel = resolve(info.kernel)
    return callable(kernel) and not isinstance(kernel, Similarity)


@partial(jax.jit, static_argnames=("network", "info"))
def call_kernel(network: Network, info: MeasureInfo, population: Params, x: Any, y: Any) -> tuple:
    """Return the matrices of each trial of a population, ``[trials units units]`` per layer."""
    dtype = jax.tree.leaves(population)[0].dtype
    x = to_unit_range(x, dtype)
    with jax.default_matmul_precision("highest"):
        # In sequence: a trial's matrices do not depend on how many are measured together.
        return jax.lax.map(lambda params: tuple(resolve(info.kernel)(network, params, x, y)), population)


@lru_cache(maxsize=256)
def check_kernel(network: Network, info: MeasureInfo, in_shape: tuple[int, ...], has_labels: bool) -> None:
    """Raise unless a kernel returns a matrix for each hidden layer; nothing is computed.

    Raises:
        ValueError: If it raises or returns something else; the message names the measure.
    """
    dtype, network = jax.dtypes.canonicalize_dtype(float), bound(network)
    params = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((4, *in_shape), dtype)
    y = jax.ShapeDtypeStruct((4,), jnp.int32) if has_labels else None
    expected = [(shape[-1], shape[-1]) for shape in layer_shapes(network, in_shape)[0]]
    try:
        matrices = jax.eval_shape(partial(resolve(info.kernel), network), params, x, y)
        came = [tuple(matrix.shape) for matrix in matrices]
    except Exception as error:  # of the user's own code
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"measure {info.name!r} cannot be computed: {type(error).__name__}: {reason}") from error
    if came != expected:
        raise ValueError(
            f"measure {info.name!r} must return one matrix per hidden layer, of shapes {expected}; got {came}."
        )


def measure_function(network: Network, population: Params, x: Any, y: Any, info: MeasureInfo) -> tuple[np.ndarray, ...]:
    """Return the matrices of a population, on the host: ``[trials units units]`` per layer.

    Args:
        network: The architecture.
        population: Parameters with a leading trials axis.
        x: Examples, pixels or floats.
        y: Labels, or None.
        info: The measure.

    Raises:
        ValueError: If the matrices are asymmetric by more than 1e-5, or not means over examples though ``batched``.
    """
    check_kernel(network, info, tuple(x.shape[1:]), y is not None)
    if info.batched:
        _check_is_mean(network, population, x, y, info)
    size = min(BATCH, len(x)) if info.batched else len(x)
    total: list[np.ndarray] | None = None
    for start in range(0, len(x), size):
        some_x, some_y = x[start : start + size], None if y is None else y[start : start + size]
        matrices = jax.device_get(call_kernel(network, info, population, some_x, some_y))
        weighted = [np.asarray(matrix) * (len(some_x) / len(x)) for matrix in matrices]
        total = weighted if total is None else [sum_ + term for sum_, term in zip(total, weighted, strict=True)]
    assert total is not None
    for layer, matrix in enumerate(total):
        scale = np.nanmax(np.abs(matrix), initial=0.0)
        gap = np.nanmax(np.abs(matrix - np.swapaxes(matrix, -1, -2)), initial=0.0)
        if gap > MOST_ASYMMETRY * scale:
            raise ValueError(
                f"measure {info.name!r}: the matrix of layer {layer} must be symmetric; its asymmetry is {gap:.3g}, "
                f"its largest entry {scale:.3g}."
            )
    return tuple(symmetric(matrix) for matrix in total)


def _check_is_mean(network: Network, population: Params, x: Any, y: Any, info: MeasureInfo) -> None:
    """Raise unless f of four examples equals the mean of two f of two; checked once for a network and measure."""
    if (network, info) in _CHECKED or len(x) < 4:
        return
    first = jax.tree.map(lambda leaf: leaf[:1], population)

    def of(examples: slice) -> tuple:
        return jax.device_get(call_kernel(network, info, first, x[examples], None if y is None else y[examples]))

    whole, halves = of(slice(4)), (of(slice(2)), of(slice(2, 4)))
    for matrix, a, b in zip(whole, *halves, strict=True):
        mean = (np.asarray(a) + np.asarray(b)) / 2
        if np.nanmax(np.abs(matrix - mean), initial=0.0) > TOLERANCE * np.nanmax(np.abs(matrix), initial=0.0):
            raise ValueError(
                f"measure {info.name!r} is no mean over its examples: of four it is not the mean of two and two; "
                "give its record batched=False."
            )
    _CHECKED.add((network, info))
