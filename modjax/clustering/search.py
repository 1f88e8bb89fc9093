"""A common interface to all module searches."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from modjax.builtins import SEARCHES
from modjax.checks import check_adjacency, check_weights
from modjax.clustering.leidenalg import leidenalg_search
from modjax.clustering.modularity import check_resolution, signed_modularity_of
from modjax.clustering.partition import DEAD, Partition, make_partition, partition_of
from modjax.clustering.signed import search_signed
from modjax.names import QUALITY_FUNCTIONS, SEARCH_METHODS, one_of
from modjax.records import resolve

Search = Callable[[np.ndarray, float, int | None, int], np.ndarray]
METHODS: dict[str, Search] = {name: resolve(info.search) for name, info in SEARCHES.items()}


def find_modules(
    adjacency: ArrayLike,
    method: str = "leiden",
    resolution: float = 1.0,
    restarts: int | None = None,
    seed: int = 0,
    quality: str = "modularity",
    signed: bool = False,
) -> Partition:
    """Find the partition of the units with the highest modularity Q.

    Units whose row is all zero are dead: they get label -1, belong to no module and are counted in ``num_dead``. A
    graph without any weight has no modules, and Q = NaN.

    leiden: igraph's Leiden and iterated moves, the default and the best. leidenalg: the package of that name, with
    other quality functions. spectral: leading-eigenvector splits. monte_carlo: the paper's moves from the spectral
    partition. monte_carlo_svd: the same moves from the authors' own start, to compare numbers of modules with theirs.

    Args:
        adjacency: ``[units units]``, symmetric, non-negative: what :func:`modjax.adjacency` returns.
        method: ``leiden``, ``leidenalg``, ``spectral``, ``monte_carlo`` or ``monte_carlo_svd``.
        resolution: g of :func:`modjax.modularity`.
        restarts: Number of searches from different starts, of which the best is kept; None is the method's own recipe.
        seed: Random seed; the same seed gives the same labels.
        quality: What ``leidenalg`` maximizes: ``modularity``, ``cpm``, ``rber`` or ``surprise``
            (:func:`modjax.clustering.leidenalg.leidenalg_search`). The result's ``q`` is always modularity, with g = 1
            where the resolution is that of another quality.
        signed: Whether the weights have signs: ``adjacency`` is then a similarity, whose diagonal does not count, and
            the result's ``q`` is Q* of :func:`modjax.clustering.modularity.signed_modularity_of`.

    Raises:
        ValueError: Not square, symmetric, finite or non-negative; unknown method or quality; a resolution, restarts or
            seed that is not allowed.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> partition = find_modules(two_cliques)
        >>> partition.labels.tolist(), round(partition.q, 12), partition.num_modules
        ([0, 0, 0, 1, 1, 1], 0.5, 2)
    """
    search = search_of(method, quality)
    resolution, restarts, seed = check_search(resolution, restarts, seed)
    if signed:
        if (method, quality) != ("leiden", "modularity"):
            raise ValueError(f"signed modularity has a search of its own; leave method out; got {method!r}.")
        return _find_signed(check_weights(adjacency), resolution, restarts, seed)
    matrix = check_adjacency(adjacency)
    return search_living(search, matrix, resolution, restarts, seed, 1.0 if quality != "modularity" else resolution)


def _find_signed(weights: np.ndarray, resolution: float, restarts: int | None, seed: int) -> Partition:
    labels = np.full(len(weights), DEAD, np.int64)
    alive = np.flatnonzero(weights.any(1))
    if len(alive):
        labels[alive] = search_signed(np.ascontiguousarray(weights[np.ix_(alive, alive)]), resolution, restarts, seed)
    return partition_of(labels, signed_modularity_of(weights, labels, resolution))


def search_of(method: str, quality: str = "modularity") -> Search:
    """Return the search of a method; raise ValueError unless it is known and can maximize the quality."""
    search = METHODS[one_of(method, SEARCH_METHODS, "method")]
    one_of(quality, QUALITY_FUNCTIONS, "quality")
    if quality == "modularity":
        return search
    if method != "leidenalg":
        raise ValueError(f"method {method!r} maximizes modularity alone; for quality {quality!r} use 'leidenalg'.")
    return partial(leidenalg_search, quality=quality)


def check_search(resolution: float, restarts: int | None, seed: int) -> tuple[float, int | None, int]:
    """Return the arguments as plain numbers.

    Raises:
        ValueError: A resolution that is not positive, restarts that are neither None nor a positive whole number, or a
            seed that is not a whole number from 0.
    """
    if restarts is not None and (not float(restarts).is_integer() or restarts < 1):
        raise ValueError(f"restarts must be a whole number, at least 1, or None; got {restarts}.")
    if not float(seed).is_integer() or seed < 0:
        raise ValueError(f"seed must be a whole number, at least 0; got {seed}.")
    return check_resolution(resolution), None if restarts is None else int(restarts), int(seed)


def search_living(
    search: Search,
    matrix: np.ndarray,
    resolution: float,
    restarts: int | None,
    seed: int,
    reported_resolution: float | None = None,
) -> Partition:
    """Search among the living units of a checked adjacency; Q is reported at ``reported_resolution`` if given."""
    labels = np.full(len(matrix), DEAD, np.int64)
    if not np.all(np.isfinite(matrix)):  # the similarity overflowed: no modules, and dead units cannot be told apart
        return Partition(labels, float("nan"), 0, float("nan"), 0)
    alive = np.flatnonzero(matrix.any(1))
    if len(alive) == 1:
        labels[alive] = 0
    elif len(alive) > 1:
        labels[alive] = search(np.ascontiguousarray(matrix[np.ix_(alive, alive)]), resolution, restarts, seed)
    return make_partition(matrix, labels, resolution if reported_resolution is None else reported_resolution)
