"""The trials axis: programs that run lanes of trials side by side, on one device or split over several.

A population's trials sit in a pool of slots. An epoch of some of them is train_epoch -> write_slots, all on the
device; the host gets one small row per trial. With several devices every leading axis is split over the mesh axis
"trials": each device has its own slots and lanes, and no number crosses between them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree, UInt32

from modjax.training.config import TrainConfig
from modjax.training.metrics import evaluate_means, weight_norms
from modjax.training.objective import Task
from modjax.training.trial import Clock, TrialState, epoch, init_trial, split, start_trial
from modjax.types import Examples, Params, TrialValues

MATMUL = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "BF16_BF16_F32"}
SPLIT, COPY = PartitionSpec("trials"), PartitionSpec()


class EpochProgram(NamedTuple):
    """A compiled way to run an epoch.

    Attributes:
        lanes: Number of trials side by side on each device.
        is_paired: Whether the lanes of a device share one clock (seed and epoch), and with it batches and noise.
    """

    lanes: int
    is_paired: bool


@partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["names"])
@dataclass(frozen=True)
class Table:
    """Rows of the history as one array for each dtype, so that the host copies few arrays.

    Attributes:
        names: Names of the columns of each array.
        values: One array ``[lanes columns]`` for each dtype.
    """

    names: tuple[tuple[str, ...], ...]
    values: tuple[Array, ...]

    @classmethod
    def of(cls, columns: dict[str, Array]) -> "Table":
        """Return the table of columns ``[lanes]``."""
        kinds = sorted({str(column.dtype) for column in columns.values()})
        names = tuple(tuple(name for name in sorted(columns) if str(columns[name].dtype) == kind) for kind in kinds)
        return cls(names, tuple(jnp.stack([columns[name] for name in group]).T for group in names))

    def lists(self) -> dict[str, list]:
        """Return the columns as lists of plain numbers."""
        groups = zip(self.names, jax.device_get(self.values), strict=True)
        return {name: column.tolist() for names, values in groups for name, column in zip(names, values.T, strict=True)}


def make_mesh(num_devices: int | None) -> Mesh | None:
    """Return a mesh over the first ``num_devices`` local devices (all, if None); None for one device."""
    devices = jax.local_devices()[:num_devices]
    return Mesh(np.array(devices), ("trials",)) if len(devices) > 1 else None


def put(mesh: Mesh | None, tree: PyTree, spec: PartitionSpec = SPLIT) -> Any:
    """Put a tree of arrays on all devices of the mesh, split along the first axis, or copied.

    For one device the tree stays as it is: programs take NumPy arrays in faster than ``jnp.asarray`` does.
    """
    if mesh is None:
        return tree
    return jax.device_put(tree, NamedSharding(mesh, spec))


def over_devices(mesh: Mesh | None, function: Callable, specs: tuple) -> Callable:
    """Return ``function`` mapped over devices, each with its share of the arguments."""
    if mesh is None:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)


@partial(jax.jit, static_argnames=("task", "config", "is_paired", "mesh"))
def train_epoch(
    task: Task,
    config: TrainConfig,
    is_paired: bool,
    mesh: Mesh | None,
    clocks: Clock,
    pool: TrialState,
    slots: Int[Array, " lanes"] | np.ndarray,
    hyperparams: TrialValues,
    examples: Examples,
) -> tuple[TrialState, Table]:
    """Train the trials at ``slots`` for one epoch: :func:`modjax.training.trial.epoch` over the leading axis.

    Args:
        task: The task, as pure functions of one trial.
        config: Static settings.
        is_paired: Whether ``clocks`` has one entry per device instead of one per lane.
        mesh: Mesh of devices, or None for one device.
        clocks: Clocks ``[lanes]``, or ``[devices]``.
        pool: States ``[slots ...]``, which are left as they are.
        slots: Slot of each lane, counted on each device from 0.
        hyperparams: Hyperparameters ``[lanes ...]``.
        examples: All examples, on every device.

    Returns:
        The new states ``[lanes ...]``, and the rows of the history.
    """

    def lanes(clocks: Clock, pool: TrialState, slots: Array, hyperparams: TrialValues, examples: Examples) -> Any:
        # Not mapped over: the batches then do not depend on the lane, so that they are gathered once for all lanes.
        clocks = jax.tree.map(lambda leaf: leaf[0], clocks) if is_paired else clocks
        axes = (None if is_paired else 0, 0, 0, None)
        with jax.default_matmul_precision(MATMUL[config.matmul_precision]):
            run = jax.vmap(partial(epoch, task, config), in_axes=axes)
            states, rows = run(clocks, _at(pool, slots), hyperparams, examples)
        return states, Table.of(rows)

    specs = (SPLIT, SPLIT, SPLIT, SPLIT, COPY)
    return over_devices(mesh, lanes, specs)(clocks, pool, slots, hyperparams, examples)


def _at(pool: PyTree, slots: Array | np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: leaf.at[slots].get(mode="promise_in_bounds"), pool)


def state_shapes(task: Task, config: TrainConfig, hyperparams: TrialValues) -> TrialState:
    """Return the shapes of one trial's state without computing it; ``hyperparams`` has a leading trials axis."""
    values = jax.tree.map(lambda column: np.asarray(column)[0], hyperparams)
    return jax.eval_shape(partial(init_trial, task, config), jnp.zeros((), jnp.uint32), values)


