"""The trials axis: programs that run lanes of trials side by side, on one device or split over several.

A population's trials sit in a pool of seats. An epoch of some of them is read_seats -> train_epoch -> write_seats, all
on the device; the host hears one small row a trial. With several devices every leading axis is split over the mesh axis
"trials": each device has its own seats and lanes, and no number crosses between them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, UInt32

from modjax.training.config import TrainConfig
from modjax.training.metrics import evaluate_means, weight_norms
from modjax.training.objective import Task
from modjax.training.trial import Clock, TrialState, epoch, init_trial, split
from modjax.types import Examples, Params

MATMUL = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "BF16_BF16_F32"}
SPLIT, COPY = PartitionSpec("trials"), PartitionSpec()


class Variant(NamedTuple):
    """One way to run an epoch: a program of its own.

    Attributes:
        lanes: Trials side by side on each device.
        is_paired: Whether the lanes of a device share one clock (seed and epoch), and with it batches and noise.
    """

    lanes: int
    is_paired: bool


def make_mesh(num_devices: int | None) -> Mesh | None:
    """A mesh over so many local devices (all, where None); None for one device."""
    devices = jax.local_devices()[:num_devices]
    return Mesh(np.array(devices), ("trials",)) if len(devices) > 1 else None


def put(mesh: Mesh | None, tree: Any, spec: PartitionSpec = SPLIT) -> Any:
    """A tree of arrays on the device, or on all of the mesh: split along the first axis, or copied."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)
    return jax.device_put(tree, NamedSharding(mesh, spec))


def over_devices(mesh: Mesh | None, function: Callable, specs: tuple) -> Callable:
    """``function`` on each device's share of its arguments."""
    if mesh is None:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)


@partial(jax.jit, static_argnames=("task", "config", "is_paired", "mesh"), donate_argnames="states")
def train_epoch(
    task: Task,
    config: TrainConfig,
    is_paired: bool,
    mesh: Mesh | None,
    clocks: Clock,
    states: TrialState,
    hyperparams: Any,
    examples: Examples,
) -> tuple[TrialState, dict[str, Array]]:
    """One epoch of every lane: :func:`modjax.training.trial.epoch` over the leading axis.

    Args:
        task: Pure functions of one trial.
        config: Static settings.
        is_paired: ``clocks`` has one entry a device instead of one a lane.
        mesh: Devices, or None for one.
        clocks: ``[lanes]``, or ``[devices]``.
        states: ``[lanes ...]``; given up.
        hyperparams: ``[lanes ...]``.
        examples: Whole, on every device.
    """

    def lanes(clocks: Clock, states: TrialState, hyperparams: Any, examples: Examples) -> Any:
        clocks = jax.tree.map(lambda leaf: leaf[0], clocks) if is_paired else clocks
        axes = (None if is_paired else 0, 0, 0, None)
        with jax.default_matmul_precision(MATMUL[config.matmul_precision]):
            return jax.vmap(partial(epoch, task, config), in_axes=axes)(clocks, states, hyperparams, examples)

    return over_devices(mesh, lanes, (SPLIT, SPLIT, SPLIT, COPY))(clocks, states, hyperparams, examples)


@partial(jax.jit, static_argnames=("task", "config", "mesh"))
def init_lanes(
    task: Task, config: TrainConfig, mesh: Mesh | None, seeds: UInt32[Array, " lanes"], hyperparams: Any
) -> TrialState:
    """Trials before their first epoch, ``[lanes ...]``."""
    lanes = jax.vmap(partial(init_trial, task, config))
    return over_devices(mesh, lanes, (SPLIT, SPLIT))(seeds, hyperparams)


def state_shapes(task: Task, config: TrainConfig, hyperparams: Any) -> TrialState:
    """Shapes of one trial's state, nothing computed; ``hyperparams`` has a leading trials axis."""
    values = jax.tree.map(lambda column: np.asarray(column)[0], hyperparams)
    return jax.eval_shape(partial(init_trial, task, config), jnp.zeros((), jnp.uint32), values)


@partial(jax.jit, static_argnames="mesh")
def read_seats(mesh: Mesh | None, pool: Any, seats: Int[Array, " lanes"]) -> Any:
    """The trees at ``seats`` (counted on each device from 0), ``[lanes ...]``."""
    return over_devices(mesh, lambda pool, seats: jax.tree.map(lambda leaf: leaf[seats], pool), (SPLIT, SPLIT))(
        pool, seats
    )


@partial(jax.jit, static_argnames="mesh", donate_argnames="pool")
def write_seats(mesh: Mesh | None, pool: Any, seats: Int[Array, " lanes"], values: Any) -> Any:
    """``pool``, which is given up, with ``values`` at ``seats``."""

    def write(pool: Any, seats: Array, values: Any) -> Any:
        return jax.tree.map(lambda leaf, value: leaf.at[seats].set(value), pool, values)

    return over_devices(mesh, write, (SPLIT, SPLIT, SPLIT))(pool, seats, values)


@partial(jax.jit, static_argnames=("task", "config"))
def init_one(task: Task, config: TrainConfig, seed: UInt32[Array, ""], hyperparams: Any) -> TrialState:
    """One trial before its first epoch."""
    return init_trial(task, config, seed, hyperparams)


@partial(jax.jit, static_argnames=("task", "config"))
def measure_trials(
    task: Task,
    config: TrainConfig,
    params: Params,
    hyperparams: Any,
    seeds: UInt32[Array, " trials"],
    train_examples: Examples,
    test_examples: Examples,
) -> dict[str, Array]:
    """Means over each trial's train, validation and test examples, and its weight norms, ``[trials]`` each.

    Trials run one after the other, so that a trial's numbers do not depend on how many run together.
    """
    num_train = jax.tree.leaves(train_examples)[0].shape[0]
    num_test = jax.tree.leaves(test_examples)[0].shape[0]

    def measure(trial: Any) -> dict[str, Array]:
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
            for metric, mean in evaluate_means(task, weights, values, examples, indices).items()
        }
        return {**means, **weight_norms(weights)}

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(measure, (params, hyperparams, seeds))
