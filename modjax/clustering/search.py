"""One entry to every module search."""

from collections.abc import Callable
from typing import Any

import numpy as np

from modjax.checks import check_adjacency
from modjax.clustering.leiden import leiden
from modjax.clustering.modularity import check_resolution
from modjax.clustering.partition import DEAD, Partition, make_partition
from modjax.names import SEARCH_METHODS, one_of

METHODS: dict[str, Callable[[np.ndarray, float, int | None, int], np.ndarray]] = {"leiden": leiden}


def find_modules(
    adjacency: Any, method: str = "leiden", resolution: float = 1.0, restarts: int | None = None, seed: int = 0
) -> Partition:
    """Find the partition of the units with the highest modularity Q.

    Units whose row is all zero are dead: label -1, in no module, counted in ``num_dead``. A graph without any weight is
    an answer too: no modules, Q = NaN.

    Args:
        adjacency: ``[units units]``, symmetric, non-negative: what :func:`modjax.adjacency` returns.
        method: ``leiden``.
        resolution: g of :func:`modjax.modularity`.
        restarts: Searches from different starts, the best is kept; None is the method's own recipe.
        seed: Same seed, same labels.

    Raises:
        ValueError: Not square, symmetric, finite or non-negative; unknown method; resolution or restarts not positive.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> partition = find_modules(two_cliques)
        >>> partition.labels.tolist(), round(partition.q, 12), partition.num_modules
        ([0, 0, 0, 1, 1, 1], 0.5, 2)
    """
    search = METHODS[one_of(method, SEARCH_METHODS, "method")]
    matrix = check_adjacency(adjacency)
    check_resolution(resolution)
    if restarts is not None and (int(restarts) != restarts or restarts < 1):
        raise ValueError(f"restarts must be a whole number, at least 1, or None; got {restarts}.")
    return search_living(search, matrix, resolution, restarts, int(seed))


def search_living(
    search: Callable, matrix: np.ndarray, resolution: float, restarts: int | None, seed: int
) -> Partition:
    """Search among the living units of a checked adjacency."""
    labels = np.full(len(matrix), DEAD, np.int64)
    if not np.all(np.isfinite(matrix)):  # a similarity that overflowed: no module, and nobody can say who is dead
        return Partition(labels, float("nan"), 0, float("nan"), 0)
    alive = np.flatnonzero(matrix.any(1))
    if len(alive) == 1:
        labels[alive] = 0
    elif len(alive) > 1:
        labels[alive] = search(matrix[np.ix_(alive, alive)], resolution, restarts, seed)
    return make_partition(matrix, labels, resolution)
