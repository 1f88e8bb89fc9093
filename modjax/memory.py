"""Memory that this process holds and does not need."""

import ctypes
import gc
from pathlib import Path


def release_free_memory() -> None:
    """Give freed memory back to the system, where the C library can; tens of milliseconds.

    Arrays that come and go in several threads (snapshots being written, matrices) leave holes that glibc keeps: a sweep
    of half an hour held gigabytes of them.
    """
    gc.collect()
    if Path("/proc/self/status").exists():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
