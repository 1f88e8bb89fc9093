"""All work on this machine: training in this process, module searches in worker processes."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from modjax._util.memory import release_free_memory
from modjax._util.signals import signals_wait
from modjax.clustering.pool import WorkerPool
from modjax.engines.base import Finished, Progressed, Searches
from modjax.engines.snapshots import find_saved, load_saved, worker_folders
from modjax.spec.context import Job, hyperparams_of, seeds_of
from modjax.training.checkpoint import Snapshot, SnapshotStore
from modjax.training.programs import state_shapes
from modjax.training.runner import PopulationRun


class LocalPlace:
    """While the next epoch's numbers are made, worker processes search the modules of what finished."""

    def __init__(self) -> None:
        self.searches: Searches = WorkerPool()
        self.cores: int | None = None
        self.programs: list[dict[str, Any]] = []

    def train(self, job: Job) -> Generator[Progressed]:
        """Train the trials to their end; after a signal, to the end of the epoch, where all is saved.

        ``programs`` are then those that ran: the layout's (with fewer lanes, if memory ran out), and those with the
        same bits.
        """
        engine, trials = job.engine, job.trials
        names, hyperparams = trials["trial_id"].to_list(), hyperparams_of(trials)
        shapes = state_shapes(engine.task, engine.config.recipe(), hyperparams)
        earlier: list[str] = []
        store = SnapshotStore(job.layout.training, job.layout.damaged)
        with closing(store), signals_wait() as is_asked_to_stop:
            resume, others = _earlier(job, store, names, shapes, earlier)
            run = PopulationRun(
                engine.task,
                hyperparams,
                seeds_of(trials),
                engine.train_examples,
                engine.config,
                engine.population,
                resume=resume,
            )
            for snapshot in others:
                run.feed([], snapshot)
            if earlier:
                yield Progressed([], 0, 0, tuple(earlier))
            saved = time.perf_counter()
            for report in run.rounds():
                is_stopping = is_asked_to_stop()
                is_due = is_stopping or time.perf_counter() - saved >= job.snapshot_seconds
                yield Progressed(
                    [Finished(one) for one in report.finished],
                    report.num_seated,
                    len(report.rows),
                    report.messages,
                    is_due,
                    is_stopping,
                )
                if is_stopping:
                    if report.num_seated:
                        store.save(run.snapshot(), names)
                        store.wait()
                    told = f"checkpoint saved: {report.num_seated} trials in training, and all that had finished"
                    yield Progressed([], report.num_seated, 0, (told,), is_stopping=True)
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
    job: Job, store: SnapshotStore, names: list[str], shapes: Any, told: list[str]
) -> tuple[Snapshot | None, list[Snapshot]]:
    """The newest snapshot of this machine; or, where a cluster has trained before, all that it left."""
    index_of = {name: index for index, name in enumerate(names)}
    if not worker_folders(job.layout.training):
        return store.newest(shapes, index_of, told.append), []
    found = {index_of[name]: one for name, one in find_saved(job.layout.training).items() if name in index_of}
    return None, load_saved(found, names, shapes, told.append)
