"""Runs work on a Ray cluster: training workers are actors, module searches are tasks; results come to this process.

Ray is imported only here, and only once this engine is used.
"""

import signal
import threading
import warnings
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from modjax._util.signals import signals_wait
from modjax.engines.base import EngineOptions, SearchExecutor, TrainingUpdate
from modjax.engines.queue import TrialQueue
from modjax.engines.ray.dispatch import dispatch
from modjax.engines.ray.placement import Placement, cores_of_workers, placements_of
from modjax.engines.ray.searches import RaySearchExecutor
from modjax.engines.ray.worker import WorkerJob
from modjax.engines.ray.worker_group import RayWorkerGroup
from modjax.engines.snapshots import Saved, find_saved, saved_in
from modjax.spec.context import TrainingJob
from modjax.spec.shipped import check_portable, shipped
from modjax.spec.spec import SweepSpec
from modjax.store.paths import worker_folder, worker_folders


def import_ray() -> Any:
    """Import and return the package ``ray``.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("engine 'ray' needs the package ray; install it: pip install 'modjax[ray]'") from error
    return ray


class RayEngine:
    """A cluster that this process drives.

    Args:
        options: Address of the cluster, number and size of the workers.
        threads: Number of CPU threads that the sweep's trials were trained with so far; None for a new sweep.

    Raises:
        OSError: No cluster at the address.
        RuntimeError: No node has room for a worker.
        ValueError: Workers would not have the number of threads that the sweep was begun with.
    """

    def __init__(self, options: EngineOptions, threads: int | None = None) -> None:
        self._ray, self._options = import_ray(), options
        self._is_own = not self._ray.is_initialized()
        self._group: RayWorkerGroup | None = None
        if self._is_own:
            _connect(self._ray, options.address)
        self._is_gpu = jax.default_backend() != "cpu"
        self.cores: int | None = None
        try:
            if not self._is_gpu:
                self.cores = cores_of_workers(options.cores_per_worker, threads, self._ray.nodes())
            if not self._placements():
                wanted = "a GPU" if self._is_gpu else f"{self.cores} CPU cores"
                raise RuntimeError(f"no node of the Ray cluster has {wanted} for a worker.")
        except BaseException:
            self.close()
            raise
        self.searches: SearchExecutor = RaySearchExecutor(self._ray)
        self.programs: list[dict[str, Any]] = []

    @staticmethod
    def check(options: EngineOptions) -> None:
        """Raise ValueError unless the numbers are positive and Ray is installed."""
        for name in ("workers", "cores_per_worker"):
            value = getattr(options, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be a whole number, at least 1; got {value}.")
        import_ray()

    @staticmethod
    def check_spec(spec: SweepSpec) -> None:
        """Raise ValueError unless workers can find the spec's extensions, and need not know one another's trials."""
        check_portable(spec)
        if spec.training.stopping is not None:
            raise ValueError(
                "training.stopping compares all trials at every rung, which engine 'ray' does not; use --engine local, "
                "or leave stopping out."
            )

    def _placements(self) -> list[Placement]:
        return placements_of(self._ray.nodes(), self._is_gpu, self.cores)

    def train(self, job: TrainingJob) -> Generator[TrainingUpdate]:
        """Train the trials on all workers to their end; after a signal, until the workers have saved."""
        root, layout = job.snapshots, job.context.layout
        names, seeds = job.trials["trial_id"].to_list(), job.trials["seed"].to_numpy()
        index_of = {name: index for index, name in enumerate(names)}
        # Trials with the same seed can share batches, so they stay together in the queue.
        order = np.argsort(seeds, kind="stable") if layout.is_paired else np.arange(len(names))
        saved = {index_of[name]: position for name, position in find_saved(root).items() if name in index_of}
        manifest = {"layout": {"populations": {job.context.name: layout._asdict()}}}
        is_double = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
        worker_job = WorkerJob(
            shipped(job.setup), manifest, job.context.name, job.slots, job.trials, job.snapshot_seconds, is_double
        )
        # Numbers go on after those of earlier runs, whose folders may hold snapshots that are still needed.
        first = 1 + max(worker_folders(root), default=-1)
        group = self._group = RayWorkerGroup(
            self._ray,
            worker_job,
            first,
            lambda number: str(worker_folder(root, number)),
            self._wanted_placements,
            self.cores,
        )

        def saved_by(worker: int) -> dict[int, Saved]:
            left = saved_in(worker_folder(root, worker))
            return {index_of[name]: position for name, position in left.items() if name in index_of}

        num_threads = layout.num_threads if not self._is_gpu else 1
        queue = TrialQueue([int(index) for index in order], saved)
        capacity = layout.slots * num_threads
        with signals_wait() as is_asked_to_stop:
            try:
                yield from dispatch(group, queue, capacity, saved_by, is_asked_to_stop, group.num_starting)
            finally:
                group.close()
        self.programs = group.programs

    def _wanted_placements(self) -> list[Placement]:
        return self._placements()[: self._options.workers]

    def describe(self) -> dict[str, Any]:
        """Return the engine's name and version, and the number of workers that were started."""
        started = self._group.num_started if self._group else 0
        return {"engine": {"name": "ray", "ray": self._ray.__version__, "threads": self.cores, "workers": started}}

    def close(self, wait: bool = True) -> None:
        """Release the workers, and disconnect from the cluster if this engine connected to it."""
        if self._group is not None:
            self._group.close()
        if hasattr(self, "searches"):
            self.searches.close(wait=wait)
        if self._is_own and self._ray.is_initialized():
            self._ray.shutdown()
        self._is_own = False


def _connect(ray: Any, address: str | None) -> None:
    """Call ``ray.init`` and keep this program's own signal handlers."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            # JAX warns of forks; Ray's children execute another program right after theirs.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=None)
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
