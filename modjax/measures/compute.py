"""The kernels of all measures, run over batches of examples and over trials; the only file here that compiles."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from modjax._util.pixels import to_unit_range
from modjax._util.threads import Threads
from modjax.measures import chain
from modjax.measures.base import MeasureBatch, Setting, Similarity, symmetric
from modjax.measures.plan import SimilarityPlan, trials_at_once
from modjax.records import MeasureInfo, resolve
from modjax.types import Params

CHAIN = "chain"
_COMPILED: set[Any] = set()  # programs and shapes that were called before
Chunk = tuple[Any, Any]  # examples as they come: x, and y or None


def kernel_of(info: MeasureInfo) -> Similarity:
    """Return the kernel that a measure's record names.

    Raises:
        ValueError: If it is not a :class:`modjax.measures.base.Similarity`.
    """
    kernel = resolve(info.kernel)
    if not isinstance(kernel, Similarity):
        raise ValueError(
            f"the kernel of measure {info.name!r} must be a function or a Similarity (modjax.measures.base); "
            f"got {type(kernel).__name__}."
        )
    return kernel


@partial(jax.jit, static_argnames=("setting", "closed", "general"))
def _start(
    setting: Setting, closed: tuple[MeasureInfo, ...], general: tuple[MeasureInfo, ...], params: Params
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what depends on parameters alone, and the states before the first batch, with a leading trials axis."""

    def single_trial(params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
        dtype = jax.tree.leaves(params)[0].dtype
        prepared = {info.name: kernel_of(info).prepare(setting, params) for info in general}
        states = {info.name: chain.init(setting, info, params, dtype) for info in closed}
        states |= {info.name: kernel_of(info).init(setting, dtype) for info in general}
        return prepared | {CHAIN: chain.prepare(setting, closed, params)}, states

    with jax.default_matmul_precision("highest"):
        return _over_trials(single_trial, params)


@partial(jax.jit, static_argnames=("setting", "closed", "general"), donate_argnames="states")
def _add(
    setting: Setting,
    closed: tuple[MeasureInfo, ...],
    general: tuple[MeasureInfo, ...],
    params: Params,
    prepared: dict[str, Any],
    states: dict[str, Any],
    batch: MeasureBatch,
) -> dict[str, Any]:
    """Return the states after one more batch."""

    def single_trial(params: Params, prepared: dict[str, Any], states: dict[str, Any]) -> dict[str, Any]:
        after = chain.update(setting, closed, params, prepared[CHAIN], states, batch) if closed else {}
        if general:
            after |= _by_autodiff(
                setting, general, params, prepared, {info.name: states[info.name] for info in general}, batch
            )
        return after

    with jax.default_matmul_precision("highest"):
        return _over_trials(single_trial, params, prepared, states)


def _by_autodiff(
    setting: Setting,
    measures: tuple[MeasureInfo, ...],
    params: Params,
    prepared: PyTree,
    states: dict[str, Any],
    batch: MeasureBatch,
) -> dict[str, Any]:
    """Return the states after one more batch, whose examples are taken a few at a time."""

    def add(states: dict[str, Any], some: MeasureBatch) -> tuple[dict[str, Any], None]:
        after = {}
        for info in measures:
            update, name = kernel_of(info).update, info.name
            after[name] = update(setting, params, prepared[name], states[name], some)
        return after, None

    num_steps = batch.x.shape[0] // setting.batch
    if num_steps == 1:
        return add(states, batch)[0]
    # In sequence: only the intermediates of ``setting.batch`` examples exist at a time.
    split = jax.tree.map(lambda leaf: leaf.reshape(num_steps, setting.batch, *leaf.shape[1:]), batch)
    return jax.lax.scan(add, states, split)[0]


@partial(jax.jit, static_argnames=("setting", "closed", "general"))
def _finish(
    setting: Setting,
    closed: tuple[MeasureInfo, ...],
    general: tuple[MeasureInfo, ...],
    params: Params,
    states: dict[str, Any],
) -> dict[str, tuple]:
    """Return the matrices, ``[trials units units]`` for each measure and group."""

    def single_trial(params: Params, states: dict[str, Any]) -> dict[str, tuple]:
        matrices = {info.name: chain.finalize(setting, info, params, states[info.name]) for info in closed}
        return matrices | {info.name: kernel_of(info).finalize(setting, params, states[info.name]) for info in general}

    with jax.default_matmul_precision("highest"):
        return _over_trials(single_trial, params, states)


def _over_trials(function: Callable[..., Any], *trees: Any) -> Any:
    """Map ``function`` over trials; a single one goes without the axis, as batched products of one are slower."""
    if jax.tree.leaves(trees[0])[0].shape[0] > 1:
        return jax.vmap(function)(*trees)
    return jax.tree.map(lambda leaf: leaf[None], function(*jax.tree.map(lambda leaf: leaf[0], trees)))


@partial(jax.jit, static_argnames="dtype")
def _ready(x: jax.Array, y: jax.Array | None, is_valid: Any, dtype: DTypeLike) -> MeasureBatch:
    """Convert examples on the device, so that pixels are copied there as uint8."""
    return MeasureBatch(to_unit_range(x, dtype), y, is_valid.astype(dtype))


@partial(jax.jit, static_argnames="size")
def _keys(seed: Any, first: Any, size: int) -> Any:
    """Return a key for each of ``size`` examples, the first of which has the number ``first``."""
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(first + jnp.arange(size, dtype=jnp.uint32))


def with_keys(batches: Iterable[MeasureBatch], seed: int) -> Iterator[MeasureBatch]:
    """Yield batches with a key for each example, which depends on the seed and on its number in the whole."""
    first = 0
    for batch in batches:
        size = batch.x.shape[0]
        yield batch._replace(keys=_keys(np.uint32(seed), np.uint32(first), size))
        first += size


def make_batches(chunks: Iterable[Chunk], size: int, dtype: DTypeLike) -> Iterator[MeasureBatch]:
    """Yield batches of one size on the device, from chunks of any size; the last is filled with masked copies."""
    waiting: list[Chunk] = []  # pieces that together are less than a batch
    count = 0  # of their examples
    for x, y in chunks:
        start = 0
        while count + len(x) - start >= size:
            stop = start + size - count
            yield _batch([*waiting, (x[start:stop], None if y is None else y[start:stop])], size, dtype)
            waiting, count, start = [], 0, stop
        if start < len(x):
            waiting.append((x[start:], None if y is None else y[start:]))
            count += len(x) - start
    if waiting:
        yield _batch(waiting, size, dtype)


def _batch(parts: list[Chunk], size: int, dtype: DTypeLike) -> MeasureBatch:
    several = [x for x, _ in parts]
    if len({x.dtype for x in several}) > 1:  # pixels and floats cannot be joined as they are
        several = [to_unit_range(jnp.asarray(x), dtype) for x in several]
    x = _joined(several, size)
    y = None if parts[0][1] is None else _joined([y for _, y in parts], size)
    count = sum(len(part) for part, _ in parts)
    return _ready(x, y, np.arange(size) < count, dtype)


def _joined(arrays: list[Any], size: int) -> Any:
    """Join arrays and fill up to ``size`` with copies of the first example, for which every formula is defined."""
    whole = arrays[0] if len(arrays) == 1 else np.concatenate([np.asarray(array) for array in arrays])
    if len(whole) == size:
        return whole
    whole = np.asarray(whole)
    return np.concatenate([whole, np.repeat(whole[:1], size - len(whole), 0)])


def measure(
    plan: SimilarityPlan, population: Params, chunks: Callable[[], Iterable[Chunk]], is_once: bool = False
) -> dict[str, tuple[np.ndarray, ...]]:
    """Return all measures of a population, on the host: ``[trials units units]`` for each measure and group.

    Batches are the outer loop and trials the inner one: a batch is put on the device once for all trials whose states
    fit the memory.

    Args:
        plan: The plan to follow.
        population: Parameters with a leading trials axis.
        chunks: ``chunks()``, which returns chunks of examples ``(x, y)``; it is called again where not all trials'
            states fit the memory.
        is_once: Whether ``chunks`` can be called only once, so that the states of all trials are kept at a time.
    """
    leaves = jax.tree.leaves(population)
    num_trials, dtype = leaves[0].shape[0], leaves[0].dtype
    at_once = num_trials if is_once else trials_at_once(plan, num_trials, dtype)
    threads = Threads(plan.num_threads)
    parts = []
    try:
        for start in range(0, num_trials, at_once):
            slices = list(_slices(plan, population, start, min(start + at_once, num_trials)))
            batches = make_batches(chunks(), plan.num_examples, dtype)
            # Only the last batch has padding, so that an example's number is its place in the whole.
            batches = with_keys(batches, plan.seed) if plan.setting.num_probes else batches
            parts += _measure_slices(plan, slices, batches, threads)
    finally:
        threads.close()
    # Beyond ``num_trials`` lie the repeats that fill the last call.
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return jax.tree.map(lambda array: symmetric(array[:num_trials]), whole)


def _slices(plan: SimilarityPlan, population: Params, start: int, stop: int) -> Iterator[Params]:
    """Yield the parameters of each call, all with the same number of trials; the last trial is repeated to fill up."""
    for first in range(start, stop, plan.num_trials):
        rows = np.minimum(np.arange(first, first + plan.num_trials), stop - 1)
        yield jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), population)


def _measure_slices(
    plan: SimilarityPlan, slices: list[Params], batches: Iterator[MeasureBatch], threads: Threads
) -> list[dict[str, tuple]]:
    """Return the matrices of each slice of the population, from one pass over the batches."""
    program = (plan.setting, plan.closed, plan.general)
    started = [_start(*program, params) for params in slices]
    prepared, states = [tree for tree, _ in started], [state for _, state in started]

    def add(index: int, batch: MeasureBatch) -> None:
        # Waited for, so that no more calls are under way than there are threads.
        states[index] = jax.block_until_ready(_add(*program, slices[index], prepared[index], states[index], batch))

    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(slices[0]))
    for batch in batches:
        # The first call of a program is made alone and compiles it; else every thread would compile it.
        alone = 0 if (program, shapes, batch.x.shape) in _COMPILED else 1
        for index in range(alone):
            add(index, batch)
        _COMPILED.add((program, shapes, batch.x.shape))
        threads.map(partial(add, batch=batch), range(alone, len(slices)))
    return [jax.device_get(_finish(*program, params, state)) for params, state in zip(slices, states, strict=True)]
