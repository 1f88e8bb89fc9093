"""Train a queue of trials through the seats of one population, round by round.

A round is one epoch of some of the trials in seats: the program that trains most trials a second is run on the trials
that fill it best. The host is asked once a round, for one small row a trial.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from modjax.training.config import TrainConfig
from modjax.training.events import EpochReport, FinishedTrial
from modjax.training.layout import Layout
from modjax.training.objective import Task
from modjax.training.population import (
    COPY,
    Variant,
    init_pool,
    make_mesh,
    put,
    read_lanes,
    seat_lanes,
    state_shapes,
    train_epoch,
    write_seats,
)
from modjax.training.schedule import RUNNING, STATUS_NAMES
from modjax.training.seating import Seating
from modjax.training.snapshot import SeatedTrial, Snapshot
from modjax.training.trial import Clock, TrialState
from modjax.training.variants import Variants, is_out_of_memory, same_bits
from modjax.types import Examples, Row


@dataclass
class _Progress:
    """What the host keeps of a trial in a seat."""

    history: list[Row] = field(default_factory=list)
    seconds: float = 0.0


class PopulationRun:
    """Trials in training; :meth:`rounds` trains them, :meth:`snapshot` is everything needed to go on from here.

    Args:
        task: Pure functions of one trial.
        hyperparams: Tree of ``[trials]`` arrays.
        seeds: ``[trials]``, uint32.
        examples: Tree of arrays with a leading axis of examples.
        config: Static settings.
        layout: Seats and programs.
        trials: Which trials to train, in this order; all, where None.
        resume: Trials in training that go on from where they were.
    """

    def __init__(
        self,
        task: Task,
        hyperparams: Any,
        seeds: np.ndarray,
        examples: Examples,
        config: TrainConfig,
        layout: Layout,
        trials: Sequence[int] | np.ndarray | None = None,
        resume: Snapshot | None = None,
    ) -> None:
        self._task, self._config, self._layout = task, config.recipe(), layout
        self._columns, self._structure = jax.tree.flatten(jax.tree.map(np.asarray, hyperparams))
        self._hyperparams, self._seeds = hyperparams, seeds
        self._variants = Variants(Variant(layout.lanes, layout.is_paired), layout.is_fixed)
        self._running: dict[int, _Progress] = {}
        self._messages: list[str] = []
        self._mesh = make_mesh(layout.num_devices)
        seated = resume.trials[: layout.seats * self._num_devices] if resume else ()
        queue = np.arange(len(seeds)) if trials is None else np.asarray(trials, np.int64)
        queue = queue[~np.isin(queue, [one.trial for one in seated])]
        if layout.is_paired:  # trials of one seed side by side in the queue, and so in the seats
            _, first = np.unique(seeds[queue], return_index=True)
            rank = {int(seeds[queue[place]]): place for place in first}
            queue = queue[np.argsort([rank[int(seed)] for seed in seeds[queue]], kind="stable")]
        self._examples = put(self._mesh, jax.tree.map(jnp.asarray, examples), COPY)
        block = layout.lanes if layout.is_paired else 1
        self._seating = Seating(self._num_devices, layout.seats, queue, seeds, block)
        self._pool = self._empty_pool()
        if resume and seated:
            self._restore(resume._replace(trials=seated))

    def _empty_pool(self) -> TrialState:
        """Zeros in all seats, and in one more on each device for lanes that idle."""
        shapes = state_shapes(self._task, self._config, self._hyperparams)
        return init_pool(self._mesh, shapes, self._num_devices * (self._layout.seats + 1))

    def _values(self, trials: Sequence[int] | np.ndarray) -> tuple[np.ndarray, Any]:
        chosen = np.asarray(trials)
        return self._seeds[chosen], self._structure.unflatten([column[chosen] for column in self._columns])

    def _restore(self, resume: Snapshot) -> None:
        chosen: list[list[int]] = [[] for _ in range(self._num_devices)]
        where = {}
        for row, one in enumerate(resume.trials):
            device = int(np.argmin([len(trials) for trials in chosen]))
            chosen[device].append(one.trial)
            where[one.trial] = row
            self._seating.seat(one.trial, device, one.epochs)
            self._running[one.trial] = _Progress(list(one.history), one.seconds)
        for chunk in self._chunks(chosen):
            lanes, seats = self._lanes(chunk)
            rows = np.array([where.get(trial, 0) for trial in lanes])
            values = jax.tree.map(lambda leaf, rows=rows: leaf[rows], resume.states)
            self._pool = write_seats(self._mesh, self._pool, put(self._mesh, seats), put(self._mesh, values))

    @property
    def _num_devices(self) -> int:
        return self._mesh.size if self._mesh else 1

    def _chunks(self, chosen: list[list[int]]) -> Iterator[list[list[int]]]:
        """Trials of each device, as many at a time as there are lanes."""
        lanes = self._variants.base.lanes
        for start in range(0, max(map(len, chosen)), lanes):
            yield [trials[start : start + lanes] for trials in chosen]

    def _lanes(self, chosen: list[list[int]], lanes: int | None = None) -> tuple[list[int], np.ndarray]:
        """The trial (-1: idle) and the seat of every lane."""
        lanes = lanes or self._variants.base.lanes
        trials, seats = [], np.full(lanes * len(chosen), self._layout.seats, np.int32)
        for device, mine in enumerate(chosen):
            for lane, trial in enumerate(mine):
                seats[device * lanes + lane] = self._seating.place(trial)[1]
            trials += mine + [-1] * (lanes - len(mine))
        return trials, seats

    @property
    def programs(self) -> list[Variant]:
        """The program of the layout first, then those found to give the same bits."""
        return self._variants.used

    def rounds(self) -> Iterator[EpochReport]:
        """Train to the end; every trial is in the ``finished`` of exactly one report."""
        while True:
            self._seat_new()
            if not self._seating.num_living:
                return
            try:
                variant, chosen, states, columns, seconds = self._round()
            except jax.errors.JaxRuntimeError as error:
                if not is_out_of_memory(error) or self._variants.base.lanes == 1:
                    raise
                base = self._variants.halve()
                self._messages.append(
                    f"out of memory: going on with {base.lanes} trials side by side instead of {2 * base.lanes}"
                )
                continue
            yield self._take_in(variant, chosen, states, columns, seconds)

    def _seat_new(self) -> None:
        filled = self._seating.fill()
        if not filled:
            return
        chosen: list[list[int]] = [[] for _ in range(self._num_devices)]
        for trial, device, _ in filled:
            chosen[device].append(trial)
            self._running[trial] = _Progress()
        for chunk in self._chunks(chosen):
            trials, seats = self._lanes(chunk)
            new = put(self._mesh, (seats, *self._values(np.maximum(trials, 0))))
            self._pool = seat_lanes(self._task, self._config, self._mesh, self._pool, *new)

    def _round(self) -> tuple[Variant, list[list[int]], TrialState, dict[str, list], float]:
        variant = self._variants.choose(self._seating)
        if not self._variants.is_known(variant):
            return self._try_out(variant)
        chosen = self._variants.plan(variant, self._seating)
        states, columns, seconds = self._call(variant, chosen)
        self._variants.took(variant, seconds)
        return variant, chosen, states, columns, seconds

    def _try_out(self, variant: Variant) -> tuple[Variant, list[list[int]], TrialState, dict[str, list], float]:
        """A round by the base, whose results count, and the same by a new variant: are its bits the same?"""
        base = self._variants.base
        chosen = [trials[: variant.lanes] for trials in self._variants.plan(base, self._seating)]
        states, columns, seconds = self._call(base, chosen)
        self._variants.took(base, seconds)
        is_same, tried = False, time.perf_counter()
        try:
            other_states, other_columns, _ = self._call(variant, chosen)
            lanes = [
                (device * base.lanes + lane, device * variant.lanes + lane)
                for device, trials in enumerate(chosen)
                for lane in range(len(trials))
            ]
            is_same = same_bits(_arrays(states, columns), _arrays(other_states, other_columns), lanes)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self._variants.judge(variant, is_same, time.perf_counter() - tried)
        return base, chosen, states, columns, seconds

    def _call(self, variant: Variant, chosen: list[list[int]]) -> tuple[TrialState, dict[str, list], float]:
        """One epoch of the chosen trials; the pool is as it was."""
        started = time.perf_counter()
        trials, seats = self._lanes(chosen, variant.lanes)
        idle = next(trial for trial in trials if trial >= 0)
        shown = np.array([trial if trial >= 0 else idle for trial in trials])
        seeds, hyperparams = self._values(shown)
        epochs = np.array([self._seating.epochs[trial] for trial in shown], np.int32)
        step = variant.lanes if variant.is_paired else 1
        clocks = Clock(*put(self._mesh, (seeds[::step], epochs[::step])))
        seats, hyperparams = put(self._mesh, (seats, hyperparams))
        programs = (self._task, self._config, variant.is_paired, self._mesh)
        states, table = train_epoch(*programs, clocks, self._pool, seats, hyperparams, self._examples)
        return states, table.lists(), time.perf_counter() - started

    def _take_in(
        self,
        variant: Variant,
        chosen: list[list[int]],
        states: TrialState,
        columns: dict[str, list],
        seconds: float,
    ) -> EpochReport:
        trials, seats = self._lanes(chosen, variant.lanes)
        self._pool = write_seats(self._mesh, self._pool, put(self._mesh, seats), states)
        num_trained = sum(map(len, chosen))
        rows: dict[int, Row] = {}
        ended = []
        for lane, trial in enumerate(trials):
            if trial < 0:
                continue
            row = {name: values[lane] for name, values in columns.items()}
            status, best_epoch = row.pop("status"), row.pop("best_epoch")
            rows[trial] = row
            progress = self._running[trial]
            progress.history.append(row)
            progress.seconds += seconds / num_trained
            self._seating.epochs[trial] += 1
            if status != RUNNING:
                ended.append((trial, lane, STATUS_NAMES[status], best_epoch))
        finished = self._finish(ended, states) if ended else []
        messages, self._messages = tuple(self._messages), []
        return EpochReport(rows, finished, self._seating.num_waiting, messages, len(trials), self._seating.num_living)

    def _finish(self, ended: list[tuple[int, int, str, int]], states: TrialState) -> list[FinishedTrial]:
        weights = (states.best_params, states.params)
        lanes = [lane for _, lane, _, _ in ended]
        if self._mesh is None and jax.default_backend() != "cpu":  # only what is asked for crosses the bus
            padded = np.resize(np.array(lanes, np.int32), 1 << (len(lanes) - 1).bit_length())
            weights, lanes = read_lanes(weights, padded), list(range(len(lanes)))
        weights = jax.device_get(weights)
        finished = []
        for (trial, _, status, best_epoch), row in zip(ended, lanes, strict=True):
            best, last = jax.tree.map(lambda leaf, row=row: np.array(leaf[row]), weights)
            progress = self._running.pop(trial)
            self._seating.release(trial)
            finished.append(FinishedTrial(trial, best, last, progress.history, status, best_epoch, progress.seconds))
        return finished

    def snapshot(self) -> Snapshot:
        """The trials in seats, on the host."""
        pool = jax.device_get(self._pool)
        trials = list(self._running)
        places = [self._seating.place(trial) for trial in trials]
        rows = np.array([device * (self._layout.seats + 1) + seat for device, seat in places], np.int64)
        seated = tuple(
            SeatedTrial(trial, self._seating.epochs[trial], self._running[trial].seconds, self._running[trial].history)
            for trial in trials
        )
        return Snapshot(jax.tree.map(lambda leaf: leaf[rows], pool), seated)


def _arrays(states: TrialState, columns: dict[str, list]) -> Any:
    return states, {name: np.array(column) for name, column in columns.items()}
