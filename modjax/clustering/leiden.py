"""Leiden search through igraph's C code, the best of several restarts."""

import numpy as np

from modjax.clustering.graph import igraph_seed, weighted_graph
from modjax.clustering.modularity import modularity_of

DEFAULT_RESTARTS = 30


def leiden(adjacency: np.ndarray, resolution: float, restarts: int | None, seed: int) -> np.ndarray:
    """Labels of the partition with the highest Q among ``restarts`` runs of the Leiden algorithm.

    Args:
        adjacency: ``[units units]`` of living units, at least two.
        resolution: g of :func:`modjax.modularity`.
        restarts: Runs; None is the method's own recipe, 30: single runs fall short on near-random matrices.
        seed: Same seed, same labels.

    References:
        Traag, Waltman & van Eck, "From Louvain to Leiden", Scientific Reports 2019.
    """
    graph, weights = weighted_graph(adjacency)
    best, best_q = (
        np.zeros(len(adjacency), np.int64),
        modularity_of(adjacency, np.zeros(len(adjacency), int), resolution),
    )
    with igraph_seed(seed):
        for _ in range(DEFAULT_RESTARTS if restarts is None else restarts):
            found = graph.community_leiden(
                objective_function="modularity", weights=weights, resolution=resolution, n_iterations=-1
            )
            labels = np.asarray(found.membership)
            q = modularity_of(adjacency, labels, resolution)
            if q > best_q:
                best, best_q = labels, q
    return best
