"""Train a queue of trials through the seats of one population, round by round.

A round is one epoch of some of the trials in seats: the program that trains most trials a second is run on the trials
that fill it best, on a CPU by several threads with trials of their own. The host is asked once a round, for one small
row a trial.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from modjax._util.threads import Threads
from modjax.training.batch_layout import Layout
from modjax.training.checkpoint import SeatedTrial, Snapshot
from modjax.training.config import TrainConfig
from modjax.training.events import EpochReport, FinishedTrial, TrialCallback, Verdict, ask
from modjax.training.objective import Task
from modjax.training.programs import COPY, Variant, make_mesh, put, state_shapes
from modjax.training.schedule import RUNNING, STATUS_NAMES
from modjax.training.selector import Variants, is_out_of_memory
from modjax.training.shard import Crew, Part, same_bits
from modjax.training.slots import Seating
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
        callback: Asked after every epoch of every trial whether it goes on.
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
        callback: TrialCallback | None = None,
    ) -> None:
        self._callback = callback
        self._columns, self._structure = jax.tree.flatten(jax.tree.map(np.asarray, hyperparams))
        self._seeds, self._layout = seeds, layout
        self._variants = Variants(Variant(layout.lanes, layout.is_paired), layout.is_fixed)
        self._running: dict[int, _Progress] = {}
        self._messages: list[str] = []
        self._saved: dict[int, tuple[SeatedTrial, Any]] = {}
        mesh = make_mesh(layout.num_devices)
        num_places = mesh.size if mesh else layout.num_threads
        seated = resume.trials[: layout.seats * num_places] if resume else ()
        queue = np.arange(len(seeds)) if trials is None else np.asarray(trials, np.int64)
        queue = queue[~np.isin(queue, [one.trial for one in seated])]
        if layout.is_paired:  # trials of one seed side by side in the queue, and so in the seats
            _, first = np.unique(seeds[queue], return_index=True)
            rank = {int(seeds[queue[place]]): place for place in first}
            queue = queue[np.argsort([rank[int(seed)] for seed in seeds[queue]], kind="stable")]
        block = max(layout.lanes, layout.seats // 2) if layout.is_paired else 1
        self._seating = Seating(num_places, layout.seats, queue, seeds, block)
        shapes = state_shapes(task, config.recipe(), hyperparams)
        examples = put(mesh, jax.tree.map(jnp.asarray, examples), COPY)
        self._crews = [
            Crew(task, config.recipe(), mesh, places, layout.seats, shapes, examples, self._values)
            for places in ([list(range(num_places))] if mesh else [[place] for place in range(num_places)])
        ]
        self._threads = Threads(len(self._crews))
        self._compiled: set[Variant] = set()
        if resume and seated:
            self._restore(resume._replace(trials=seated))

    def feed(self, trials: Sequence[int] | np.ndarray, resume: Snapshot | None = None) -> None:
        """Queue more trials; those of ``resume``, these or queued ones, go on from where they were once seated."""
        for row, one in enumerate(resume.trials if resume else ()):
            state = jax.tree.map(lambda leaf, row=row: leaf[row], resume.states if resume else None)
            self._saved[one.trial] = (one, state)
        self._seating.extend(trials)

    def _values(self, trials: Sequence[int] | np.ndarray) -> tuple[np.ndarray, Any]:
        chosen = np.asarray(trials)
        return self._seeds[chosen], self._structure.unflatten([column[chosen] for column in self._columns])

    def _restore(self, resume: Snapshot) -> None:
        chosen: list[list[int]] = [[] for _ in range(self._seating.num_devices)]
        where = {}
        for row, one in enumerate(resume.trials):
            place = int(np.argmin([len(trials) for trials in chosen]))
            chosen[place].append(one.trial)
            where[one.trial] = row
            self._seating.seat(one.trial, place, one.epochs)
            self._running[one.trial] = _Progress(list(one.history), one.seconds)
        self._write(chosen, resume.states, where)

    def _chunks(self, chosen: list[list[int]]) -> Iterator[tuple[Crew, list[int], np.ndarray]]:
        """Trials of each place, by crew, as many at a time as there are lanes."""
        lanes = self._variants.base.lanes
        for start in range(0, max(map(len, chosen)), lanes):
            some = [trials[start : start + lanes] for trials in chosen]
            for crew in self._crews:
                if any(some[place] for place in crew.places):
                    yield crew, *crew.lanes(some, lanes, self._seating)

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
                parts, seconds = self._round()
            except jax.errors.JaxRuntimeError as error:
                if not is_out_of_memory(error) or self._variants.base.lanes == 1:
                    raise
                base = self._variants.halve()
                self._messages.append(
                    f"out of memory: going on with {base.lanes} trials side by side instead of {2 * base.lanes}"
                )
                continue
            yield self._take_in(parts, seconds)

    def _seat_new(self) -> None:
        chosen: list[list[int]] = [[] for _ in range(self._seating.num_devices)]
        resumed: list[list[int]] = [[] for _ in range(self._seating.num_devices)]
        states, row = [], {}
        for trial, place, _ in self._seating.fill():
            if trial in self._saved:
                one, state = self._saved.pop(trial)
                self._seating.epochs[trial] = one.epochs
                self._running[trial] = _Progress(list(one.history), one.seconds)
                resumed[place].append(trial)
                row[trial] = len(states)
                states.append(state)
            else:
                chosen[place].append(trial)
                self._running[trial] = _Progress()
        if states:
            self._write(resumed, jax.tree.map(lambda *leaves: np.stack(leaves), *states), row)
        for crew, trials, seats in self._chunks(chosen):
            crew.seat(trials, seats)
        if self._layout.is_paired:
            self._rebalance()

    def _rebalance(self) -> None:
        """Move trials to places that have none left to train."""
        moved = self._seating.rebalance(self._variants.base.lanes)
        for source in self._crews:
            mine = [(trial, place) for trial, place in moved if place[0] in source.places]
            if not mine:
                continue
            states = source.states([place for _, place in mine])
            row = {trial: index for index, (trial, _) in enumerate(mine)}
            chosen: list[list[int]] = [[] for _ in range(self._seating.num_devices)]
            for trial in row:
                chosen[self._seating.place(trial)[0]].append(trial)
            self._write(chosen, states, row)

    def _write(self, chosen: list[list[int]], states: Any, row: dict[int, int]) -> None:
        """Write rows of ``states`` on the host into the seats of trials."""
        for crew, trials, seats in self._chunks(chosen):
            rows = np.array([row.get(trial, 0) for trial in trials])
            crew.write(seats, jax.tree.map(lambda leaf, rows=rows: leaf[rows], states))

    def _round(self) -> tuple[list[Part], float]:
        variant = self._variants.choose(self._seating)
        if not self._variants.is_known(variant):
            return self._try_out(variant)
        parts, seconds = self._call(variant, self._variants.plan(variant, self._seating))
        self._variants.took(variant, seconds)
        return parts, seconds

    def _try_out(self, variant: Variant) -> tuple[list[Part], float]:
        """A round by the base, whose results count, and the same by a new variant: are its bits the same?"""
        base = self._variants.base
        chosen = [trials[: variant.lanes] for trials in self._variants.plan(base, self._seating)]
        parts, seconds = self._call(base, chosen)
        self._variants.took(base, seconds)
        is_same, tried = False, time.perf_counter()
        try:
            is_same = same_bits(parts, self._call(variant, chosen)[0])
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self._variants.judge(variant, is_same, time.perf_counter() - tried)
        return parts, seconds

    def _call(self, variant: Variant, chosen: list[list[int]]) -> tuple[list[Part], float]:
        """One epoch of the chosen trials of every place; the pools are as they were."""
        started = time.perf_counter()
        jobs = [
            (crew, *crew.lanes(chosen, variant.lanes, self._seating))
            for crew in self._crews
            if any(chosen[place] for place in crew.places)
        ]

        def train(job: tuple[Crew, list[int], np.ndarray]) -> Part:
            crew, trials, seats = job
            return crew.train(variant, trials, seats, self._seating.epochs)

        alone = 0 if variant in self._compiled else 1  # a new program is compiled once, by the first
        parts = [*map(train, jobs[:alone]), *self._threads.map(train, jobs[alone:])]
        self._compiled.add(variant)
        return parts, time.perf_counter() - started

    def _take_in(self, parts: list[Part], seconds: float) -> EpochReport:
        num_trained = sum(trial >= 0 for part in parts for trial in part.trials)
        rows: dict[int, Row] = {}
        finished = []
        crews = {place: crew for crew in self._crews for place in crew.places}
        for part in parts:
            living = [(lane, trial) for lane, trial in enumerate(part.trials) if trial >= 0]
            crew = crews[self._seating.place(living[0][1])[0]]
            crew.write(part.seats, part.states)
            ended = []
            for lane, trial in living:
                row = {name: values[lane] for name, values in part.columns.items()}
                status, best_epoch = row.pop("status"), row.pop("best_epoch")
                rows[trial] = row
                progress = self._running[trial]
                progress.history.append(row)
                progress.seconds += seconds / num_trained
                self._seating.epochs[trial] += 1
                verdict = ask(self._callback, trial, row)
                if status != RUNNING and verdict.status != "failed":
                    verdict = Verdict(STATUS_NAMES[status])
                if verdict.status:
                    ended.append((trial, lane, verdict, best_epoch))
            finished += self._finish(crew, ended, part)
        messages, self._messages = tuple(self._messages), []
        num_lanes = len(parts[0].trials) * len(self._crews)  # those of a thread without trials idle too
        return EpochReport(rows, finished, self._seating.num_waiting, messages, num_lanes, self._seating.num_living)

    def _finish(self, crew: Crew, ended: list[tuple[int, int, Verdict, int]], part: Part) -> list[FinishedTrial]:
        if not ended:
            return []
        weights = crew.read((part.states.best_params, part.states.params), [lane for _, lane, _, _ in ended])
        finished = []
        for (trial, _, verdict, best_epoch), (best, last) in zip(ended, weights, strict=True):
            progress = self._running.pop(trial)
            self._seating.release(trial)
            told = (progress.history, verdict.status, best_epoch, progress.seconds, verdict.reason)
            finished.append(FinishedTrial(trial, best, last, *told))
        return finished

    def snapshot(self) -> Snapshot:
        """The trials in seats, on the host."""
        states, seated = [], []
        for crew in self._crews:
            mine = [trial for trial in self._running if self._seating.place(trial)[0] in crew.places]
            states.append(crew.states([self._seating.place(trial) for trial in mine]))
            seated += [
                SeatedTrial(
                    trial,
                    self._seating.epochs[trial],
                    self._running[trial].seconds,
                    list(self._running[trial].history),  # a copy: it is written while training goes on
                )
                for trial in mine
            ]
        return Snapshot(jax.tree.map(lambda *leaves: np.concatenate(leaves), *states), tuple(seated))
