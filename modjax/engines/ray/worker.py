"""What runs in a worker of a cluster: a population that is fed, measured and saved where it is; no Ray in here."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from modjax.analysis.modules import stack_matrices
from modjax.engines.base import Measurements, TrainedTrial
from modjax.engines.ray.dispatch import Done, Order
from modjax.engines.snapshots import load_saved
from modjax.spec.context import hyperparams_of, make_context, measure_trial, seeds_of
from modjax.spec.failures import hits_all_trials, reason_of
from modjax.spec.setup import Setup
from modjax.store.manifest import describe_machine
from modjax.training.checkpoint import SnapshotStore
from modjax.training.events import FinishedTrial
from modjax.training.programs import state_shapes
from modjax.training.runner import PopulationRun

ORDER_SECONDS = 1.0


class WorkerJob(NamedTuple):
    """What every worker is told once.

    Attributes:
        setup: Spec and data.
        manifest: The sweep's paths, in the manifest's words.
        slots: Asked for.
        trials: Rows of the trials table.
        snapshot_seconds: Trials in training are saved so often.
        is_double: Whether JAX computes in float64.
    """

    setup: Setup
    manifest: dict[str, Any]
    slots: int | None
    trials: pl.DataFrame
    snapshot_seconds: float
    is_double: bool


class TrialWorker:
    """Trains the trials that it is given, by the sweep's batch layout.

    Args:
        job: Of the sweep.
        folder: Of its own, for snapshots.
    """

    def __init__(self, job: WorkerJob, folder: str) -> None:
        jax.config.update("jax_enable_x64", job.is_double)
        self._rows = job.trials.to_dicts()
        self._names = [row["trial_id"] for row in self._rows]
        hyperparams = hyperparams_of(job.trials)
        context = self._context = make_context(job.setup, job.manifest, job.slots, job.trials)
        self._run = PopulationRun(
            context.task,
            hyperparams,
            seeds_of(job.trials),
            context.train_examples,
            context.config,
            context.population,
            trials=[],
        )
        self._shapes = state_shapes(context.task, context.config.recipe(), hyperparams)
        self._store = SnapshotStore(Path(folder))
        self._seconds, self._saved = job.snapshot_seconds, time.perf_counter()
        self._num_training = 0

    def carry_out(self, order: Order) -> Done:
        """Take in new trials and train for about a second, at least a round; save when it is time to.

        The last order saves, and nothing else.
        """
        if order.is_last:
            self._save()
            self._store.wait()
            return Done([], self._num_training, 0, (), self._programs())
        messages: list[str] = []
        snapshots = load_saved(order.saved, self._names, self._shapes, messages.append) if order.saved else []
        for snapshot in snapshots:
            self._run.feed([], snapshot)
        self._run.feed(order.trials)
        started, num_epochs, self._num_training = time.perf_counter(), 0, 0
        finished: list[TrainedTrial] = []
        for report in self._run.rounds():
            finished += self._measure(report.finished, messages)
            num_epochs += len(report.rows)
            self._num_training = report.num_training
            messages += report.messages
            if time.perf_counter() - started >= ORDER_SECONDS:
                break
        if time.perf_counter() - self._saved >= self._seconds:
            self._save()
        return Done(finished, self._num_training, num_epochs, tuple(messages), self._programs())

    def _save(self) -> None:
        """Save the trials in training, if there are any."""
        if self._num_training:
            self._store.save(self._run.snapshot(), self._names)
            self._saved = time.perf_counter()

    def _programs(self) -> list[dict[str, Any]]:
        return [one._asdict() for one in self._run.programs]

    def _measure(self, trials: list[FinishedTrial], messages: list[str]) -> list[TrainedTrial]:
        """Trials with their numbers and matrices; one that raises is left to the driver, which marks it if it must."""
        # Only the weights that are kept travel: ``last`` is left behind.
        kept = [one._replace(last=one.params) for one in trials]
        try:
            return [TrainedTrial(*pair) for pair in zip(kept, self._measured(trials), strict=True)]
        except Exception as error:
            if hits_all_trials(error):
                raise
            if len(trials) > 1:
                return [found for one in trials for found in self._measure([one], messages)]
            name = self._names[trials[0].trial]
            messages.append(f"a worker could not measure trial {name}: {reason_of(error)}; this process tries it again")
            return [TrainedTrial(kept[0])]

    def _measured(self, trials: list[FinishedTrial]) -> list[Measurements]:
        if not trials:
            return []
        context = self._context
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(one.params for one in trials))
        matrices = stack_matrices(context.network, stacked, context.analysed_examples, context.spec)
        numbers = [measure_trial(context, self._rows[one.trial], one.params) for one in trials]
        return [Measurements(*pair) for pair in zip(numbers, matrices, strict=True)]


def describe_worker() -> dict[str, Any]:
    """The machine of this process, in the manifest's words: what numbers depend on."""
    return describe_machine()
