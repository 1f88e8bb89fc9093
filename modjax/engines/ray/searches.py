"""Runs module searches as Ray tasks, with the interface of the local worker pool."""

import os
import time
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from modjax.engines.ray.placement import CORE_SHARE
from modjax.integrity.environment import other_packages
from modjax.store.manifest import package_versions

SEARCHES_AHEAD = 2  # per core
COLLECT_SECONDS = 0.05
SEARCH_ATTEMPTS = 3
SEARCHED_WITH = ("modjax", "numpy", "igraph", "leidenalg", "numba", "scipy", "scikit-learn")


class Searched(NamedTuple):
    """What a task returns: the packages that differ from the driver's, or else the result."""

    others: list[str]
    value: Any


class RaySearchExecutor:
    """Runs module searches as tasks on free cores; a task whose process or node dies is run again.

    Args:
        ray: The package ``ray``.
    """

    peak_bytes = 0  # the workers do not belong to this process

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._remote: Any = None
        self._waiting: dict[Hashable, tuple[Callable, tuple]] = {}
        self._running: dict[Any, Hashable] = {}
        self._done: dict[Hashable, Any] = {}
        self._looked = -np.inf
        self._num_cores = max(1, round(ray.cluster_resources().get("CPU", 0)))

    @property
    def num_unfinished(self) -> int:
        """Number of jobs without a result."""
        return len(self._waiting) + len(self._running)

    def submit(self, name: Hashable, function: Callable, *arguments: Any) -> None:
        """Queue ``function(*arguments)`` under a name of its own."""
        self._waiting[name] = (function, arguments)
        self._start()

    def _start(self) -> None:
        if self._remote is None:
            # As many BLAS threads as a search has with the local engine; Ray alone would set one.
            threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1))
            self._remote = self._ray.remote(_search).options(
                num_cpus=CORE_SHARE,
                max_retries=SEARCH_ATTEMPTS - 1,
                runtime_env={"env_vars": {"OMP_NUM_THREADS": threads}},
            )
        # Ray gets only a few tasks per core; the other jobs wait here.
        most = SEARCHES_AHEAD * self._num_cores
        while self._waiting and len(self._running) < most:
            name = next(iter(self._waiting))
            function, arguments = self._waiting.pop(name)
            self._running[self._remote.remote(function, arguments, _packages())] = name

    def _collect(self, seconds: float) -> None:
        """Collect finished tasks, waiting at most ``seconds`` for the first, and start waiting jobs."""
        self._looked = time.perf_counter()
        self._num_cores = max(1, round(self._ray.cluster_resources().get("CPU", 0)))
        if self._running:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
            if ready:
                ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            for ref in ready:
                self._done[self._running.pop(ref)] = ref
        self._start()

    def is_done(self, name: Hashable) -> bool:
        """Whether the result of a job is available."""
        if name not in self._done and time.perf_counter() - self._looked > COLLECT_SECONDS:
            self._collect(0.0)
        return name in self._done

    def result(self, name: Hashable) -> Any:
        """Wait for the result of a job, return it and forget the job.

        Raises:
            RuntimeError: The job failed, or its process died each time it was tried.
            OSError: A node has other package versions. This is no trial's fault: none is marked as failed, the run
                ends.
        """
        while name not in self._done:
            self._collect(1.0)
        try:
            searched = self._ray.get(self._done.pop(name))
        except self._ray.exceptions.RayTaskError as error:
            raise RuntimeError(f"module search {name!r} failed: {error.cause}") from error
        except self._ray.exceptions.RayError as error:
            raise RuntimeError(
                f"the process of module search {name!r} died {SEARCH_ATTEMPTS} times, perhaps for lack of memory; "
                "nothing finished is lost: run the same command again."
            ) from error
        if searched.others:
            raise OSError(f"a node that searches has {'; '.join(searched.others)}: modules would not be the same.")
        return searched.value

    def close(self, wait: bool = True) -> None:
        """Drop all jobs, cancelling those that still run unless ``wait``; can be called twice."""
        for ref in self._running if not wait and self._ray.is_initialized() else ():
            self._ray.cancel(ref, force=True)
        self._waiting, self._running = {}, {}


def _search(function: Callable, arguments: tuple, packages: dict[str, str]) -> Searched:
    """Run one job as a task, at the lowest priority, since Ray's other processes already have a low one.

    The job is not run where the packages that modules depend on differ from the driver's.
    """
    os.nice(19)
    others = other_packages(packages, _packages(), SEARCHED_WITH)
    return Searched(others, None if others else function(*arguments))


@cache
def _packages() -> dict[str, str]:
    """Package versions of this process, looked up once."""
    return package_versions()
