"""All measures of one network or of a population: scan over batches, map over trials."""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from modjax.checks import check_finite, check_labels
from modjax.measures.base import Batch, Groups, Similarity
from modjax.measures.covariance import covariance
from modjax.measures.hessian import loss_hessian
from modjax.measures.jacobian import input_jacobian, output_jacobian
from modjax.names import MEASURES, one_of
from modjax.networks.base import Network
from modjax.pixels import to_unit_range
from modjax.types import Params

REGISTRY: dict[str, Similarity] = {
    "covariance": covariance,
    "input_jacobian": input_jacobian,
    "output_jacobian": output_jacobian,
    "loss_hessian": loss_hessian,
}
MEMORY_BUDGET = {"cpu": 2**25}  # bytes a batch may take: on a CPU, small batches that stay near its caches are faster
DEFAULT_BUDGET = 2**31
MAX_BATCH = 1000


def similarity(
    network: Network,
    params: Params,
    x: Any,
    y: Any = None,
    measures: Sequence[str] = MEASURES,
    combined: bool = False,
) -> dict[str, Any]:
    """Similarity matrices between the hidden units of a network, or of every network of a population.

    covariance:      S_ij = E[h_i h_j] - E[h_i] E[h_j]
    input_jacobian:  S_ij = E[<dh_i/dx, dh_j/dx>]
    output_jacobian: S_ij = E[sum_o dy_o/dh_i dy_o/dh_j]
    loss_hessian:    S_ij = E[d2 CE / dh_i dh_j]

    h are activations after the nonlinearity, dropout off; y logits; CE the cross-entropy of one example in nats; E the
    mean over the examples given. Everything is computed in the dtype of ``params``, by autodiff, for any network, in
    batches whose size is chosen from memory.

    Units of a convolution are its channels: S_ij is computed at each location, from the activations of i and j there,
    and averaged over locations.

    Args:
        network: The architecture.
        params: Its parameters; with a leading trials axis on every leaf, a population.
        x: Examples ``[examples ...]``; uint8 pixels are divided by 255.
        y: Labels ``[examples]``; needed by ``loss_hessian`` alone.
        measures: Which measures.
        combined: One matrix over the units of all hidden layers, cross blocks included, instead of one a layer. Layers
            must then have the same locations.

    Returns:
        ``{measure: (S_layer0, S_layer1, ...)}``, or ``{measure: S}`` if ``combined``; ``[units units]`` or
        ``[trials units units]``, signed, exactly symmetric.

    Raises:
        ValueError: Unknown measure, parameters or examples that do not fit the network, values that are not finite, no
            examples, labels missing or out of range, ``combined`` where layers have different locations.

    Example:
        >>> import modjax as mj
        >>> network = mj.mlp(2, (3,), 2)
        >>> S = similarity(network, network.init(0), np.eye(2), np.array([0, 1]))
        >>> sorted(S), S["covariance"][0].shape
        (['covariance', 'input_jacobian', 'loss_hessian', 'output_jacobian'], (3, 3))

    References:
        Lange, Rolnick & Kording, TMLR 2022, section 2.1.
    """
    measures = (measures,) if isinstance(measures, str) else measures
    names = tuple(one_of(name, MEASURES, "similarity") for name in measures)
    params = jax.tree.map(jnp.asarray, params)
    is_population = _check_params(network, params)
    x, y = _check_examples(network, params, x, y, names)
    check_combined(layer_shapes(network, jax.eval_shape(network.init, jax.random.key(0)), x), combined)
    population = params if is_population else jax.tree.map(lambda leaf: leaf[None], params)
    results = compute_similarity(network, population, x, y, names, (combined,))[0]
    return results if is_population else jax.tree.map(lambda matrix: matrix[0], results)


@partial(jax.jit, static_argnames=("network", "measures", "layouts"))
def compute_similarity(
    network: Network,
    params: Params,
    x: Array,
    y: Array | None,
    measures: tuple[str, ...],
    layouts: tuple[bool, ...] = (False,),
) -> tuple[dict[str, Any], ...]:
    """The kernel behind :func:`similarity`, unchecked, for a population.

    Trials run one after the other and examples in batches, so that memory stays bounded and a trial's matrices do not
    depend on how many run together.

    Args:
        network: Static.
        params: With a leading trials axis.
        x: Examples, pixels or floats.
        y: Integer labels or None.
        measures: Static names.
        layouts: One result is returned for each: False a matrix a layer, True one combined matrix. Layers are the
            diagonal blocks of the combined matrix, so both together cost as much as the combined one.
    """
    dtype = jax.tree.leaves(params)[0].dtype
    is_combined = any(layouts)

    def one_network(trial: Params) -> dict[str, tuple[Array, ...]]:
        shapes = layer_shapes(network, trial, x)
        groups: Groups = (
            (tuple(range(len(shapes))),) if is_combined else tuple((layer,) for layer in range(len(shapes)))
        )
        group_shapes = tuple(
            (math.prod(shapes[group[0]][:-1]), sum(shapes[layer][-1] for layer in group)) for group in groups
        )
        states = {name: REGISTRY[name].init(group_shapes, dtype) for name in measures}

        def add(states: dict[str, Any], batch: Batch) -> dict[str, Any]:
            batch = Batch(to_unit_range(batch.x, dtype), batch.y)
            return {name: REGISTRY[name].update(network, groups, trial, states[name], batch) for name in measures}

        size = choose_batch(shapes, x, dtype)
        states = _scan_batches(add, states, Batch(x, y), size)
        return {name: REGISTRY[name].finalize(states[name]) for name in measures}

    with jax.default_matmul_precision("highest"):
        matrices = jax.lax.map(one_network, params)
        shapes = layer_shapes(network, jax.tree.map(lambda leaf: leaf[0], params), x)
        widths = tuple(shape[-1] for shape in shapes)
    return tuple(_lay_out(matrices, widths, is_combined, layout) for layout in layouts)


