"""Runs many jobs in worker processes that do not import JAX; a worker that dies is replaced and its jobs run again."""

import os
import signal
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from loky import ProcessPoolExecutor, get_reusable_executor

from modjax._util.memory import peak_resident_bytes
from modjax._util.threads import available_cores

MAX_ATTEMPTS = 3
IDLE_SECONDS = 60
PARENT_SECONDS = 1.0


class WorkerPool:
    """A pool of processes: submit jobs, collect results by name. Results do not depend on the number of workers.

    The workers are started with the first job, by loky, which needs no ``__main__`` guard and works in notebooks. They
    run at low priority, since the device's own threads matter more.

    Args:
        num_workers: Number of worker processes; None is one per core that this process may use.
    """

    def __init__(self, num_workers: int | None = None) -> None:
        self.num_workers = num_workers or available_cores()
        self._jobs: dict[Hashable, tuple[Callable, tuple]] = {}
        self._futures: dict[Hashable, Future] = {}
        self._attempts: dict[Hashable, int] = {}
        self._largest_worker = 0
        self._is_started = False

    @property
    def peak_bytes(self) -> int:
        """Upper bound of the workers' memory together: their number times the largest worker's peak; 0 without jobs."""
        return self.num_workers * self._largest_worker

    @property
    def num_unfinished(self) -> int:
        """Number of jobs whose results are not available yet."""
        return sum(not future.done() for future in self._futures.values())

    def submit(self, name: Hashable, function: Callable, *arguments: Any) -> None:
        """Queue ``function(*arguments)`` under a name of its own."""
        self._jobs[name] = (function, arguments)
        self._attempts[name] = self._attempts.get(name, 0) + 1
        self._futures[name] = self._executor().submit(_with_peak, function, *arguments)

    def is_done(self, name: Hashable) -> bool:
        """Whether the result of a job is available; a job whose worker died is queued again."""
        future = self._futures[name]
        if not future.done():
            return False
        if isinstance(future.exception(), BrokenProcessPool) and self._attempts[name] < MAX_ATTEMPTS:
            self._submit_again(name)
            return False
        return True

    def result(self, name: Hashable) -> Any:
        """Wait for the result of a job, return it and forget the job.

        Raises:
            RuntimeError: The job's worker died each time it was tried, the last time with no other job beside it.
            Exception: Whatever the job raised.
        """
        try:
            while True:
                try:
                    return self._counted(self._futures[name].result())
                except BrokenProcessPool:
                    if self._attempts[name] >= MAX_ATTEMPTS:
                        return self._result_alone(name)
                    self._submit_again(name)
        finally:
            for record in (self._jobs, self._futures, self._attempts):
                record.pop(name)

    def _result_alone(self, name: Hashable) -> Any:
        """Run a job in a pool of its own: a dying worker fails all jobs of its pool, whichever was the cause."""
        function, arguments = self._jobs[name]
        alone = ProcessPoolExecutor(1, initializer=_prepare_worker, initargs=(os.getpid(),))
        try:
            return self._counted(alone.submit(_with_peak, function, *arguments).result())
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"the worker process of job {name!r} died {MAX_ATTEMPTS} times, and once alone, perhaps for lack of "
                "memory; nothing finished is lost: run the same command again."
            ) from error
        finally:
            alone.shutdown(wait=False, kill_workers=True)

    def _counted(self, result_and_peak: tuple[Any, int]) -> Any:
        """Return the result alone, and keep account of the largest worker."""
        result, peak = result_and_peak
        self._largest_worker = max(self._largest_worker, peak)
        return result

    def close(self, wait: bool = True) -> None:
        """End the workers, if any were started; a pool can be closed twice."""
        if self._is_started:
            self._executor().shutdown(wait=wait, kill_workers=not wait)
            self._is_started = False

    def _submit_again(self, name: Hashable) -> None:
        function, arguments = self._jobs[name]
        self.submit(name, function, *arguments)

    def _executor(self) -> Any:
        self._is_started = True
        return get_reusable_executor(
            self.num_workers, timeout=IDLE_SECONDS, initializer=_prepare_worker, initargs=(os.getpid(),)
        )


def _with_peak(function: Callable, *arguments: Any) -> tuple[Any, int]:
    """Return a job's result and its worker's peak memory so far."""
    return function(*arguments), peak_resident_bytes()


def _prepare_worker(parent: int) -> None:
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the parent decides
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is gone, also if it was killed before this thread started."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)
