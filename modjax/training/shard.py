"""Shards: the slots of all devices of a mesh, or one thread's share of the slots of a single device.

XLA runs a small matrix product on one thread of a CPU, however many cores there are. Two calls of a program side by
side, each from a thread of its own with trials of its own, keep two cores busy instead of one, which is 1.4 times as
fast for the paper's network on two cores.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from modjax._util.threads import Threads
from modjax.training.config import TrainConfig
from modjax.training.objective import Task
from modjax.training.programs import EpochProgram, init_pool, init_slots, put, read_lanes, train_epoch, write_slots
from modjax.training.slots import SlotTable
from modjax.training.trial import Clock, TrialState
from modjax.types import Examples

Values = Callable[[Any], tuple[np.ndarray, Any]]


class LaneResults(NamedTuple):
    """Results of one call of a program.

    Attributes:
        trials: Trial of every lane; -1 if the lane idles.
        slots: Slot of every lane.
        states: New states ``[lanes ...]``.
        columns: Columns of the history's rows, by name.
    """

    trials: list[int]
    slots: np.ndarray
    states: TrialState
    columns: dict[str, list]


class Shard:
    """A pool of slots on some devices, and the calls that work on it.

    Args:
        task: The task, as pure functions of one trial.
        config: Static settings.
        mesh: Mesh of devices, or None for one device.
        devices: Numbers of the shard's devices in the slot table, where each thread of a single device counts as one.
        num_slots: Number of slots on each device, beside a spare one for idle lanes.
        shapes: Tree of the shapes of one trial's state.
        examples: Examples, on the devices.
        values: ``values(trials) -> seeds, hyperparams``.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        mesh: Mesh | None,
        devices: list[int],
        num_slots: int,
        shapes: TrialState,
        examples: Examples,
        values: Values,
    ) -> None:
        self._task, self._config, self._mesh = task, config, mesh
        self.devices, self._num_slots = devices, num_slots
        self._examples, self._values = examples, values
        # Idle lanes run as well; their states need a slot to go to that belongs to no trial.
        self._pool = init_pool(mesh, shapes, len(devices) * (num_slots + 1))

    def lanes(self, chosen: list[list[int]], lanes: int, slot_table: SlotTable) -> tuple[list[int], np.ndarray]:
        """Return the trial (-1: idle) and the slot of every lane, for the trials ``chosen`` on each device."""
        trials, slots = [], np.full(lanes * len(self.devices), self._num_slots, np.int32)
        for index, mine in enumerate(chosen[device] for device in self.devices):
            for lane, trial in enumerate(mine):
                slots[index * lanes + lane] = slot_table.slot_of(trial)[1]
            trials += mine + [-1] * (lanes - len(mine))
        return trials, slots

    def init(self, trials: list[int], slots: np.ndarray) -> None:
        """Put trials before their first epoch into their slots."""
        new = put(self._mesh, (slots, *self._values(np.maximum(trials, 0))))
        self._pool = init_slots(self._task, self._config, self._mesh, self._pool, *new)

    def train(self, program: EpochProgram, trials: list[int], slots: np.ndarray, epochs: dict[int, int]) -> LaneResults:
        """Run one epoch of the trials in lanes; the pool is left as it is."""
        # Idle lanes get the seed, age and hyperparameters of a trial, so that their numbers stay ordinary.
        idle = next(trial for trial in trials if trial >= 0)
        shown = np.array([trial if trial >= 0 else idle for trial in trials])
        seeds, hyperparams = self._values(shown)
        ages = np.array([epochs[trial] for trial in shown], np.int32)
        step = program.lanes if program.is_paired else 1  # paired lanes of a device have one clock between them
        clocks = Clock(*put(self._mesh, (seeds[::step], ages[::step])))
        lane_slots, hyperparams = put(self._mesh, (slots, hyperparams))
        static = (self._task, self._config, program.is_paired, self._mesh)
        states, table = train_epoch(*static, clocks, self._pool, lane_slots, hyperparams, self._examples)
        return LaneResults(trials, slots, states, table.lists())

    def write(self, slots: np.ndarray, states: PyTree) -> None:
        """Write states into slots."""
        self._pool = write_slots(self._mesh, self._pool, put(self._mesh, slots), put(self._mesh, states))

    def read(self, tree: PyTree, lanes: list[int]) -> list[Any]:
        """Return the trees of some lanes, on the host; an accelerator sends only these lanes."""
        if self._mesh is None and jax.default_backend() != "cpu":
            # Padded to a power of two, so that few shapes compile.
            padded = np.resize(np.array(lanes, np.int32), 1 << (len(lanes) - 1).bit_length())
            tree, lanes = read_lanes(tree, padded), list(range(len(lanes)))
        tree = jax.device_get(tree)
        return [jax.tree.map(lambda leaf, lane=lane: np.array(leaf[lane]), tree) for lane in lanes]

    def states(self, slots: list[tuple[int, int]]) -> TrialState:
        """Return the states ``[trials ...]`` in some of this shard's slots (device, slot), on the host."""
        # The pool holds the slots of all its devices in a row, each device's spare one last.
        first = self.devices[0]
        rows = np.array([(device - first) * (self._num_slots + 1) + slot for device, slot in slots], np.int64)
        return jax.tree.map(lambda leaf: leaf[rows], jax.device_get(self._pool))


