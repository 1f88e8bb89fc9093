"""Threads that call compiled programs at the same time, to use the CPU cores that a single program leaves idle.

XLA runs a small matrix product on one CPU thread, however many there are; calls from different Python threads run in
parallel.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def available_cores() -> int:
    """Return the number of cores to use: ``NPROC``, which XLA's own threads follow too, or all this process may use."""
    asked = os.environ.get("NPROC", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads:
    """A pool of threads; a single thread is the caller's own.

    Args:
        num_threads: Number of threads.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads, "modjax") if num_threads > 1 else None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Compute ``[function(item) for item in items]`` in parallel, with the caller's precision and default device.

        JAX keeps ``jax.enable_x64`` and ``jax.default_device`` per thread, so they are set again in each.
        """
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        import jax  # here, because worker processes import this file and must not import JAX

        is_double = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
        device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

        def call(item: Any) -> Any:
            with jax.enable_x64(is_double), jax.default_device(device):
                return function(item)

        return list(self._pool.map(call, items))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
