"""Several calls of compiled programs at once: what a single program leaves of a CPU's cores idle.

XLA runs a small matrix product on one thread of a CPU, however many there are; calls from different Python threads run
side by side.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def available_cores() -> int:
    """Cores that this process is to use: what ``NPROC`` says, as for XLA's own threads, or all that it may."""
    asked = os.environ.get("NPROC", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads:
    """So many threads; one alone is the caller's own.

    Args:
        num_threads: How many.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads, "modjax") if num_threads > 1 else None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """``[function(item) for item in items]``, several at a time, under the caller's precision and default device.

        JAX keeps what ``jax.enable_x64`` and ``jax.default_device`` say for each thread by itself.
        """
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        import jax  # worker processes, which count their cores by this file, are spared it

        is_double = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
        device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

        def call(item: Any) -> Any:
            with jax.enable_x64(is_double), jax.default_device(device):
                return function(item)

        return list(self._pool.map(call, items))

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
