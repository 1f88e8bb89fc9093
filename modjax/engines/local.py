"""All work on this machine: training in this process, module searches in worker processes."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from jaxtyping import PyTree

from modjax._util.memory import RELEASE_SECONDS, release_free_memory
from modjax._util.signals import signals_wait
from modjax._util.threads import available_cores
from modjax.clustering.pool import WorkerPool
from modjax.engines.base import EngineOptions, SearchExecutor, TrainedTrial, TrainingUpdate
from modjax.engines.snapshots import find_saved, load_saved
from modjax.integrity.directory import FORK
from modjax.spec.context import TrainingJob, seeds_of
from modjax.spec.spec import SweepSpec
from modjax.store.paths import worker_folders
from modjax.training.checkpoint import Snapshot, SnapshotStore
from modjax.training.halving import Rungs
from modjax.training.programs import state_shapes
from modjax.training.runner import PopulationRun


class LocalEngine:
    """Trains in this process while worker processes search the modules of the trials that have finished."""

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
    def check(options: EngineOptions) -> None:
        """Raise ValueError if options are set: this engine has none."""
        unknown = [name for name, value in options._asdict().items() if name != "name" and value is not None]
        if unknown:
            raise ValueError(f"{unknown[0]} is an option of engine 'ray'; got engine 'local'.")

    @staticmethod
    def check_spec(spec: SweepSpec) -> None:
        """Accept every spec."""

    def train(self, job: TrainingJob) -> Generator[TrainingUpdate]:
        """Train the trials to their end; after a signal, stop at the end of the epoch and save.

        Afterwards ``programs`` holds those that ran: the layout's (with fewer lanes, if memory ran out), and those
        that compute the same bits.
        """
        context, trials = job.context, job.trials
        names, hyperparams = trials["trial_id"].to_list(), context.values_of(trials)
        shapes = state_shapes(context.task, context.config.recipe(), hyperparams)
        earlier: list[str] = []
        store = SnapshotStore(job.snapshots, job.paths.damaged)
        with closing(store), signals_wait() as is_asked_to_stop:
            resume, others = _earlier(job, store, names, shapes, earlier)
            stopping = context.spec.training.stopping
            rungs = Rungs(stopping.halving(), context.config.max_epochs, names, job.earlier) if stopping else None
            run = PopulationRun(
                context.task,
                hyperparams,
                seeds_of(trials),
                context.train_examples,
                context.config,
                context.layout,
                resume=resume,
                rungs=rungs,
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
                    [TrainedTrial(trial) for trial in report.finished],
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
                    message = f"checkpoint saved: {report.num_training} trials in training, and all that had finished"
                    yield TrainingUpdate([], report.num_training, 0, (message,), is_stopping=True)
                    break  # the signal takes effect at the end of the block
                if is_due:
                    # The caller has committed the finished trials by now, so the snapshot may leave them out.
                    store.save(run.snapshot(), names)
                    release_free_memory(every=RELEASE_SECONDS)
                    saved = time.perf_counter()
        self.programs = [program._asdict() for program in run.programs]

    def describe(self) -> dict[str, Any]:
        """Return nothing: the manifest already describes this process's device and threads."""
        return {}

    def close(self, wait: bool = True) -> None:
        """End the worker processes."""
        self.searches.close(wait=wait)


def _earlier(
    job: TrainingJob, store: SnapshotStore, names: list[str], shapes: PyTree, messages: list[str]
) -> tuple[Snapshot | None, list[Snapshot]]:
    """Return this machine's newest snapshot, or all snapshots that the workers of a cluster left."""
    index_of = {name: index for index, name in enumerate(names)}
    if not worker_folders(job.snapshots):
        return store.newest(shapes, index_of, messages.append), []
    saved = {index_of[name]: position for name, position in find_saved(job.snapshots).items() if name in index_of}
    return None, load_saved(saved, names, shapes, messages.append)
