"""The trials axis: many trials in one compiled program, slots refilled as trials stop.

The way of a trial: ``init_one`` -> epochs of all slots by ``train_epoch`` -> ``read_slot``. The host is asked once an
epoch, for one small row per slot.
"""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from modjax.checks import check_batches, num_validation
from modjax.data.batches import split_order
from modjax.training.config import TrainConfig
from modjax.training.metrics import evaluate_means, weight_norms
from modjax.training.objective import Task
from modjax.training.schedule import RUNNING, STATUS_NAMES
from modjax.training.slots import SlotTable
from modjax.training.trial import TrialState, epoch, init_trial, named_key
from modjax.types import Examples, Params

DEFAULT_SLOTS = {"cpu": 8, "gpu": 256, "tpu": 256}


class FinishedTrial(NamedTuple):
    """One trial as it leaves its slot; weights still on the device."""

    trial: int
    params: Params
    last: Params
    history: list[dict[str, float]]
    status: str
    best_epoch: int
    seconds: float


class EpochReport(NamedTuple):
    """What the host hears after an epoch of all slots.

    Attributes:
        rows: History row of every trial that trained, by trial.
        finished: Trials that left their slots.
        num_waiting: Trials without a slot so far.
    """

    rows: dict[int, dict[str, float]]
    finished: list[FinishedTrial]
    num_waiting: int


@partial(jax.jit, static_argnames=("task", "config"), donate_argnames="states")
def train_epoch(
    task: Task, config: TrainConfig, states: TrialState, hyperparams: Any, examples: Examples
) -> tuple[TrialState, dict[str, Array]]:
    """One epoch of every slot: :func:`modjax.training.trial.epoch` over the leading axis of states and hyperparams."""
    with jax.default_matmul_precision("highest"):
        return jax.vmap(partial(epoch, task, config), in_axes=(0, 0, None))(states, hyperparams, examples)


@partial(jax.jit, static_argnames=("task", "config", "num_examples"))
def init_one(
    task: Task, config: TrainConfig, seed: UInt32[Array, ""], hyperparams: Any, num_examples: int
) -> TrialState:
    """A trial before its first epoch, by a program that no slot or neighbour enters."""
    return init_trial(task, config, seed, hyperparams, num_examples)


@partial(jax.jit, donate_argnames="stacked")
def write_slot(stacked: Any, slot: Int[Array, ""], one: Any) -> Any:
    """``stacked`` with ``one`` at ``slot``."""
    return jax.tree.map(lambda array, value: array.at[slot].set(value), stacked, one)


@jax.jit
def read_slot(stacked: Any, slot: Int[Array, ""]) -> Any:
    """The tree at ``slot``."""
    return jax.tree.map(lambda array: array[slot], stacked)


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
    held_out = num_validation(num_train, config.validation_fraction)

    def measure(trial: Any) -> dict[str, Array]:
        weights, values, seed = trial
        order = split_order(named_key(seed, "split"), num_train)
        splits = {
            "train": (train_examples, order[:-held_out]),
            "val": (train_examples, order[-held_out:]),
            "test": (test_examples, jnp.arange(num_test)),
        }
        means = {
            f"{split}_{name}": mean
            for split, (examples, indices) in splits.items()
            for name, mean in evaluate_means(task, weights, values, examples, indices).items()
        }
        return {**means, **weight_norms(weights)}

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(measure, (params, hyperparams, seeds))


def choose_slots(config: TrainConfig, num_trials: int) -> int:
    """The number of slots: the one asked for, else the device kind's default, clipped to the number of trials."""
    if config.num_slots is not None:
        return config.num_slots
    default = DEFAULT_SLOTS.get(jax.default_backend(), 256)
    return min(num_trials, default) if num_trials else default


def check_examples(examples: Examples, config: TrainConfig) -> int:
    """Return the number of examples; raise unless all arrays have as many, enough for a batch and validation."""
    lengths = {int(np.shape(leaf)[0]) if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(examples)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"data must be arrays with one leading axis of examples, at least one; got {sorted(lengths)}.")
    (num_examples,) = lengths
    check_batches(num_examples, config.batch_size, config.validation_fraction)
    return num_examples


def train_slots(
    task: Task, hyperparams: Any, seeds: np.ndarray, examples: Examples, config: TrainConfig
) -> Iterator[EpochReport]:
    """Train all trials through the slots of one population; report after every epoch.

    Args:
        task: Pure functions of one trial.
        hyperparams: Tree of ``[trials]`` arrays.
        seeds: ``[trials]``, uint32.
        examples: Tree of device arrays with a leading examples axis.
        config: Static settings.

    Yields:
        One report an epoch; every trial is in the ``finished`` of exactly one of them.
    """
    num_examples = check_examples(examples, config)
    num_trials = len(seeds)
    num_slots = choose_slots(config, num_trials)
    table = SlotTable(num_slots, range(num_trials))
    hyperparams = jax.tree.map(np.asarray, hyperparams)

    def one(trial: int) -> tuple[TrialState, Any]:
        values = jax.tree.map(lambda array: jnp.asarray(array[trial]), hyperparams)
        return init_one(task, config, jnp.asarray(seeds[trial]), values, num_examples), values

    # Free slots repeat the first trial: finite numbers that nobody reads.
    stacked = jax.tree.map(lambda array: jnp.stack([array] * num_slots), one(0))
    histories: dict[int, list[dict[str, float]]] = {}
    started: dict[int, float] = {}
    while True:
        for slot, trial in table.fill():
            stacked = write_slot(stacked, jnp.asarray(slot), one(trial))
            histories[trial], started[trial] = [], time.perf_counter()
        if not table.seated:
            return
        states, values = stacked
        states, device_rows = train_epoch(task, config, states, values, examples)
        stacked = (states, values)
        columns = jax.device_get(device_rows)
        rows, finished = {}, []
        for slot, trial in list(table.seated.items()):
            row = {name: column[slot].item() for name, column in columns.items()}
            status = row.pop("status")
            histories[trial].append(row)
            rows[trial] = row
            if status != RUNNING:
                table.release(slot)
                state = read_slot(states, jnp.asarray(slot))
                finished.append(
                    FinishedTrial(
                        trial,
                        state.best_params,
                        state.params,
                        histories.pop(trial),
                        STATUS_NAMES[status],
                        int(state.stopping.best_epoch),
                        time.perf_counter() - started.pop(trial),
                    )
                )
        yield EpochReport(rows, finished, table.num_waiting)
