"""Loops that Python is too slow for: compiled by Numba on their first call, kept on disk for every later process."""

import inspect
from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable) -> Any:
    """Compile a function of numbers and NumPy arrays to machine code.

    The code is kept beside the source, or in the user's cache, or where ``NUMBA_CACHE_DIR`` says; where none of them
    can be written, every process compiles anew (seconds).
    """
    function = inspect.unwrap(function)  # tests wrap every function to check its shapes
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no place for the cache
        return numba.njit(function)