class Shards:
    """All shards of a population, each called from a thread of its own.

    Args:
        slot_table: The table of their slots.
        shards: The shards.
    """

    def __init__(self, slot_table: SlotTable, shards: Iterable[Shard]) -> None:
        self.shards, self._slot_table = list(shards), slot_table
        self._of_device = {device: shard for shard in self.shards for device in shard.devices}
        self._threads = Threads(len(self.shards))
        self._compiled: set[EpochProgram] = set()

    def of_device(self, device: int) -> Shard:
        """Return the shard of a device."""
        return self._of_device[device]

    def _chunks(self, lanes: int, chosen: list[list[int]]) -> Iterator[tuple[Shard, list[int], np.ndarray]]:
        """Yield the trials of each device, by shard, as many at a time as there are lanes."""
        for start in range(0, max(map(len, chosen)), lanes):
            some = [trials[start : start + lanes] for trials in chosen]
            for shard in self.shards:
                if any(some[device] for device in shard.devices):
                    yield shard, *shard.lanes(some, lanes, self._slot_table)

    def init(self, lanes: int, chosen: list[list[int]]) -> None:
        """Put the trials chosen on each device into their slots, before their first epoch."""
        for shard, trials, slots in self._chunks(lanes, chosen):
            shard.init(trials, slots)

    def write(self, lanes: int, chosen: list[list[int]], states: PyTree, row: dict[int, int]) -> None:
        """Write rows of ``states``, which is on the host, into the slots of the trials chosen on each device."""
        for shard, trials, slots in self._chunks(lanes, chosen):
            # Idle lanes (trial -1) take any row, into the spare slot.
            rows = np.array([row.get(trial, 0) for trial in trials])
            shard.write(slots, jax.tree.map(lambda leaf, rows=rows: leaf[rows], states))

    def train(self, program: EpochProgram, chosen: list[list[int]]) -> tuple[list[LaneResults], float]:
        """Run one epoch of the trials chosen on each device; the pools are left as they are. Also return seconds."""
        started = time.perf_counter()
        jobs = [
            (shard, *shard.lanes(chosen, program.lanes, self._slot_table))
            for shard in self.shards
            if any(chosen[device] for device in shard.devices)
        ]

        def train(job: tuple[Shard, list[int], np.ndarray]) -> LaneResults:
            shard, trials, slots = job
            return shard.train(program, trials, slots, self._slot_table.epochs)

        alone = 0 if program in self._compiled else 1  # the first call of a new program compiles it for all threads
        parts = [*map(train, jobs[:alone]), *self._threads.map(train, jobs[alone:])]
        self._compiled.add(program)
        return parts, time.perf_counter() - started


def same_bits(results: list[LaneResults], others: list[LaneResults]) -> bool:
    """Return whether every trial has the same states and rows in both, bit for bit."""
    a, b = _rows_by_trial(results), _rows_by_trial(others)
    return a.keys() == b.keys() and all(a[trial] == b[trial] for trial in a)


def _rows_by_trial(parts: list[LaneResults]) -> dict[int, list[bytes]]:
    """Return the bytes of every leaf of each trial's state and row."""
    rows = {}
    for part in parts:
        columns = {name: np.array(column) for name, column in part.columns.items()}
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get((part.states, columns)))]
        rows |= {
            trial: [leaf[lane].tobytes() for leaf in leaves] for lane, trial in enumerate(part.trials) if trial >= 0
        }
    return rows
