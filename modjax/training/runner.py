"""Train a queue of trials through the slots of one population, round by round.

A round is one epoch of some of the trials in slots: the program that trains most trials per second is run on the trials
that fill it best, on a CPU by several threads with trials of their own. The host is involved once per round, for one
small row per trial.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from modjax.training.batch_layout import BatchLayout
from modjax.training.checkpoint import Snapshot, TrialSnapshot
from modjax.training.config import TrainConfig
from modjax.training.events import EpochReport, FinishedTrial, TrialCallback, Verdict, ask
from modjax.training.halving import Rungs
from modjax.training.host_states import HostStates
from modjax.training.objective import Task
from modjax.training.programs import COPY, EpochProgram, make_mesh, put, start_one, state_shapes
from modjax.training.schedule import RUNNING, STATUS_NAMES, may_go_on
from modjax.training.selector import ProgramSelector, is_out_of_memory
from modjax.training.shard import LaneResults, Shard, Shards, same_bits
from modjax.training.slots import SlotTable, by_seed
from modjax.training.trial import TrialState
from modjax.types import Examples, Params, Row, TrialValues


@dataclass
class _Progress:
    """History and training time of a trial in a slot, kept by the host."""

    history: list[Row] = field(default_factory=list)
    seconds: float = 0.0


class PopulationRun:
    """Trials in training: :meth:`rounds` trains them, :meth:`snapshot` returns what is needed to go on from here.

    Args:
        task: The task, as pure functions of one trial.
        hyperparams: Tree of ``[trials]`` arrays.
        seeds: Seeds ``[trials]``, uint32.
        examples: Tree of arrays with a leading axis of examples.
        config: Static settings.
        layout: Slots and programs.
        trials: Indices of the trials to train, in this order; None trains all.
        resume: Snapshot of trials in training, which go on from there.
        callback: Function called after every epoch of every trial, which says whether the trial ends.
        rungs: Decisions of successive halving; None lets every trial train to its end.
        on_slot: Function called with a trial before its first epoch; it may write to ``hyperparams``.
        initial: Weights ``[trials ...]`` to start from, in place of those of the task's ``init``.
        keeps_states: Whether trials that end with the last epoch come with their state, to be trained for more.
    """

    def __init__(
        self,
        task: Task,
        hyperparams: TrialValues,
        seeds: np.ndarray,
        examples: Examples,
        config: TrainConfig,
        layout: BatchLayout,
        trials: Sequence[int] | np.ndarray | None = None,
        resume: Snapshot | None = None,
        callback: TrialCallback | None = None,
        rungs: Rungs | None = None,
        on_slot: Callable[[int], None] | None = None,
        initial: Params | None = None,
        keeps_states: bool = False,
    ) -> None:
        self._on_slot, self._initial, self._keeps_states = on_slot, initial, keeps_states
        self._task, self._config = task, config
        self._callback, self._host = callback, HostStates(rungs, None if initial is None else self._started)
        self._columns, self._structure = jax.tree.flatten(jax.tree.map(np.asarray, hyperparams))
        self._seeds, self._layout = seeds, layout
        self._selector = ProgramSelector(EpochProgram(layout.lanes, layout.is_paired), layout.is_fixed)
        self._running: dict[int, _Progress] = {}
        self._messages: list[str] = []
        mesh = make_mesh(layout.num_devices)
        num_devices = mesh.size if mesh else layout.num_threads
        # A snapshot may hold more trials than there are slots: after rungs, and where trials get more epochs.
        num_resumed = layout.slots * num_devices if resume and not rungs else 0
        resumed, others = resume.split(num_resumed) if resume else (None, None)
        queue = np.arange(len(seeds)) if trials is None else np.asarray(trials, np.int64)
        queue = queue[~np.isin(queue, [kept.trial for kept in resumed.trials] if resumed else [])]
        self._host.add(others)
        queue = np.array(self._host.order(queue.tolist()), np.int64)
        queue = by_seed(queue, seeds) if layout.is_paired else queue
        block = max(layout.lanes, layout.slots // 2) if layout.is_paired else 1
        self._slot_table = SlotTable(num_devices, layout.slots, queue, seeds, block)
        shapes = state_shapes(task, config.recipe(), hyperparams)
        examples = put(mesh, jax.tree.map(jnp.asarray, examples), COPY)
        each = [list(range(num_devices))] if mesh else [[device] for device in range(num_devices)]
        static = (task, config.recipe(), mesh)
        shards = [Shard(*static, devices, layout.slots, shapes, examples, self._values) for devices in each]
        self._shards = Shards(self._slot_table, shards)
        if resumed is not None:
            self._restore(resumed)

    def feed(self, trials: Sequence[int] | np.ndarray, resume: Snapshot | None = None) -> None:
        """Queue more trials; those in ``resume``, new or queued already, go on from there once they have a slot."""
        self._host.add(resume)
        self._slot_table.extend(trials)

    def _values(self, trials: Sequence[int] | np.ndarray) -> tuple[np.ndarray, Any]:
        chosen = np.asarray(trials)
        return self._seeds[chosen], self._structure.unflatten([column[chosen] for column in self._columns])

    def _restore(self, resume: Snapshot) -> None:
        chosen: list[list[int]] = [[] for _ in range(self._slot_table.num_devices)]
        rows = {}
        for row, kept in enumerate(resume.trials):
            device = int(np.argmin([len(trials) for trials in chosen]))
            chosen[device].append(kept.trial)
            rows[kept.trial] = row
            self._slot_table.assign(kept.trial, device, kept.epochs)
            self._running[kept.trial] = _Progress(list(kept.history), kept.seconds)
        self._shards.write(self._lanes, chosen, resume.states, rows)

    @property
    def _lanes(self) -> int:
        return self._selector.base.lanes

    @property
    def programs(self) -> list[EpochProgram]:
        """The program of the layout, followed by those found to give the same bits."""
        return self._selector.used

    def rounds(self) -> Iterator[EpochReport]:
        """Train to the end; every trial is in ``finished`` of exactly one report."""
        if stopped := self._leave_rungs():  # of a run that was interrupted here
            yield EpochReport({}, stopped, self._slot_table.num_waiting, num_training=self._num_training)
        while True:
            self._fill_slots()
            if not self._slot_table.num_living:
                return
            try:
                parts, seconds = self._round()
            except jax.errors.JaxRuntimeError as error:
                if not is_out_of_memory(error) or self._selector.base.lanes == 1:
                    raise
                base = self._selector.halve()
                self._messages.append(
                    f"out of memory: going on with {base.lanes} trials side by side instead of {2 * base.lanes}"
                )
                continue
            yield self._take_in(parts, seconds)

    def _fill_slots(self) -> None:
        chosen: list[list[int]] = [[] for _ in range(self._slot_table.num_devices)]
        resumed: list[list[int]] = [[] for _ in range(self._slot_table.num_devices)]
        states, row = [], {}
        for trial, device, _ in self._slot_table.fill():
            if self._on_slot is not None:
                self._on_slot(trial)
            kept, state = self._host.take(trial)
            if kept is not None:
                self._slot_table.epochs[trial] = kept.epochs
                self._running[trial] = _Progress(list(kept.history), kept.seconds)
                resumed[device].append(trial)
                row[trial] = len(states)
                states.append(state)
            else:
                chosen[device].append(trial)
                self._running[trial] = _Progress()
        if states:
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
            self._shards.write(self._lanes, resumed, stacked, row)
        self._shards.init(self._lanes, chosen)
        if self._layout.is_paired:
            self._rebalance()

    def _started(self, trial: int) -> TrialState:
        """Return the state before the first epoch of a trial that starts from given weights."""
        weights = jax.tree.map(lambda leaf: jnp.asarray(leaf[trial]), self._initial)
        values = jax.tree.map(lambda column: jnp.asarray(column[0]), self._values([trial])[1])
        return jax.device_get(start_one(self._task, self._config.recipe(), weights, values))

    def _rebalance(self) -> None:
        """Move trials to devices that have none left to train, states and all."""
        moved = self._slot_table.rebalance(self._lanes)
        for source in self._shards.shards:
            mine = [(trial, slot) for trial, slot in moved if slot[0] in source.devices]
            if not mine:
                continue
            states = source.states([slot for _, slot in mine])
            row = {trial: index for index, (trial, _) in enumerate(mine)}
            chosen: list[list[int]] = [[] for _ in range(self._slot_table.num_devices)]
            for trial in row:
                chosen[self._slot_table.slot_of(trial)[0]].append(trial)
            self._shards.write(self._lanes, chosen, states, row)

    def _round(self) -> tuple[list[LaneResults], float]:
        program = self._selector.choose(self._slot_table)
        if not self._selector.is_known(program):
            return self._try_out(program)
        parts, seconds = self._shards.train(program, self._selector.plan(program, self._slot_table))
        self._selector.took(program, seconds)
        return parts, seconds

    def _try_out(self, program: EpochProgram) -> tuple[list[LaneResults], float]:
        """Run a round by the base, whose results count, and by a new program, to see whether its bits are the same."""
        base = self._selector.base
        chosen = [trials[: program.lanes] for trials in self._selector.plan(base, self._slot_table)]
        parts, seconds = self._shards.train(base, chosen)
        self._selector.took(base, seconds)
        is_same, tried = False, time.perf_counter()
        try:
            is_same = same_bits(parts, self._shards.train(program, chosen)[0])
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self._selector.judge(program, is_same, time.perf_counter() - tried)
        return parts, seconds

    def _take_in(self, parts: list[LaneResults], seconds: float) -> EpochReport:
        """Write a round's states into the slots, ask the callback, and free the slots of trials that ended."""
        num_trained = sum(trial >= 0 for part in parts for trial in part.trials)
        rows: dict[int, Row] = {}
        finished = []
        for part in parts:
            living = [(lane, trial) for lane, trial in enumerate(part.trials) if trial >= 0]
            shard = self._shards.of_device(self._slot_table.slot_of(living[0][1])[0])
            shard.write(part.slots, part.states)  # only now: a round that ran out of memory changes nothing
            ended, at_rung = [], []
            for lane, trial in living:
                row = rows[trial] = {name: values[lane] for name, values in part.columns.items()}
                status, best_epoch = int(row.pop("status")), int(row.pop("best_epoch"))
                progress = self._running[trial]
                progress.history.append(row)
                progress.seconds += seconds / num_trained
                self._slot_table.epochs[trial] += 1
                verdict = ask(self._callback, trial, row)
                # A callback that raised outweighs the training's own status, which outweighs its "done".
                if status != RUNNING and verdict.status != "failed":
                    verdict = verdict._replace(status=STATUS_NAMES[status])
                if verdict.status:
                    ended.append((trial, lane, verdict, best_epoch))
                elif self._host.is_at_rung(self._slot_table.epochs[trial]):
                    at_rung.append((trial, lane))
            finished += self._finish(shard, ended, part)
            self._wait_at_rung(shard, at_rung, part)
        finished += self._leave_rungs()
        messages, self._messages = tuple(self._messages), []
        num_lanes = len(parts[0].trials) * len(self._shards.shards)  # the lanes of a thread without trials idle too
        return EpochReport(rows, finished, self._slot_table.num_waiting, messages, num_lanes, self._num_training)

    @property
    def _num_training(self) -> int:
        return self._slot_table.num_living + len(self._host)

    def _finish(
        self, shard: Shard, ended: list[tuple[int, int, Verdict, int]], part: LaneResults
    ) -> list[FinishedTrial]:
        if not ended:
            return []
        lanes = [lane for _, lane, *_ in ended]
        weights = shard.read((part.states.best_params, part.states.params), lanes)
        states = shard.read(part.states, lanes) if self._keeps_states else [None] * len(lanes)
        finished = []
        for (trial, _, verdict, best_epoch), (best, last), state in zip(ended, weights, states, strict=True):
            progress = self._running.pop(trial)
            self._slot_table.release(trial)
            outcome = (progress.history, verdict.status, best_epoch, progress.seconds, verdict.reason)
            is_cut_short = state is not None and not verdict.is_by_callback and may_go_on(self._config, state.stopping)
            finished.append(FinishedTrial(trial, best, last, *outcome, state if is_cut_short else None))
            self._host.end(finished[-1])
        return finished

    def _wait_at_rung(self, shard: Shard, at_rung: list[tuple[int, int]], part: LaneResults) -> None:
        """Move trials that have reached a rung to the host, which frees their slots."""
        states = shard.read(part.states, [lane for _, lane in at_rung]) if at_rung else []
        for (trial, _), state in zip(at_rung, states, strict=True):
            self._host.wait(self._kept(trial), state)
            del self._running[trial]
            self._slot_table.release(trial)

    def _leave_rungs(self) -> list[FinishedTrial]:
        going, stopped = self._host.decide()
        self._slot_table.extend(going)
        return stopped

    def _kept(self, trial: int) -> TrialSnapshot:
        progress = self._running[trial]
        # A copy of the history, as it is written while training goes on.
        return TrialSnapshot(trial, self._slot_table.epochs[trial], progress.seconds, list(progress.history))

    def snapshot(self) -> Snapshot:
        """Return the trials in training, in slots or not, on the host."""
        parts = [self._host.snapshot()] if len(self._host) else []
        for shard in self._shards.shards:
            mine = [trial for trial in self._running if self._slot_table.slot_of(trial)[0] in shard.devices]
            states = shard.states([self._slot_table.slot_of(trial) for trial in mine])
            parts.append(Snapshot(states, tuple(map(self._kept, mine))))
        return Snapshot.join(parts)
