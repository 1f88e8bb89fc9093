"""Seats that one program serves: those of all devices of a mesh, or one thread's share of a single device.

XLA runs a small matrix product on one thread of a CPU, however many there are. Two programs side by side, each called
from a thread of its own with trials of its own, keep two cores busy where one program kept one: 1.4 times as fast for
the paper's network on two cores.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from modjax.training.config import TrainConfig
from modjax.training.objective import Task
from modjax.training.programs import Variant, init_pool, put, read_lanes, seat_lanes, train_epoch, write_seats
from modjax.training.slots import Seating
from modjax.training.trial import Clock, TrialState
from modjax.types import Examples

Values = Callable[[Any], tuple[np.ndarray, Any]]


class Part(NamedTuple):
    """What one call of a program made.

    Attributes:
        trials: The trial of every lane; -1: idle.
        seats: The seat of every lane.
        states: ``[lanes ...]``.
        columns: Rows of the history.
    """

    trials: list[int]
    seats: np.ndarray
    states: TrialState
    columns: dict[str, list]


class Crew:
    """A pool of seats on some places, and the calls that work on it.

    Args:
        task: Pure functions of one trial.
        config: Static settings.
        mesh: Devices, or None for one.
        places: Places of the seating that belong to it, one a device.
        num_seats: Seats on each place; one more is there for lanes that idle.
        shapes: Tree of one trial's state.
        examples: On the devices.
        values: ``values(trials) -> seeds, hyperparams``.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        mesh: Mesh | None,
        places: list[int],
        num_seats: int,
        shapes: TrialState,
        examples: Examples,
        values: Values,
    ) -> None:
        self._task, self._config, self._mesh = task, config, mesh
        self.places, self._num_seats = places, num_seats
        self._examples, self._values = examples, values
        self._pool = init_pool(mesh, shapes, len(places) * (num_seats + 1))

    def lanes(self, chosen: list[list[int]], lanes: int, seating: Seating) -> tuple[list[int], np.ndarray]:
        """The trial (-1: idle) and the seat of every lane, of trials ``chosen`` on each place of the seating."""
        trials, seats = [], np.full(lanes * len(self.places), self._num_seats, np.int32)
        for device, mine in enumerate(chosen[place] for place in self.places):
            for lane, trial in enumerate(mine):
                seats[device * lanes + lane] = seating.place(trial)[1]
            trials += mine + [-1] * (lanes - len(mine))
        return trials, seats

    def seat(self, trials: list[int], seats: np.ndarray) -> None:
        """Put trials before their first epoch into their seats."""
        new = put(self._mesh, (seats, *self._values(np.maximum(trials, 0))))
        self._pool = seat_lanes(self._task, self._config, self._mesh, self._pool, *new)

    def train(self, variant: Variant, trials: list[int], seats: np.ndarray, epochs: dict[int, int]) -> Part:
        """One epoch of the trials in lanes; the pool is as it was."""
        idle = next(trial for trial in trials if trial >= 0)
        shown = np.array([trial if trial >= 0 else idle for trial in trials])
        seeds, hyperparams = self._values(shown)
        ages = np.array([epochs[trial] for trial in shown], np.int32)
        step = variant.lanes if variant.is_paired else 1
        clocks = Clock(*put(self._mesh, (seeds[::step], ages[::step])))
        where, hyperparams = put(self._mesh, (seats, hyperparams))
        programs = (self._task, self._config, variant.is_paired, self._mesh)
        states, table = train_epoch(*programs, clocks, self._pool, where, hyperparams, self._examples)
        return Part(trials, seats, states, table.lists())

    def write(self, seats: np.ndarray, states: Any) -> None:
        """Put states into seats."""
        self._pool = write_seats(self._mesh, self._pool, put(self._mesh, seats), put(self._mesh, states))

    def read(self, tree: Any, lanes: list[int]) -> list[Any]:
        """Trees of some lanes, on the host; of an accelerator's memory only what is asked for."""
        if self._mesh is None and jax.default_backend() != "cpu":
            padded = np.resize(np.array(lanes, np.int32), 1 << (len(lanes) - 1).bit_length())
            tree, lanes = read_lanes(tree, padded), list(range(len(lanes)))
        tree = jax.device_get(tree)
        return [jax.tree.map(lambda leaf, lane=lane: np.array(leaf[lane]), tree) for lane in lanes]

    def states(self, places: list[tuple[int, int]]) -> TrialState:
        """``[trials ...]`` on the host: the states at so many (place, seat) of this crew."""
        first = self.places[0]
        rows = np.array([(place - first) * (self._num_seats + 1) + seat for place, seat in places], np.int64)
        return jax.tree.map(lambda leaf: leaf[rows], jax.device_get(self._pool))


def same_bits(one: list[Part], other: list[Part]) -> bool:
    """Whether every trial has the same states and rows in both, bit for bit."""
    a, b = _rows_by_trial(one), _rows_by_trial(other)
    return a.keys() == b.keys() and all(a[trial] == b[trial] for trial in a)


def _rows_by_trial(parts: list[Part]) -> dict[int, list[bytes]]:
    found = {}
    for part in parts:
        columns = {name: np.array(column) for name, column in part.columns.items()}
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get((part.states, columns)))]
        found |= {
            trial: [leaf[lane].tobytes() for leaf in leaves] for lane, trial in enumerate(part.trials) if trial >= 0
        }
    return found
