"""Leiden search with igraph's C code: the best of several runs, or a few runs with iterated moves from each."""

from collections.abc import Callable

import numpy as np

from modjax.clustering.graph import igraph_seed, weighted_graph
from modjax.clustering.iterated import iterate
from modjax.clustering.modularity import modularity_of
from modjax.clustering.moves import gain_matrix
from modjax.clustering.partition import canonical

# The recipe, chosen on graphs with permuted and random weights (benchmarks/README.md), not on the networks that the
# tests check it with.
STARTS = 4  # chains, each from a Leiden run
ROUNDS = 400  # shakes of each chain
PASSES = 100  # most passes of a Leiden run; three or four are usual
TOLERANCE = 1e-3  # loss in Q that a chain may accept


def leiden(adjacency: np.ndarray, resolution: float, restarts: int | None, seed: int) -> np.ndarray:
    """Return the labels with the highest Q among ``restarts`` runs of the Leiden algorithm.

    On near-random graphs even the best of 30 runs misses the highest Q in two of five cases. The method's own recipe
    therefore takes four runs and goes on from each by iterated local search (:mod:`modjax.clustering.iterated`).

    Args:
        adjacency: ``[units units]`` of living units, at least two.
        resolution: g of :func:`modjax.modularity`.
        restarts: Number of runs; None is the method's own recipe.
        seed: Random seed; the same seed gives the same labels.

    References:
        Traag, Waltman & van Eck, "From Louvain to Leiden", Scientific Reports 2019; Lourenco, Martin & Stutzle,
        "Iterated local search", 2003.
    """
    runs = leiden_runs(adjacency, resolution, STARTS if restarts is None else restarts, seed)
    if restarts is None:
        gains = gain_matrix(adjacency, resolution)
        return iterate(gains, runs, ROUNDS, TOLERANCE, np.random.default_rng(seed))[0]
    together = np.zeros(len(adjacency), np.int64)
    return max([together, *runs], key=lambda labels: modularity_of(adjacency, labels, resolution))


def leiden_runs(adjacency: np.ndarray, resolution: float, num_runs: int, seed: int) -> np.ndarray:
    """Return labels ``[runs units]`` of single Leiden runs, each until nothing changes, or for ``PASSES`` passes.

    The passes are made one by one, since igraph's own ``n_iterations=-1`` never ends on a graph where they go round in
    a circle.
    """
    graph, weights = weighted_graph(adjacency)
    labels_of_runs = []
    with igraph_seed(seed):
        for _ in range(num_runs):
            labels = None
            for _ in range(PASSES):
                before = labels
                once = graph.community_leiden(
                    objective_function="modularity",
                    weights=weights,
                    resolution=resolution,
                    n_iterations=1,
                    initial_membership=before,
                )
                labels = canonical(np.asarray(once.membership)).tolist()
                if labels == before:
                    break
            labels_of_runs.append(labels)
    return np.array(labels_of_runs, np.int64)


def repeat_passes(one_pass: Callable[[], float]) -> None:
    """Repeat a pass, which returns its gain, until it gains nothing, or for ``PASSES`` passes.

    This replaces leidenalg's own ``n_iterations=-1``, which never ends where passes keep gaining by rounding.
    """
    for _ in range(PASSES):
        if one_pass() <= 0:
            return
