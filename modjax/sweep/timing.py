"""Cost of a run: wall time by stage, processor time, memory."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modjax._util.memory import peak_resident_bytes

MEGABYTE = 1e6


class Stages:
    """Wall seconds of each stage; a nested stage stops the clock of the outer one, so that seconds add up.

    Example:
        >>> stages = Stages()
        >>> with stages("training"), stages("similarity"):
        ...     pass
        >>> list(stages.seconds)
        ['training', 'similarity']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = self._began = time.perf_counter()

    @property
    def total(self) -> float:
        """Wall seconds since the beginning, inside and outside stages."""
        return time.perf_counter() - self._began

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of a block to a stage, without the time of nested stages."""
        self._settle()
        self._running.append(name)
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._settle()
            self._running.pop()

    def _settle(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


def cost_of_run(stages: Stages, worker_bytes: int) -> dict[str, Any]:
    """Return wall seconds in total and by stage, CPU seconds, and peak memory, including workers that have ended.

    ``peak_memory_mb`` is the peak resident size of this process plus that of its workers, an upper bound of what they
    took at the same time. All values count from the start of the process, including imports and compilation.

    Args:
        stages: Stages of the run.
        worker_bytes: Peak memory of all worker processes together, in bytes.
    """
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": round(stages.total, 3),
        "seconds_by_stage": {name: round(seconds, 3) for name, seconds in stages.seconds.items()},
        "cpu_seconds": round(own.ru_utime + own.ru_stime, 3),
        "worker_cpu_seconds": round(workers.ru_utime + workers.ru_stime, 3),
        "peak_memory_mb": round((peak_resident_bytes() + worker_bytes) / MEGABYTE),
    }


def cost_text(cost: dict[str, Any]) -> str:
    """Return the result of :func:`cost_of_run` as a readable line; missing values are left out.

    Example:
        >>> cost = {"seconds": 90.0, "seconds_by_stage": {"training": 80.0, "tables": 10.0}}
        >>> cost_text(cost | {"cpu_seconds": 100.0, "worker_cpu_seconds": 20.0, "peak_memory_mb": 900})
        'Took 90 s: training 80, tables 10; processors 100 s and 20 s in workers; peak memory 0.90 GB.'
    """
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in cost["seconds_by_stage"].items())
    clauses = [f"Took {cost.get('seconds', sum(cost['seconds_by_stage'].values())):.0f} s: {stages}"]
    if "cpu_seconds" in cost:
        clauses.append(
            f"processors {cost['cpu_seconds']:.0f} s and {cost.get('worker_cpu_seconds', 0):.0f} s in workers"
        )
    if "peak_memory_mb" in cost:
        clauses.append(f"peak memory {cost['peak_memory_mb'] / 1e3:.2f} GB")
    return "; ".join(clauses) + "."
