"""How measures are computed: by closed form or autodiff, and how many examples and trials at a time.

Sizes follow from a memory budget and from the shapes alone, never from the number of trials: a trial's matrices do not
depend on its neighbours.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from modjax._util.threads import available_cores
from modjax.builtins import MEASURES, WEIGHTS
from modjax.measures.base import Setting
from modjax.measures.chain import has_closed_form
from modjax.measures.probe_plan import check_probes, estimated, probe_examples
from modjax.measures.stem import split_stem
from modjax.names import one_of
from modjax.networks.base import Network, bound
from modjax.records import MeasureInfo, by_name
from modjax.types import Params

PATHS = ("auto", "closed_form", "autodiff")
MEMORY = {"cpu": 2**30}  # bytes, unless the caller says otherwise
ACCELERATOR_MEMORY = 2**32
CACHE = {"cpu": 2**19}  # bytes that are worked on at a time, to stay in a core's own cache
BATCH_MEMORY = {"cpu": 2**22}  # the same for autodiff, which has more intermediates
MAX_EXAMPLES = 2000
ACCELERATOR_TRIALS = 32
WIDE = 128  # units from which on the products of a single column are large enough
VECTOR, MAX_BLOCK = 16, 256  # a block is whole vectors: products with 77 columns were a third slower than with 80
STATES_SHARE = 4  # divisor of the memory: what the states of the trials under way may take


def measure_infos(measures: Sequence[str | MeasureInfo]) -> tuple[MeasureInfo, ...]:
    """Return the records of measures, without duplicates; names stand for modjax's own measures.

    Raises:
        ValueError: If a name is unknown, or two different measures have the same name.
    """
    known = {**MEASURES, WEIGHTS.name: WEIGHTS}
    infos = [
        measure if isinstance(measure, MeasureInfo) else known[one_of(measure, tuple(known), "similarity")]
        for measure in measures
    ]
    return tuple(by_name(*dict.fromkeys(infos)).values())


class SimilarityPlan(NamedTuple):
    """How to measure a population.

    Attributes:
        setting: What is measured.
        closed: Measures that are computed by closed forms.
        general: Measures that are computed by autodiff.
        num_examples: Number of examples per batch, a multiple of ``setting.block``.
        num_trials: Number of trials in one call of a program; 1 on a CPU, where threads run several calls.
        num_threads: Number of calls at once.
        memory: Memory budget in bytes.
        is_combined: Whether one matrix over all layers was asked for.
        seed: Seed of the probes.
    """

    setting: Setting
    closed: tuple[MeasureInfo, ...]
    general: tuple[MeasureInfo, ...]
    num_examples: int
    num_trials: int
    num_threads: int
    memory: int
    is_combined: bool
    seed: int = 0


def make_plan(
    network: Network,
    params: Params,
    in_shape: tuple[int, ...],
    measures: Sequence[str | MeasureInfo],
    combined: bool,
    num_examples: int | None = None,
    path: str = "auto",
    max_locations: int | None = None,
    seed: int = 0,
    memory: int | None = None,
    groups: Sequence[tuple[int, ...]] | None = None,
    estimator: str = "exact",
    num_probes: int | None = None,
    return_error: bool = False,
) -> SimilarityPlan:
    """Return the plan for one network's parameters, of which shapes are enough, and for examples of a shape.

    Raises:
        ValueError: If the path is unknown, a closed form does not exist, ``max_locations`` or ``memory`` is not
            positive, layers of one matrix have different locations, or probes are refused
            (:func:`modjax.measures.probe_plan.check_probes`).
    """
    one_of(path, PATHS, "path")
    backend = jax.default_backend()
    memory = MEMORY.get(backend, ACCELERATOR_MEMORY) if memory is None else memory
    if not isinstance(memory, int) or memory < 1:
        raise ValueError(f"memory must be a whole number of bytes, at least 1; got {memory}.")
    shapes, num_outputs = layer_shapes(network, in_shape)
    if groups is None:
        every = tuple(range(len(shapes)))
        groups = (every,) if combined else tuple((layer,) for layer in every)
    for group in groups:
        check_locations([shapes[layer] for layer in group])
    infos = measure_infos(measures)
    num_probes = check_probes(estimator, num_probes, return_error, infos, seed)
    probed = estimated(network, infos, num_probes, num_outputs)
    exact = tuple(info for info in infos if info.name not in {info.name for info in probed})
    closed = tuple(info for info in exact if path != "autodiff" and has_closed_form(network, info))
    general = tuple(info for info in exact if info not in closed)
    if path == "closed_form" and general:
        raise ValueError(
            f"{', '.join(info.name for info in general)} of this network has no closed form; use path='auto', which "
            "takes autodiff there."
        )
    locations = tuple(_locations(shapes[group[0]], max_locations, seed, group[0]) for group in groups)
    dtype = jax.tree.leaves(params)[0].dtype
    num_threads = available_cores() if backend == "cpu" else 1
    share = memory // num_threads  # each thread has a batch of its own
    most = min(MAX_EXAMPLES, num_examples or MAX_EXAMPLES, _examples_that_fit(shapes, in_shape, dtype, share))
    general = (*general, *probed)
    batch = block = 1
    if num_probes and general:  # what is exact beside probes takes no more passes than there are probes
        batch = block = min(most, probe_examples(shapes, in_shape, dtype, share, num_probes))
    elif general:
        batch = block = min(most, autodiff_examples(network, shapes, in_shape, dtype, share))
    # Closed forms set the block, since a batch is a whole number of blocks; autodiff takes a divisor of the batch.
    if closed:
        block = _block(min(most, MAX_BLOCK), num_examples or most)
    columns = _columns(network, params, combined, dtype, share, block) if closed else 1
    # Batches with the same number of blocks each: less padding than full batches and a short last one.
    total = -(-(num_examples or most) // block)
    size = block * -(-total // -(-total // max(1, most // block)))
    batch = max(count for count in range(1, batch + 1) if size % count == 0)
    setting = Setting(network, shapes, tuple(groups), locations, block, columns, batch, in_shape)
    if probed:
        setting = setting._replace(num_probes=num_probes, with_errors=return_error)
    num_trials = (
        1 if backend == "cpu" else max(1, min(ACCELERATOR_TRIALS, share // (8 * _example_bytes(shapes, dtype))))
    )
    return SimilarityPlan(setting, closed, general, size, num_trials, num_threads, memory, combined, seed)


@lru_cache(maxsize=256)
def params_shapes(network: Network) -> Any:
    """Return the tree of shapes of the parameters that a network's own init makes."""
    return jax.eval_shape(network.init, jax.random.key(0))


