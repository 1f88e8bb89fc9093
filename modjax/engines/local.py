"""All work on this machine: training in this process, module searches in worker processes."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from modjax._util.memory import release_free_memory
from modjax._util.signals import signals_wait
from modjax._util.threads import available_cores
from modjax.clustering.pool import WorkerPool
from modjax.engines.base import EngineOptions, SearchExecutor, TrainedTrial, TrainingUpdate
from modjax.engines.snapshots import find_saved, load_saved
from modjax.integrity.directory import FORK
from modjax.spec.context import TrainingJob, hyperparams_of, seeds_of
from modjax.store.paths import worker_folders
from modjax.training.checkpoint import Snapshot, SnapshotStore
from modjax.training.programs import state_shapes
from modjax.training.runner import PopulationRun


class LocalEngine:
    """While the next epoch's numbers are made, worker processes search the modules of what finished."""

    def __init__(self, options: EngineOptions, threads: int | None = None) -> None:
        del options  # has none of its own
        if threads not in (None, available_cores()):
            raise ValueError(
                f"the sweep was begun with {threads} CPU threads a worker, which its numbers depend on; this process "
                f"has {available_cores()}. Go on with --engine ray --cores-per-worker {threads}, {FORK}."
            )
        self.searches: SearchExecutor = WorkerPool()
        self.cores: int | None = None
        self.programs: list[dict[str, Any]] = []

    @staticmethod
    def check_installed() -> None:
        """Needs nothing that modjax does not."""

    def train(self, job: TrainingJob) -> Generator[TrainingUpdate]:
        """Train the trials to their end; after a signal, to the end of the epoch, where all is saved.

        ``programs`` are then those that ran: the layout's (with fewer lanes, if memory ran out), and those with the
        same bits.
        """
        context, trials = job.context, job.trials
        names, hyperparams = trials["trial_id"].to_list(), hyperparams_of(trials)
        shapes = state_shapes(context.task, context.config.recipe(), hyperparams)
        earlier: list[str] = []
        store = SnapshotStore(job.paths.training, job.paths.damaged)
        with closing(store), signals_wait() as is_asked_to_stop:
            resume, others = _earlier(job, store, names, shapes, earlier)
            run = PopulationRun(
                context.task,
                hyperparams,
                seeds_of(trials),
                context.train_examples,
                context.config,
                context.population,
                resume=resume,
            )
            for snapshot in others:
                run.feed([], snapshot)
            if earlier:
                yield TrainingUpdate([], 0, 0, tuple(earlier))
            saved = time.perf_counter()
            for report in run.rounds():
                is_stopping = is_asked_to_stop()
                is_due = is_stopping or time.perf_counter() - saved >= job.snapshot_seconds
                yield TrainingUpdate(
                    [TrainedTrial(one) for one in report.finished],
                    report.num_training,
                    len(report.rows),
                    report.messages,
                    is_due,
                    is_stopping,
                )
                if is_stopping:
                    if report.num_training:
                        store.save(run.snapshot(), names)
                        store.wait()
                    told = f"checkpoint saved: {report.num_training} trials in training, and all that had finished"
                    yield TrainingUpdate([], report.num_training, 0, (told,), is_stopping=True)
                    break  # the signal does what it does at the end of the block
                if is_due:
                    store.save(run.snapshot(), names)
                    release_free_memory()
                    saved = time.perf_counter()
        self.programs = [one._asdict() for one in run.programs]

    def describe(self) -> dict[str, Any]:
        """Nothing: the manifest's device and threads are this process's."""
        return {}

    def close(self, wait: bool = True) -> None:
        """End the workers."""
        self.searches.close(wait=wait)


def _earlier(
    job: TrainingJob, store: SnapshotStore, names: list[str], shapes: Any, told: list[str]
) -> tuple[Snapshot | None, list[Snapshot]]:
    """The newest snapshot of this machine; or, where a cluster has trained before, all that it left."""
    index_of = {name: index for index, name in enumerate(names)}
    if not worker_folders(job.paths.training):
        return store.newest(shapes, index_of, told.append), []
    found = {index_of[name]: one for name, one in find_saved(job.paths.training).items() if name in index_of}
    return None, load_saved(found, names, shapes, told.append)
