"""A measure is three pure functions over batches of ONE network: ``Similarity(init, update, finalize)``.

Everything is a sum over examples, so that any split into batches gives the same matrix. Layers are handled in groups:
``((0,), (1,))`` gives one matrix per layer, ``((0, 1),)`` one matrix over the units of both, cross blocks included.

A layer may compute its units at many locations (a convolution's channels). Its S_ij is then computed at each location,
between the activations of i and j there, and averaged over locations; a dense layer has one location. Layers of one
group have the same locations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from modjax.networks.base import Network
from modjax.types import Params, PRNGKey

Groups = tuple[tuple[int, ...], ...]


class MeasureBatch(NamedTuple):
    """Examples to be analysed.

    Attributes:
        x: Inputs ``[batch ...]``, in the dtype of the parameters.
        y: Integer labels ``[batch]``, or None.
        is_valid: Mask ``[batch]``, 1 for an example and 0 for padding, in the dtype of the parameters.
        keys: A key for each example, ``[batch]``, from which its probes are drawn; None where there are none.
    """

    x: Array
    y: Array | None
    is_valid: Array
    keys: PRNGKey | None = None


class Setting(NamedTuple):
    """What is measured. It is static: each setting has its own compiled program.

    Attributes:
        network: The architecture.
        shapes: Shape ``(locations..., units)`` of each hidden layer.
        groups: Indices of the layers of each matrix.
        locations: For each group, the locations that are used, counted from 0 in row-major order.
        block: Number of examples that a closed form handles at a time, so that its intermediates fit a cache.
        columns: Number of columns of its Jacobians that a closed form handles at a time, for the same reason.
        batch: Number of examples that autodiff handles at a time, for the same reason.
        in_shape: Shape of one example.
        num_probes: Number of probes of each example, for measures that are estimated; 0 where all are exact.
        with_errors: Whether estimated matrices are followed by their standard errors.
    """

    network: Network
    shapes: tuple[tuple[int, ...], ...]
    groups: Groups
    locations: tuple[tuple[int, ...], ...]
    block: int = 1
    columns: int = 1
    batch: int = 1
    in_shape: tuple[int, ...] = ()
    num_probes: int = 0
    with_errors: bool = False

    @property
    def is_combined(self) -> bool:
        """Whether there is one matrix over all hidden layers."""
        return len(self.groups) == 1 and len(self.groups[0]) == len(self.shapes)

    def width(self, group: int) -> int:
        """Return the number of units of a group."""
        return sum(self.shapes[layer][-1] for layer in self.groups[group])


class Similarity(NamedTuple):
    """A measure, as pure functions.

    Attributes:
        init: ``init(setting, dtype) -> state``.
        update: ``update(setting, params, prepared, state, batch) -> state``, which adds a batch.
        finalize: ``finalize(setting, params, state) -> tuple`` of matrices ``[units units]``, one per group; only the
            upper triangles are used.
        prepare: ``prepare(setting, params) -> tree`` of values that every batch needs and that depend on the parameters
            alone.
    """

    init: Callable[..., Any]
    update: Callable[..., Any]
    finalize: Callable[..., tuple[Array, ...]]
    prepare: Callable[..., Any] = lambda setting, params: ()


class Sums(NamedTuple):
    """Compensated sums over examples: the rounding error of each sum so far is carried into the next term.

    Attributes:
        num_examples: Number of valid examples.
        terms: Tree of sums.
        lost: Tree of their accumulated rounding errors.

    References:
        Kahan, "Further remarks on reducing truncation errors", Communications of the ACM 8, 1965.
    """

    num_examples: Float[Array, ""]
    terms: Any
    lost: Any


def sums_of(shapes: PyTree, dtype: DTypeLike) -> Sums:
    """Return sums of nothing; ``shapes`` is a tree of anything that has a ``shape``."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), shapes)
    return Sums(jnp.zeros((), dtype), zeros, zeros)


def add_sums(state: Sums, batch: MeasureBatch, terms: PyTree) -> Sums:
    """Add a batch's sums over its valid examples; the error of the total does not grow with the number of batches."""
    # Kahan: (after - before) is what really entered the total; its excess over the term is taken off the next one.
    new = jax.tree.map(lambda term, lost: term - lost, terms, state.lost)
    total = jax.tree.map(jnp.add, state.terms, new)
    lost = jax.tree.map(lambda after, before, term: (after - before) - term, total, state.terms, new)
    return Sums(state.num_examples + batch.is_valid.sum(), total, lost)


def means_of(state: Sums) -> Any:
    """Return the means over examples, ``sum / count``."""
    return jax.tree.map(lambda total: total / state.num_examples, state.terms)