def init_pool(mesh: Mesh | None, shapes: TrialState, num_slots: int) -> TrialState:
    """Return a pool of ``num_slots`` zero states, those of all devices together."""
    return put(mesh, jax.tree.map(lambda leaf: jnp.zeros((num_slots, *leaf.shape), leaf.dtype), shapes))


@partial(jax.jit, static_argnames=("task", "config", "mesh"), donate_argnames="pool")
def init_slots(
    task: Task,
    config: TrainConfig,
    mesh: Mesh | None,
    pool: TrialState,
    slots: Int[Array, " lanes"] | np.ndarray,
    seeds: UInt32[Array, " lanes"] | np.ndarray,
    hyperparams: TrialValues,
) -> TrialState:
    """Return ``pool``, whose memory is reused, with trials before their first epoch at ``slots``."""

    def lanes(pool: TrialState, slots: Array, seeds: Array, hyperparams: TrialValues) -> TrialState:
        init = partial(init_trial, task, config)
        if jax.default_backend() == "cpu":  # in sequence, which XLA compiles in a third of the time
            return _put_at(pool, slots, jax.lax.map(lambda trial: init(*trial), (seeds, hyperparams)))
        return _put_at(pool, slots, jax.vmap(init)(seeds, hyperparams))

    return over_devices(mesh, lanes, (SPLIT,) * 4)(pool, slots, seeds, hyperparams)


@partial(jax.jit, static_argnames="mesh", donate_argnames="pool")
def write_slots(mesh: Mesh | None, pool: PyTree, slots: Int[Array, " lanes"] | np.ndarray, values: PyTree) -> Any:
    """Return ``pool``, whose memory is reused, with ``values`` at ``slots``."""
    return over_devices(mesh, _put_at, (SPLIT, SPLIT, SPLIT))(pool, slots, values)


def _put_at(pool: PyTree, slots: Array, values: PyTree) -> Any:
    # Idle lanes all write to the same spare slot, which no trial reads.
    return jax.tree.map(lambda leaf, value: leaf.at[slots].set(value, mode="promise_in_bounds"), pool, values)


@jax.jit
def read_lanes(tree: PyTree, lanes: Int[Array, " some"] | np.ndarray) -> Any:
    """Return the trees at ``lanes``."""
    return _at(tree, lanes)


@partial(jax.jit, static_argnames=("task", "config"))
def init_one(task: Task, config: TrainConfig, seed: UInt32[Array, ""], hyperparams: TrialValues) -> TrialState:
    """Return the state of one trial before its first epoch."""
    return init_trial(task, config, seed, hyperparams)


@partial(jax.jit, static_argnames=("task", "config"))
def start_one(task: Task, config: TrainConfig, params: Params, hyperparams: TrialValues) -> TrialState:
    """Return the state before its first epoch of a trial that starts from given weights."""
    return start_trial(task, config, params, hyperparams)


@partial(jax.jit, static_argnames=("task", "config"))
def measure_trials(
    task: Task,
    config: TrainConfig,
    params: Params,
    hyperparams: TrialValues,
    seeds: UInt32[Array, " trials"],
    train_examples: Examples,
    test_examples: Examples,
) -> dict[str, Array]:
    """Return means over each trial's train, validation and test examples, and its weight norms, ``[trials]`` each.

    Trials run in sequence, so that a trial's numbers do not depend on how many are measured together.
    """
    num_train = jax.tree.leaves(train_examples)[0].shape[0]
    num_test = jax.tree.leaves(test_examples)[0].shape[0]

    def measure(trial: PyTree) -> dict[str, Array]:
        weights, values, seed = trial
        train, validation = split(config, seed, num_train)
        splits = {
            "train": (train_examples, train),
            "val": (train_examples, validation),
            "test": (test_examples, jnp.arange(num_test)),
        }
        means = {
            f"{name}_{metric}": mean
            for name, (examples, indices) in splits.items()
            if indices.shape[0]  # there may be no validation set
            for metric, mean in evaluate_means(task, weights, values, examples, indices).items()
        }
        return {**means, **weight_norms(weights)}

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(measure, (params, hyperparams, seeds))
