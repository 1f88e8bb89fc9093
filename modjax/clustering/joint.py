"""One partition for several graphs of the same units."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from modjax.checks import check_adjacency
from modjax.clustering.graph import weighted_graph
from modjax.clustering.iterated import iterate
from modjax.clustering.leiden import ROUNDS, STARTS, TOLERANCE, leiden, repeat_passes
from modjax.clustering.modularity import modularity_of
from modjax.clustering.moves import gain_matrix
from modjax.clustering.partition import DEAD, canonical, effective_number
from modjax.clustering.search import check_search, search_living


class JointModules(NamedTuple):
    """One partition for several graphs.

    Attributes:
        labels: ``[units]``; -1 for units that are dead in every graph.
        q: ``[graphs]`` Q of each graph with these modules; NaN for a graph without weight.
        own_q: ``[graphs]`` Q of each graph with modules of its own: ``own_q - q`` is what it gives up.
        num_modules: Number of modules.
        effective_modules: exp(entropy of module sizes as shares of the living units).
        num_dead: Number of units in no module.
    """

    labels: np.ndarray
    q: np.ndarray
    own_q: np.ndarray
    num_modules: int
    effective_modules: float
    num_dead: int


def joint_modules(
    adjacencies: Any,
    weights: Sequence[float] | None = None,
    resolution: float = 1.0,
    restarts: int | None = None,
    seed: int = 0,
) -> JointModules:
    """Find the partition with the highest weighted sum of modularities, sum_l w_l Q(A_l, c).

    Args:
        adjacencies: Graphs of the same units, ``[graphs units units]`` or a sequence of ``[units units]``.
        weights: w, not negative and not all zero; equal if None.
        resolution: g of :func:`modjax.modularity`.
        restarts: Number of runs of multiplex Leiden, of which the best is kept; None is one run and iterated moves.
        seed: Random seed; the same seed gives the same labels.

    Raises:
        ValueError: Not adjacencies of one size; weights, resolution, restarts or seed that are not allowed.

    Example:
        >>> pairs = np.kron(np.eye(3), np.ones((2, 2)) - np.eye(2))
        >>> halves = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> joint_modules([pairs, halves], weights=[1.0, 2.0]).labels.tolist()
        [0, 0, 0, 1, 1, 1]

    References:
        Mucha et al., Science 328, 876 (2010); Traag's leidenalg, "Multiplex partitions".
    """
    matrices = [check_adjacency(matrix) for matrix in adjacencies]
    if not matrices or len({matrix.shape for matrix in matrices}) > 1:
        sizes = [len(matrix) for matrix in matrices]
        raise ValueError(f"adjacencies must be one or more graphs of the same units; got graphs of {sizes} units.")
    w = np.ones(len(matrices)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (len(matrices),) or not np.all(np.isfinite(w)) or w.min() < 0 or w.sum() == 0:
        raise ValueError(f"weights must be {len(matrices)} numbers, not negative and not all zero; got {weights}.")
    resolution, restarts, seed = check_search(resolution, restarts, seed)
    labels = joint_labels(matrices, w, resolution, restarts, seed)
    own = [search_living(leiden, matrix, resolution, restarts, seed).q for matrix in matrices]
    return make_joint(matrices, labels, np.array(own), resolution)


def make_joint(
    matrices: Sequence[np.ndarray], labels: np.ndarray, own_q: np.ndarray, resolution: float
) -> JointModules:
    """Make joint modules, with everything that follows from their labels."""
    q = np.array([modularity_of(matrix, labels, resolution) for matrix in matrices])
    return JointModules(
        labels, q, own_q, int(labels.max(initial=DEAD)) + 1, effective_number(labels), int((labels < 0).sum())
    )


def joint_labels(
    matrices: Sequence[np.ndarray], weights: np.ndarray, resolution: float, restarts: int | None, seed: int
) -> np.ndarray:
    """Return the labels of :func:`joint_modules` for checked arguments.

    Graphs that are not finite or have no weight are left out.
    """
    used = [
        (matrix, weight)
        for matrix, weight in zip(matrices, weights, strict=True)
        if weight > 0 and np.all(np.isfinite(matrix)) and matrix.any()
    ]
    labels = np.full(len(matrices[0]), DEAD, np.int32)
    if not used:
        return labels
    alive = np.flatnonzero(np.any([matrix.any(1) for matrix, _ in used], 0))
    graphs = [(np.ascontiguousarray(matrix[np.ix_(alive, alive)]), weight) for matrix, weight in used]
    # The weighted sum of the graphs' Q is the sum of one matrix over pairs in one module: iterated moves apply to it.
    gains = np.sum([weight * gain_matrix(matrix, resolution) for matrix, weight in graphs], 0)
    runs = [_multiplex(graphs, resolution, seed + run) for run in range(restarts or 1)]
    if restarts is None:
        # One chain starts from multiplex Leiden, the others from single units.
        alone = np.tile(np.arange(len(alive)), (STARTS - 1, 1))
        starts = np.concatenate([np.stack(runs), alone])
        best = iterate(gains, starts, ROUNDS, TOLERANCE * weights.sum(), np.random.default_rng(seed))[0]
    else:
        best = max(runs, key=lambda run: gains[run[:, None] == run].sum())
    labels[alive] = best
    return canonical(labels)


def _multiplex(graphs: list[tuple[np.ndarray, float]], resolution: float, seed: int) -> np.ndarray:
    """Run leidenalg's multiplex Leiden once; each layer's weights are scaled so that its quality is its Q."""
    import leidenalg

    layers = []
    for matrix, _ in graphs:
        graph, edge_weights = weighted_graph(matrix)
        shares = np.asarray(edge_weights)
        shares = (shares / shares.sum() / 2).tolist()
        layers.append(leidenalg.RBConfigurationVertexPartition(graph, weights=shares, resolution_parameter=resolution))
    optimiser = leidenalg.Optimiser()
    optimiser.set_rng_seed(int(np.random.default_rng([seed, 3]).integers(2**31)))
    shares_of_layers = [weight for _, weight in graphs]
    # The optimiser changes the layers in place and gives all of them the same membership.
    repeat_passes(lambda: optimiser.optimise_partition_multiplex(layers, shares_of_layers, n_iterations=1))
    return canonical(np.asarray(layers[0].membership)).astype(np.int64)
