"""Everything about the graphs of one layer of one trial: what a worker process does in one job."""

from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np

from modjax.clustering.alignment import alignment, alignment_null, draw_permutations, transfer_modularity_of
from modjax.clustering.null_models import NullSummary, modularity_null
from modjax.clustering.partition import Partition
from modjax.clustering.search import METHODS, search_living


class SearchSettings(NamedTuple):
    """How modules are searched for and compared."""

    method: str = "leiden"
    resolution: float = 1.0
    restarts: int | None = None
    nulls: int = 0
    permutations: int = 0


class PairScores(NamedTuple):
    """Alignment of two of a layer's graphs, by their places in the job."""

    first: int
    second: int
    scores: dict[str, float]
    transfer_ab: float
    transfer_ba: float
    null: NullSummary


class LayerModules(NamedTuple):
    """The modules of each graph, their nulls, and all pairs a <= b."""

    partitions: list[Partition]
    nulls: list[NullSummary]
    pairs: list[PairScores]


def cluster_layer(adjacencies: np.ndarray, settings: SearchSettings, seed: int) -> LayerModules:
    """Find the modules of every graph of a layer and compare all pairs.

    Args:
        adjacencies: ``[graphs units units]``, float64, as :func:`modjax.adjacency` makes them.
        settings: Search and nulls.
        seed: Of the trial; the result depends on nothing else.
    """
    search = METHODS[settings.method]

    def find(matrix: np.ndarray, start: int) -> Partition:
        return search_living(search, matrix, settings.resolution, settings.restarts, start)

    partitions = [find(matrix, seed) for matrix in adjacencies]
    nulls = [
        modularity_null(matrix, found.q, lambda graph, start: find(graph, start).q, settings.nulls, seed)
        for matrix, found in zip(adjacencies, partitions, strict=True)
    ]
    orders = draw_permutations(adjacencies.shape[-1], settings.permutations, seed)
    pairs = [
        _compare(adjacencies, partitions, orders, settings.resolution, first, second)
        for first, second in combinations_with_replacement(range(len(adjacencies)), 2)
    ]
    return LayerModules(partitions, nulls, pairs)


def _compare(
    adjacencies: np.ndarray,
    partitions: list[Partition],
    orders: np.ndarray,
    resolution: float,
    first: int,
    second: int,
) -> PairScores:
    a, b = partitions[first].labels, partitions[second].labels
    scores: dict[str, Any] = alignment(a, b)
    null = alignment_null(a, b, orders)
    transfer_ab = transfer_modularity_of(adjacencies[first], b, resolution)
    transfer_ba = transfer_modularity_of(adjacencies[second], a, resolution)
    return PairScores(first, second, scores, transfer_ab, transfer_ba, null)
