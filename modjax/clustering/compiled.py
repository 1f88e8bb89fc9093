"""Numba compilation of loops that are too slow in Python: on their first call, cached on disk for later processes."""

import inspect
from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable) -> Any:
    """Compile a function of numbers and NumPy arrays to machine code.

    The machine code is cached beside the source, in the user's cache folder, or in ``NUMBA_CACHE_DIR``. If none of them
    can be written, every process compiles again, which takes seconds.
    """
    function = inspect.unwrap(function)  # the tests wrap every function to check the shapes of its arguments
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(function)