def _scan_batches(add: Any, states: Any, examples: Batch, size: int) -> Any:
    """Fold ``add`` over whole batches, then over the rest."""
    num_examples = examples.x.shape[0]
    steps = num_examples // size
    whole = jax.tree.map(lambda array: array[: steps * size].reshape(steps, size, *array.shape[1:]), examples)
    states, _ = jax.lax.scan(lambda states, batch: (add(states, batch), None), states, whole)
    if steps * size < num_examples:
        states = add(states, jax.tree.map(lambda array: array[steps * size :], examples))
    return states


def _lay_out(matrices: dict[str, Any], widths: tuple[int, ...], is_combined: bool, layout: bool) -> dict[str, Any]:
    if layout:
        return {name: value[0] for name, value in matrices.items()}
    if not is_combined:
        return matrices
    edges = np.concatenate([[0], np.cumsum(widths)])
    blocks = [slice(start, stop) for start, stop in itertools.pairwise(edges)]
    return {name: tuple(value[0][:, block, block] for block in blocks) for name, value in matrices.items()}


def layer_shapes(network: Network, params: Params, x: Any) -> tuple[tuple[int, ...], ...]:
    """``(locations..., units)`` of each hidden layer."""
    one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    hidden = jax.eval_shape(lambda params, x: network.apply(params, to_unit_range(x)).hidden, params, one)
    return tuple(layer.shape[1:] for layer in hidden)


def check_combined(shapes: Sequence[tuple[int, ...]], combined: bool) -> None:
    """Raise if one matrix is asked for over layers ``(locations..., units)`` whose locations differ."""
    locations = [list(shape[:-1]) for shape in shapes]
    if combined and any(other != locations[0] for other in locations):
        raise ValueError(
            f"combined needs layers with the same locations, to pair units place by place; got {locations}. "
            "Use combined = false: a matrix a layer."
        )


def choose_batch(shapes: Sequence[tuple[int, ...]], x: Array | jax.ShapeDtypeStruct, dtype: DTypeLike) -> int:
    """Examples a batch, so that the largest intermediate, a Jacobian or tangents of every layer, fits the budget.

    A batch of B takes about ``3 B U max(D, A) * itemsize`` bytes with U units and A activations, U at every location,
    in all, and D inputs: no more than U passes are made at once.
    """
    num_units, num_activations = sum(shape[-1] for shape in shapes), sum(math.prod(shape) for shape in shapes)
    num_inputs = math.prod(x.shape[1:])
    budget = MEMORY_BUDGET.get(jax.default_backend(), DEFAULT_BUDGET)
    per_example = 3 * num_units * max(num_inputs, num_activations) * jnp.dtype(dtype).itemsize
    return max(1, min(MAX_BATCH, x.shape[0], budget // per_example))


def _check_params(network: Network, params: Params) -> bool:
    """Whether params are a population; raise unless they fit the network."""
    expected = jax.eval_shape(network.init, jax.random.key(0))
    if jax.tree.structure(expected) != jax.tree.structure(params):
        raise ValueError(
            f"params do not fit the network: expected a tree {jax.tree.structure(expected)}; "
            f"got {jax.tree.structure(params)}."
        )
    pairs = list(zip(jax.tree.leaves(expected), jax.tree.leaves(params), strict=True))
    extra = {leaf.ndim - wanted.ndim for wanted, leaf in pairs}
    is_population = extra == {1}
    fits = all(leaf.shape[-wanted.ndim :] == wanted.shape for wanted, leaf in pairs if wanted.ndim)
    trials = {leaf.shape[0] for _, leaf in pairs} if is_population else {1}
    if extra not in ({0}, {1}) or not fits or len(trials) != 1 or 0 in trials:
        raise ValueError(
            f"params do not fit the network: expected shapes {[wanted.shape for wanted, _ in pairs]}, with or without "
            f"one leading trials axis on all; got {[leaf.shape for _, leaf in pairs]}."
        )
    return is_population


def _check_examples(
    network: Network, params: Params, x: Any, y: Any, measures: tuple[str, ...]
) -> tuple[Array, Array | None]:
    shape = np.shape(x)
    if len(shape) < 2 or shape[0] == 0:
        raise ValueError(f"x must be examples of shape [examples features...], at least one; got shape {shape}.")
    if network.in_features is not None and math.prod(shape[1:]) != network.in_features:
        raise ValueError(f"x must have {network.in_features} values per example; got {math.prod(shape[1:])}.")
    check_finite("x", x)
    if y is None:
        if "loss_hessian" in measures:
            raise ValueError("loss_hessian needs labels: pass y, or leave loss_hessian out of measures.")
    else:
        one = jax.eval_shape(network.init, jax.random.key(0))
        num_classes = jax.eval_shape(lambda params, x: network.apply(params, x).logits, one, jnp.zeros((1, *shape[1:])))
        check_labels("y", y, shape[0], num_classes.shape[-1])
    x = jnp.asarray(x)
    x = x if x.dtype == jnp.uint8 else x.astype(jax.tree.leaves(params)[0].dtype)
    return x, None if y is None else jnp.asarray(y, jnp.int32)
