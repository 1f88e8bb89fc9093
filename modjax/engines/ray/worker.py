"""The work of one cluster worker: trains, measures and saves the trials it is given. Does not import Ray."""

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
from modjax.spec.context import make_contexts, measurable, measure_trial, seeds_of
from modjax.spec.failures import hits_all_trials, reason_of
from modjax.spec.shipped import Shipped
from modjax.store.manifest import describe_machine
from modjax.training.checkpoint import SnapshotStore
from modjax.training.events import FinishedTrial
from modjax.training.programs import state_shapes
from modjax.training.runner import PopulationRun

ORDER_SECONDS = 1.0


class WorkerJob(NamedTuple):
    """What every worker needs to know about the sweep; sent once.

    Attributes:
        shipped: Spec, data and trials of the sweep.
        manifest: The part of the sweep's manifest that fixes the batch layouts.
        population: Name of the population to train.
        slots: Number of slots the user asked for; None leaves it open.
        trials: Rows of the trials table.
        snapshot_seconds: Seconds between two snapshots of the trials in training.
        is_double: Whether JAX computes in float64.
    """

    shipped: Shipped
    manifest: dict[str, Any]
    population: str
    slots: int | None
    trials: pl.DataFrame
    snapshot_seconds: float
    is_double: bool


class TrialWorker:
    """Trains the trials it is given, with the sweep's batch layout.

    Args:
        job: Description of the sweep.
        folder: Folder for this worker's snapshots.
    """

    def __init__(self, job: WorkerJob, folder: str) -> None:
        jax.config.update("jax_enable_x64", job.is_double)
        self._rows = job.trials.to_dicts()
        self._names = [row["trial_id"] for row in self._rows]
        contexts = make_contexts(job.shipped.setup(), job.manifest, job.slots, job.trials, only=job.population)
        context = self._context = contexts[job.population]
        hyperparams = context.values_of(job.trials)
        self._run = PopulationRun(
            context.task,
            hyperparams,
            seeds_of(job.trials),
            context.train_examples,
            context.config,
            context.layout,
            trials=[],
        )
        self._shapes = state_shapes(context.task, context.config.recipe(), hyperparams)
        self._store = SnapshotStore(Path(folder))
        self._seconds, self._saved = job.snapshot_seconds, time.perf_counter()
        self._num_training = 0

    def carry_out(self, order: Order) -> Done:
        """Take in new trials and train for about a second, at least one round; save when a snapshot is due.

        The last order only saves.
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
        return [program._asdict() for program in self._run.programs]

    def _measure(self, trials: list[FinishedTrial], messages: list[str]) -> list[TrainedTrial]:
        """Add numbers and matrices to trials; one that raises is left unmeasured for the driver to try again."""
        # Only the weights that are kept are sent: ``last`` is dropped.
        kept = [trial._replace(last=trial.params) for trial in trials]
        try:
            return [TrainedTrial(*pair) for pair in zip(kept, self._measured(trials), strict=True)]
        except Exception as error:
            if hits_all_trials(error):
                raise
            if len(trials) > 1:
                # One by one, to find out which trial cannot be measured.
                return [trained for trial in trials for trained in self._measure([trial], messages)]
            name = self._names[trials[0].trial]
            messages.append(f"a worker could not measure trial {name}: {reason_of(error)}; this process tries it again")
            return [TrainedTrial(kept[0])]

    def _measured(self, trials: list[FinishedTrial]) -> list[Measurements]:
        if not trials:
            return []
        context = self._context
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(trial.params for trial in trials))
        network, params = measurable(context, stacked, [self._rows[trial.trial] for trial in trials])
        matrices = stack_matrices(network, params, context.analysed_examples, context.spec)
        numbers = [measure_trial(context, self._rows[trial.trial], trial.params) for trial in trials]
        return [Measurements(*pair) for pair in zip(numbers, matrices, strict=True)]


def describe_worker() -> dict[str, Any]:
    """Describe this process's machine as the manifest does: everything that numbers depend on."""
    return describe_machine()
