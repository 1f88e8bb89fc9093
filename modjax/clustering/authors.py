"""The search of the paper's authors as they wrote it: splits by singular vectors, then their Monte Carlo moves."""

from collections import deque

import numpy as np

from modjax.clustering.monte_carlo import best_of_runs
from modjax.clustering.partition import canonical


def monte_carlo_svd(adjacency: np.ndarray, resolution: float, restarts: int | None, seed: int) -> np.ndarray:
    """Return the best labels met in 5,000 Gibbs moves of single units that start from :func:`svd_splits`.

    The moves are those of :func:`modjax.clustering.monte_carlo.monte_carlo`, which starts from a better partition.
    Numbers of modules in the paper compare with this search's.

    Args:
        adjacency: ``[units units]`` of living units, at least two.
        resolution: g of :func:`modjax.modularity`.
        restarts: Number of runs of 5,000 moves, of which the best is kept; None is one, as in the paper.
        seed: Same seed, same labels.

    References:
        Lange, Rolnick & Kording, TMLR 2022; ``monte_carlo_modularity`` of the code published with it.
    """
    start = canonical(svd_splits(adjacency, resolution)).astype(np.int64)
    return best_of_runs(adjacency, resolution, start, restarts, seed)


def svd_splits(adjacency: np.ndarray, resolution: float = 1.0) -> np.ndarray:
    """Return labels found by splitting modules by the signs of the leading *singular* vector, while Q rises.

    B = A / s - g k k^T / s^2 with its diagonal; a module is split by the first right singular vector of the rows and
    columns of B that belong to it, which is the eigenvector of the eigenvalue that is largest *in size*: where that is
    negative, it separates units that belong together, and the split is not kept. Modules are tried in order of age.
    Newman's method takes the largest eigenvalue, and corrects B within a module.

    Args:
        adjacency: ``[units units]`` of living units.
        resolution: g; the authors have 1.

    References:
        ``spectral_modularity`` of the authors' code. Which half keeps the number depends there on the sign that LAPACK
        gives the vector, and only the order in which halves are split depends on it.
    """
    shares = adjacency / adjacency.sum()
    strengths = shares.sum(1)
    gains = shares - resolution * np.outer(strengths, strengths)
    labels = np.zeros(len(adjacency), np.int64)
    queue, count, best = deque([0]), 1, float(gains.sum())
    while queue and count < len(adjacency):
        module = queue.popleft()
        members = np.flatnonzero(labels == module)
        if len(members) < 2:
            continue
        vector = np.linalg.svd(gains[np.ix_(members, members)])[2][0]
        is_positive = vector >= 0
        if is_positive.all() or np.all(vector <= 0):
            continue
        proposed = labels.copy()
        proposed[members[~is_positive]] = count
        q = float(np.sum(gains * (proposed[:, None] == proposed)))
        if q > best:
            labels, best = proposed, q
            queue.extend([module, count])
            count += 1
    return labels
