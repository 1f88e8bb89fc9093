"""Leiden search with the leidenalg package, which has quality functions other than modularity."""

from typing import Any

import leidenalg
import numpy as np

from modjax.clustering.graph import weighted_graph
from modjax.clustering.leiden import repeat_passes

DEFAULT_RESTARTS = 10
# Quality function -> leidenalg's class, and whether it takes a resolution.
QUALITIES = {
    "modularity": (leidenalg.RBConfigurationVertexPartition, True),
    "cpm": (leidenalg.CPMVertexPartition, True),
    "rber": (leidenalg.RBERVertexPartition, True),
    "surprise": (leidenalg.SurpriseVertexPartition, False),
}


def leidenalg_search(
    adjacency: np.ndarray, resolution: float, restarts: int | None, seed: int, quality: str = "modularity"
) -> np.ndarray:
    """Return the labels with the highest quality among ``restarts`` runs.

    modularity: :func:`modjax.modularity`. cpm: sum_ij (w_ij - g) [c_i = c_j], the constant Potts model. rber: the same
    with g times the mean weight. surprise: asymptotic surprise, without resolution. w is A divided by its mean weight,
    so that g = 1 of cpm means "heavier than average within a module".

    Args:
        adjacency: ``[units units]`` of living units, at least two.
        resolution: g.
        restarts: Number of runs; None is 10.
        seed: Random seed; the same seed gives the same labels.
        quality: Name of the quality function.

    References:
        Traag, Van Dooren & Nesterov 2011 (CPM); Reichardt & Bornholdt 2006 (RBER); Traag, Aldecoa & Delvenne 2015
        (surprise).
    """
    graph, weights = weighted_graph(adjacency)
    partition_type, has_resolution = QUALITIES[quality]
    options: dict[str, Any] = {"resolution_parameter": resolution} if has_resolution else {}
    seeds = np.random.default_rng(seed).integers(2**31, size=DEFAULT_RESTARTS if restarts is None else restarts)
    runs = [_run(partition_type(graph, weights=weights, **options), int(number)) for number in seeds]
    return np.asarray(max(runs, key=lambda partition: partition.quality()).membership, np.int64)


def _run(partition: Any, seed: int) -> Any:
    """Return ``partition`` after one Leiden run: ``leidenalg.find_partition`` with a limit on its passes."""
    optimiser = leidenalg.Optimiser()
    optimiser.set_rng_seed(seed)
    repeat_passes(lambda: optimiser.optimise_partition(partition, n_iterations=1))
    return partition