@lru_cache(maxsize=256)
def layer_shapes(network: Network, in_shape: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Return ``(locations..., units)`` of each hidden layer for examples of a shape, and the number of logits."""
    network = bound(network)
    example = jax.ShapeDtypeStruct((1, *in_shape), jax.dtypes.canonicalize_dtype(float))
    output = jax.eval_shape(network.apply, params_shapes(network), example)
    return tuple(layer.shape[1:] for layer in output.hidden), output.logits.shape[-1]


def check_locations(shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise unless layers ``(locations..., units)`` have the same locations."""
    locations = [list(shape[:-1]) for shape in shapes]
    if any(other != locations[0] for other in locations):
        raise ValueError(
            f"one matrix needs layers with the same locations, to pair units place by place; got {locations}. "
            "Without combined there is a matrix a layer."
        )


def _locations(shape: tuple[int, ...], most: int | None, seed: int, layer: int) -> tuple[int, ...]:
    """Return all locations of a layer, or a uniform sample of them without replacement."""
    total = math.prod(shape[:-1])
    if most is not None and (int(most) != most or most < 1):
        raise ValueError(f"max_locations must be a whole number, at least 1; got {most}.")
    if most is None or most >= total:
        return tuple(range(total))
    drawn = np.random.default_rng([seed, layer]).choice(total, int(most), replace=False)
    return tuple(sorted(int(location) for location in drawn))


def autodiff_examples(
    network: Network,
    shapes: Sequence[tuple[int, ...]],
    in_shape: tuple[int, ...],
    dtype: DTypeLike,
    memory: int,
) -> int:
    """Return how many examples autodiff takes at a time so that the largest intermediate fits the memory.

    That is a Jacobian, or tangents of every layer. With U units in all, A activations in all (U at every location), and
    D inputs, or outputs of the stem, B examples take about ``3 B U max(D, A) * itemsize`` bytes: no more than U passes
    are made at once.
    """
    num_units, num_activations = sum(shape[-1] for shape in shapes), sum(math.prod(shape) for shape in shapes)
    widest = max(_stem_width(network, in_shape), num_activations)
    budget = min(memory, BATCH_MEMORY.get(jax.default_backend(), memory))
    return max(1, min(MAX_EXAMPLES, budget // (3 * num_units * widest * jnp.dtype(dtype).itemsize)))


@lru_cache(maxsize=256)
def _stem_width(network: Network, in_shape: tuple[int, ...]) -> int:
    """Return the number of outputs of the stem, or of inputs, whichever is less."""
    widths = [math.prod(in_shape)]

    def look(params: Params, x: Any) -> Any:
        stem = split_stem(lambda x: network.apply(params, x).hidden[-1], x)
        if stem is not None:
            widths.append(math.prod(jax.eval_shape(stem.first, x).shape[1:]))
        return x

    example = jax.ShapeDtypeStruct((1, *in_shape), jax.dtypes.canonicalize_dtype(float))
    jax.eval_shape(look, params_shapes(network), example)  # traced, so that parameters need not exist
    return min(widths)


def _chain_widths(network: Network, params: Params) -> tuple[int, list[int], int]:
    """Return the rank of the first layer, the units of every layer, and the number of outputs."""
    assert network.chain is not None
    kernels = [kernel for kernel, _ in network.chain.layers(params)]
    return min(kernels[0].shape), [kernel.shape[1] for kernel in kernels[:-1]], kernels[-1].shape[1]


def _block(most: int, num_examples: int) -> int:
    """Return the number of examples in a block: whole vectors, close to ``most``, with little padding at the end."""
    if most < 2 * VECTOR:
        return most
    sizes = range(most - most % VECTOR, max(VECTOR, most // 2), -VECTOR)
    # The ratio of padded to real examples, rounded to 2 %: among equals the largest block, which comes first, is taken.
    return min(sizes, key=lambda size: round(50 * (-(-num_examples // size) * size / num_examples)))


def _columns(network: Network, params: Params, combined: bool, dtype: DTypeLike, memory: int, block: int) -> int:
    """Return how many columns at a time keep X (or Z) of a layer in a cache, and all intermediates in the memory."""
    _, widths, _ = _chain_widths(network, params)
    itemsize = jnp.dtype(dtype).itemsize
    if max(widths) >= WIDE:
        return 1
    column_bytes = max(widths) * block * itemsize
    # Combined matrices keep X of every layer.
    whole = column_bytes * (len(widths) + 4 if combined else 4) + 4 * max(widths) ** 2 * itemsize
    return max(1, min(CACHE.get(jax.default_backend(), memory) // column_bytes, memory // 2 // whole))


def _examples_that_fit(
    shapes: Sequence[tuple[int, ...]], in_shape: tuple[int, ...], dtype: DTypeLike, memory: int
) -> int:
    """Return the number of examples whose inputs, activations and slopes take at most half the memory."""
    values = 2 * math.prod(in_shape) + 4 * sum(math.prod(shape) for shape in shapes)
    return max(1, memory // 2 // (values * jnp.dtype(dtype).itemsize))


def _example_bytes(shapes: Sequence[tuple[int, ...]], dtype: DTypeLike) -> int:
    return sum(math.prod(shape) for shape in shapes) ** 2 * jnp.dtype(dtype).itemsize


def trials_at_once(plan: SimilarityPlan, num_trials: int, dtype: DTypeLike) -> int:
    """Return how many trials' states fit their part of the memory; a multiple of the trials in one call."""
    units = [plan.setting.width(group) for group in range(len(plan.setting.groups))]
    state = 3 * sum(width**2 for width in units) * jnp.dtype(dtype).itemsize * (len(plan.closed) + len(plan.general))
    fitting = max(1, plan.memory // STATES_SHARE // max(1, state))
    return min(num_trials, max(plan.num_threads, fitting) * plan.num_trials)
