"""The kernels of all measures over batches of examples and over trials; the only file here that compiles."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from modjax._util.pixels import to_unit_range
from modjax._util.threads import Threads
from modjax.measures import chain
from modjax.measures.base import MeasureBatch, Setting, Similarity, symmetric
from modjax.measures.plan import SimilarityPlan, trials_at_once
from modjax.records import MeasureInfo, resolve
from modjax.types import Params

CHAIN = "chain"
_COMPILED: set[Any] = set()
Chunk = tuple[Any, Any]  # x, y or None: examples as they come


def kernel_of(info: MeasureInfo) -> Similarity:
    """The kernel that a measure's record names."""
    return resolve(info.kernel)


@partial(jax.jit, static_argnames=("setting", "closed", "general"))
def _start(
    setting: Setting, closed: tuple[MeasureInfo, ...], general: tuple[MeasureInfo, ...], params: Params
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What parameters alone decide, and states before the first batch, of trials with a leading axis."""

    def one(params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
        dtype = jax.tree.leaves(params)[0].dtype
        prepared = {info.name: kernel_of(info).prepare(setting, params) for info in general}
        states = {info.name: chain.init(setting, info, params, dtype) for info in closed}
        states |= {info.name: kernel_of(info).init(setting, dtype) for info in general}
        return prepared | {CHAIN: chain.prepare(setting, closed, params)}, states

    with jax.default_matmul_precision("highest"):
        return _over_trials(one, params)


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
    """The states with a batch more."""

    def one(params: Params, prepared: dict[str, Any], states: dict[str, Any]) -> dict[str, Any]:
        after = chain.update(setting, closed, params, prepared[CHAIN], states, batch) if closed else {}
        if general:
            after |= _by_autodiff(
                setting, general, params, prepared, {info.name: states[info.name] for info in general}, batch
            )
        return after

    with jax.default_matmul_precision("highest"):
        return _over_trials(one, params, prepared, states)


def _by_autodiff(
    setting: Setting,
    measures: tuple[MeasureInfo, ...],
    params: Params,
    prepared: Any,
    states: dict[str, Any],
    batch: MeasureBatch,
) -> dict[str, Any]:
    """The states with the examples of a batch more, a few at a time."""

    def add(states: dict[str, Any], some: MeasureBatch) -> tuple[dict[str, Any], None]:
        after = {}
        for info in measures:
            update, name = kernel_of(info).update, info.name
            after[name] = update(setting, params, prepared[name], states[name], some)
        return after, None

    num_steps = batch.x.shape[0] // setting.batch
    if num_steps == 1:
        return add(states, batch)[0]
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
    """The matrices: ``[trials units units]`` for each measure and group."""

    def one(params: Params, states: dict[str, Any]) -> dict[str, tuple]:
        matrices = {info.name: chain.finalize(setting, info, params, states[info.name]) for info in closed}
        return matrices | {info.name: kernel_of(info).finalize(setting, params, states[info.name]) for info in general}

    with jax.default_matmul_precision("highest"):
        return _over_trials(one, params, states)


def _over_trials(function: Any, *trees: Any) -> Any:
    """``vmap``; for one trial without the axis, since a batched product of one is a slower product."""
    if jax.tree.leaves(trees[0])[0].shape[0] > 1:
        return jax.vmap(function)(*trees)
    return jax.tree.map(lambda leaf: leaf[None], function(*jax.tree.map(lambda leaf: leaf[0], trees)))


@partial(jax.jit, static_argnames="dtype")
def _ready(x: Any, y: Any, is_valid: Any, dtype: DTypeLike) -> MeasureBatch:
    return MeasureBatch(to_unit_range(x, dtype), y, is_valid.astype(dtype))


def make_batches(chunks: Iterable[Chunk], size: int, dtype: DTypeLike) -> Iterator[MeasureBatch]:
    """Batches of one size on the device, from chunks of any size; copies that do not count fill the last."""
    waiting: list[Chunk] = []
    count = 0
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
    if len({x.dtype for x in several}) > 1:  # pixels and floats
        several = [to_unit_range(jnp.asarray(x), dtype) for x in several]
    x = _joined(several, size)
    y = None if parts[0][1] is None else _joined([y for _, y in parts], size)
    count = sum(len(part) for part, _ in parts)
    return _ready(x, y, np.arange(size) < count, dtype)


def _joined(arrays: list[Any], size: int) -> Any:
    """Joined, and filled up to ``size`` with copies of the first: examples, so that every formula is defined."""
    whole = arrays[0] if len(arrays) == 1 else np.concatenate([np.asarray(array) for array in arrays])
    if len(whole) == size:
        return whole
    whole = np.asarray(whole)
    return np.concatenate([whole, np.repeat(whole[:1], size - len(whole), 0)])


def measure(
    plan: SimilarityPlan, population: Params, chunks: Callable[[], Iterable[Chunk]], is_once: bool = False
) -> dict[str, tuple[np.ndarray, ...]]:
    """All measures of a population, on the host: ``[trials units units]`` for each measure and group.

    Batches come first, trials within: a batch is put on the device once for all trials whose states fit the memory.

    Args:
        plan: Sizes and forms.
        population: Parameters with a leading trials axis.
        chunks: ``chunks()`` gives examples ``(x, y)``; called again where not all trials' states fit the memory.
        is_once: It can be called once only: all trials' states are kept.
    """
    leaves = jax.tree.leaves(population)
    num_trials, dtype = leaves[0].shape[0], leaves[0].dtype
    at_once = num_trials if is_once else trials_at_once(plan, num_trials, dtype)
    threads = Threads(plan.num_threads)
    parts = []
    try:
        for start in range(0, num_trials, at_once):
            lots = list(_lots(plan, population, start, min(start + at_once, num_trials)))
            parts += _measure_lots(plan, lots, make_batches(chunks(), plan.num_examples, dtype), threads)
    finally:
        threads.close()
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return jax.tree.map(lambda array: symmetric(array[:num_trials]), whole)


def _lots(plan: SimilarityPlan, population: Params, start: int, stop: int) -> Iterator[Params]:
    """The parameters of each call, always of as many trials: the last one again, to fill up."""
    for first in range(start, stop, plan.num_trials):
        rows = np.minimum(np.arange(first, first + plan.num_trials), stop - 1)
        yield jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), population)


def _measure_lots(
    plan: SimilarityPlan, lots: list[Params], batches: Iterator[MeasureBatch], threads: Threads
) -> list[dict[str, tuple]]:
    program = (plan.setting, plan.closed, plan.general)
    started = [_start(*program, lot) for lot in lots]
    prepared, states = [one for one, _ in started], [one for _, one in started]

    def add(place: int, batch: MeasureBatch) -> None:
        # Waited for, so that no more calls are under way than there are threads.
        states[place] = jax.block_until_ready(_add(*program, lots[place], prepared[place], states[place], batch))

    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(lots[0]))
    for batch in batches:
        # The first call of a program compiles it; the others find it there.
        alone = 0 if (program, shapes, batch.x.shape) in _COMPILED else 1
        for place in range(alone):
            add(place, batch)
        _COMPILED.add((program, shapes, batch.x.shape))
        threads.map(partial(add, batch=batch), range(alone, len(lots)))
    return [jax.device_get(_finish(*program, lot, state)) for lot, state in zip(lots, states, strict=True)]
