"""Leiden search through igraph's C code: the best of several runs, or a few runs and iterated moves from each."""

from collections.abc import Callable

import numpy as np

from modjax.clustering.graph import igraph_seed, weighted_graph
from modjax.clustering.iterated import iterate
from modjax.clustering.modularity import modularity_of
from modjax.clustering.moves import gain_matrix
from modjax.clustering.partition import canonical

# The recipe: so many chains, each from a Leiden run; shakes of each chain; how much worse in Q a chain may get. Chosen
# on graphs with permuted and random weights (benchmarks/README.md), not on the networks that tests hold it against.
STARTS = 4
ROUNDS = 400
PASSES = 100  # of a Leiden run; three or four are usual
TOLERANCE = 1e-3


def leiden(adjacency: np.ndarray, resolution: float, restarts: int | None, seed: int) -> np.ndarray:
    """Labels of the partition with the highest Q among ``restarts`` runs of the Leiden algorithm.

    On near-random graphs even the best of 30 runs misses the highest Q in two of five cases. The method's own recipe
    therefore takes four runs and goes on from each by iterated local search (:mod:`modjax.clustering.iterated`).

    Args:
        adjacency: ``[units units]`` of living units, at least two.
        resolution: g of :func:`modjax.modularity`.
        restarts: Runs; None is the method's own recipe.
        seed: Same seed, same labels.

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
    """``[runs units]``: labels of single Leiden runs, each until nothing changes, or for ``PASSES`` passes.

    Pass by pass, since igraph's own ``n_iterations=-1`` never ends on a graph where its passes go round in a circle.
    """
    graph, weights = weighted_graph(adjacency)
    found = []
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
            found.append(labels)
    return np.array(found, np.int64)


def repeat_passes(one_pass: Callable[[], float]) -> None:
    """Repeat a pass that answers what it gained until it gains nothing, or for ``PASSES`` passes.

    What leidenalg's own ``n_iterations=-1`` does, which has no end where rounding makes passes gain for ever.
    """
    for _ in range(PASSES):
        if one_pass() <= 0:
            return
