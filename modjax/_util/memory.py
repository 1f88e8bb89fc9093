"""Peak memory of this process, and release of memory that it no longer needs."""

import ctypes
import gc
import os
import resource
import sys
import time
from pathlib import Path

STATUS = Path("/proc/self/status")
RELEASE_SECONDS = 10.0  # between releases while a sweep runs
_released = time.perf_counter()


def physical_bytes() -> int:
    """Return the memory of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this program, in bytes.

    This is Linux's ``VmHWM``, which counts this program alone. ``ru_maxrss``, the fallback elsewhere, also counts what
    the process was before it became this program: for a worker, a copy of its parent, however large.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS reports bytes, others kilobytes


def release_free_memory(every: float = 0.0) -> None:
    """Return freed memory to the system, where the C library can; takes longer the more objects the process holds.

    Arrays that come and go in several threads (snapshots being written, matrices) leave holes that glibc keeps: a sweep
    of half an hour held gigabytes of them.

    Args:
        every: Seconds since the last time, or since the process began, before which nothing happens.
    """
    global _released
    if time.perf_counter() - _released < every:
        return
    _released = time.perf_counter()
    gc.collect()
    if STATUS.exists():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