def from_group_terms(
    terms: Callable[[Setting, Any, Any, MeasureBatch], list[Array]], prepare: Callable[..., Any] | None = None
) -> Similarity:
    """Return a measure that is a mean over examples, one matrix ``[units units]`` per group.

    Args:
        terms: ``terms(setting, params, prepared, batch)``, which returns for each group the sum over valid examples of
            the mean over locations.
        prepare: The function of that name in :class:`Similarity`.
    """

    def init(setting: Setting, dtype: DTypeLike) -> Sums:
        widths = [setting.width(group) for group in range(len(setting.groups))]
        return sums_of([jax.ShapeDtypeStruct((width, width), dtype) for width in widths], dtype)

    def update(setting: Setting, params: Params, prepared: PyTree, state: Sums, batch: MeasureBatch) -> Sums:
        return add_sums(state, batch, terms(setting, params, prepared, batch))

    def finalize(setting: Setting, params: Params, state: Sums) -> tuple[Array, ...]:
        del setting, params
        return tuple(means_of(state))

    return Similarity(init, update, finalize) if prepare is None else Similarity(init, update, finalize, prepare)


def symmetric(matrices: np.ndarray) -> np.ndarray:
    """Mirror the upper triangles of ``[... units units]`` on the host, so that the result is exactly symmetric.

    On the device ``(M + M^T) / 2`` is not: a compiler may contract the products in that sum one way for an entry and
    another way for its mirror image. (And a choice between M and M^T takes XLA's CPU compiler minutes from a thousand
    units on.)
    """
    upper = np.triu(matrices)
    return upper + np.swapaxes(np.triu(matrices, 1), -1, -2)


def by_location(layer: Array, axes_before: int = 1) -> Float[Array, "*rows locations units"]:
    """Reshape ``[batch locations... units]`` to ``[batch locations units]``; keep the first ``axes_before`` axes."""
    return layer.reshape(*layer.shape[:axes_before], -1, layer.shape[-1])


def units_of(
    setting: Setting, hidden: tuple[Array, ...], group: int, axes_before: int = 1
) -> Float[Array, "*rows locations units"]:
    """Return the units of a group's layers side by side, at the locations that are used."""
    layers = [by_location(hidden[layer], axes_before) for layer in setting.groups[group]]
    whole = jnp.concatenate(layers, -1)
    locations = setting.locations[group]
    if len(locations) == whole.shape[-2]:  # all of them: no gather
        return whole
    return jnp.take(whole, jnp.asarray(locations), axis=-2)


def gram(jacobian: Float[Array, "rows batch locations units"]) -> Float[Array, "units units"]:
    """Return ``sum over rows and examples, mean over locations, of J_i J_j``, as one matrix product."""
    return transposed_gram(jacobian.reshape(-1, jacobian.shape[-1])) / jacobian.shape[-2]


def transposed_gram(rows: Float[Array, "rows units"]) -> Float[Array, "units units"]:
    """Return ``sum over rows of r_i r_j``."""
    # The transpose is stored first: on a CPU, a product that transposes on the fly is half as fast.
    columns = jax.lax.optimization_barrier(rows.T)
    return columns @ columns.T


def zero_perturb(network: Network, params: Params, x: Array) -> tuple[Array, ...]:
    """Return zeros shaped like the hidden activations of a batch, in which downstream derivatives are taken."""
    hidden = jax.eval_shape(lambda x: network.apply(params, x).hidden, x)
    return tuple(jnp.zeros(layer.shape, layer.dtype) for layer in hidden)


def sum_over(step: Callable[[Any], Any], items: Any) -> Any:
    """Sum ``step`` over the leading axis of ``items``, in sequence, so that only one step's intermediates exist."""
    first = jax.tree.map(lambda leaf: leaf[0], items)
    if len(jax.tree.leaves(items)[0]) == 1:  # no loop is needed
        return step(first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(step, first))
    total, _ = jax.lax.scan(lambda total, item: (jax.tree.map(jnp.add, total, step(item)), None), zeros, items)
    return total


def one_hot_tangents(perturb: tuple[Array, ...], layers: tuple[int, ...], location: Any) -> tuple[Array, ...]:
    """Return a tangent of ``perturb`` for each unit of some layers: 1 for the unit at a location, 0 elsewhere.

    Returns:
        ``[units batch locations... units_of_layer]`` for each layer. One pass serves all examples of a batch, since no
        example's output depends on another's.
    """
    total = sum(perturb[layer].shape[-1] for layer in layers)
    tangents = [jnp.zeros((total, *layer.shape), layer.dtype) for layer in perturb]
    start = 0
    for layer in layers:
        num_examples, num_locations, width = by_location(perturb[layer]).shape
        # Row i of the tangents belongs to unit i of all layers, of which this layer has those from ``start`` on.
        identity = jnp.eye(total, width, -start, dtype=perturb[layer].dtype)[:, None, None, :]
        is_here = (jnp.arange(num_locations) == location)[None, None, :, None]
        tangent = jnp.broadcast_to(jnp.where(is_here, identity, 0), (total, num_examples, num_locations, width))
        tangents[layer] = tangent.reshape(total, *perturb[layer].shape)
        start += width
    return tuple(tangents)
