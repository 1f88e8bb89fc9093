"""Modules of all graphs of one layer of one trial, their null models and alignment: one job of a worker process."""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np

from modjax.clustering.adjacency import adjacency_or_nan
from modjax.clustering.alignment import alignment
from modjax.clustering.alignment_null import LayerPermutations
from modjax.clustering.consensus import find_consensus
from modjax.clustering.joint import JointModules, joint_labels, make_joint
from modjax.clustering.modularity import modularity_of
from modjax.clustering.module_significance import ModuleTest, NullModules, compare_modules, modules_of
from modjax.clustering.null_comparison import NO_NULL, NullSummary, score_null
from modjax.clustering.partition import Partition, effective_number
from modjax.clustering.quick import quick_labels
from modjax.clustering.resolution import recommend, stability_of
from modjax.clustering.roles import participation_of, zscore_of
from modjax.clustering.search import search_living, search_of
from modjax.clustering.transfer import normalized_transfer, rank_correlation, transfer_modularity_of, weight_ranks
from modjax.extensions import function_of

CONSENSUS_THRESHOLD = 0.5


class SearchSettings(NamedTuple):
    """Settings of module searches and comparisons; with the defaults, modules are only searched for.

    ``search`` and ``draw`` are the functions of an extension's method and null, or their addresses.
    """

    method: str = "leiden"
    resolution: float = 1.0
    restarts: int | None = None
    quality: str = "modularity"
    nulls: int = 0
    null_kind: str = "rotation"
    null_search: str = "quick"
    consensus: int = 0
    resolutions: tuple[float, ...] = ()
    permutations: int = 0
    search: Any = None
    draw: Any = None


class SignedGraph(NamedTuple):
    """A graph of a layer, as the similarity that it follows from.

    Attributes:
        matrix: Signed similarity ``[units units]``, float64.
        normalized: Whether the graph is that of the normalized similarity.
        has_null: Whether null graphs can be drawn for it: some nulls need Gram matrices.
    """

    matrix: np.ndarray
    normalized: bool = False
    has_null: bool = True


class GraphModules(NamedTuple):
    """Modules of one graph and the statistics on them.

    Attributes:
        partition: Partition of the graph.
        effective_modules_strength: exp(entropy of the modules' shares of the strengths).
        null: Comparison of Q with that of null graphs.
        module_test: Comparison of each module with those of null graphs.
        participation: ``[units]`` participation coefficient.
        within_module_z: ``[units]`` within-module z-score.
        certainty: ``[units]`` certainty of the consensus of single runs; None if not asked for.
        profile_q: ``[resolutions]`` Q at each resolution asked for.
        profile_num_modules: ``[resolutions]`` number of modules at each.
        profile_stability: ``[resolutions]`` agreement with the partitions at the resolutions beside it.
        recommended_resolution: The resolution of the highest stability; NaN if there is none.
    """

    partition: Partition
    effective_modules_strength: float
    null: NullSummary
    module_test: ModuleTest | None
    participation: np.ndarray
    within_module_z: np.ndarray
    certainty: np.ndarray | None
    profile_q: list[float]
    profile_num_modules: list[int]
    profile_stability: list[float]
    recommended_resolution: float


class PairScores(NamedTuple):
    """Alignment of two of a layer's graphs, given by their indices in the job."""

    first: int
    second: int
    scores: dict[str, float]
    nulls: dict[str, NullSummary]


class LayerModules(NamedTuple):
    """Modules of each graph, joint modules of each group of graphs, and scores of all pairs a <= b."""

    graphs: list[GraphModules]
    joint: list[JointModules]
    pairs: list[PairScores]


def cluster_layer(
    graphs: Sequence[SignedGraph], settings: SearchSettings, seed: int, groups: Sequence[Sequence[int]] = ()
) -> LayerModules:
    """Find the modules of every graph of a layer, and of groups of them together, and compare all pairs.

    Args:
        graphs: Graphs of the layer, by their signed similarities.
        settings: Settings of the searches and null models.
        seed: Seed of the trial; all random draws depend on it alone.
        groups: Groups of graphs, by index, that get joint modules.
    """
    adjacencies = np.stack([adjacency_or_nan(graph.matrix, graph.normalized) for graph in graphs])
    searched = [_search_graph(graph, matrix, settings, seed) for graph, matrix in zip(graphs, adjacencies, strict=True)]
    return LayerModules(
        searched,
        [_search_group(adjacencies, searched, group, settings, seed) for group in groups],
        _compare_all(adjacencies, [graph.partition for graph in searched], settings, seed),
    )


def _search_graph(graph: SignedGraph, matrix: np.ndarray, settings: SearchSettings, seed: int) -> GraphModules:
    is_own = settings.search is not None
    search = function_of(settings.search) if is_own else search_of(settings.method, settings.quality)
    reported = settings.resolution if settings.quality == "modularity" else 1.0

    # The resolution of another quality is no g of modularity: Q is then reported at g = 1, but in profiles at theirs.
    def find(graph: np.ndarray, start: int, resolution: float = settings.resolution) -> Partition:
        is_reported = resolution == settings.resolution
        return search_living(search, graph, resolution, settings.restarts, start, reported if is_reported else None)

    partition = find(matrix, seed)
    null, module_test = _compare_with_nulls(graph, matrix, partition, find, reported, settings, seed)
    is_whole = bool(np.all(np.isfinite(matrix)))  # a similarity may have overflowed
    certainty = None
    if settings.consensus and is_whole:
        runs = find_consensus(
            search, matrix, settings.consensus, CONSENSUS_THRESHOLD, settings.resolution, settings.restarts or 1, seed
        )
        certainty = runs.certainty
    profile = [find(matrix, seed, resolution) for resolution in settings.resolutions]
    stability = stability_of(settings.resolutions, [result.labels for result in profile])
    unknown = np.full(len(matrix), np.nan)
    return GraphModules(
        partition,
        effective_number(partition.labels, matrix.sum(1)) if is_whole else float("nan"),
        null,
        module_test,
        participation_of(matrix, partition.labels) if is_whole else unknown,
        zscore_of(matrix, partition.labels) if is_whole else unknown,
        certainty,
        [result.q for result in profile],
        [result.num_modules for result in profile],
        stability.tolist(),
        recommend(settings.resolutions, stability),
    )


def _compare_with_nulls(
    graph: SignedGraph,
    matrix: np.ndarray,
    partition: Partition,
    find: Callable[[np.ndarray, int], Partition],
    resolution: float,
    settings: SearchSettings,
    seed: int,
) -> tuple[NullSummary, ModuleTest | None]:
    """Return the comparison of Q with that of null graphs, and of each module with their modules."""
    if not settings.nulls or not graph.has_null:
        return NO_NULL, None
    draw = None if settings.draw is None else function_of(settings.draw)
    is_quick = settings.null_search == "quick"
    null_modules: list[NullModules] = []

    def score(living: np.ndarray, number: int) -> float:
        if is_quick:
            labels, q = quick_labels(living, resolution, np.random.default_rng([seed, 3, number]))
        elif number == 0:  # searched already
            labels, q = partition.labels, partition.q
        else:  # as version 0.2: null graphs begin with the seed of the graph itself
            labels, q, *_ = find(living, seed + number - 1)
        if number:
            null_modules.append(modules_of(living, labels))
        return q

    null = score_null(graph.matrix, graph.normalized, score, settings.nulls, seed, settings.null_kind, draw)
    if null.kind is None:
        return null, None
    return null, compare_modules(modules_of(matrix, partition.labels), null_modules)


def _search_group(
    adjacencies: np.ndarray, graphs: list[GraphModules], group: Sequence[int], settings: SearchSettings, seed: int
) -> JointModules:
    matrices = [adjacencies[index] for index in group]
    labels = joint_labels(matrices, np.ones(len(group)), settings.resolution, settings.restarts, seed)
    own_q = np.array(
        [
            modularity_of(matrix, graphs[index].partition.labels, settings.resolution)
            for matrix, index in zip(matrices, group, strict=True)
        ]
    )
    return make_joint(matrices, labels, own_q, settings.resolution)


def _compare_all(
    adjacencies: np.ndarray, partitions: list[Partition], settings: SearchSettings, seed: int
) -> list[PairScores]:
    permutations = LayerPermutations(adjacencies.shape[-1], settings.permutations, seed)
    # Most pairs share their living units, so that each graph's ranks are needed many times.
    ranks: dict[tuple[int, bytes], np.ndarray] = {}

    def ranks_of(index: int, is_alive: np.ndarray) -> np.ndarray:
        key = (index, is_alive.tobytes())
        if key not in ranks:
            ranks[key] = weight_ranks(adjacencies[index], np.flatnonzero(is_alive))
        return ranks[key]

    pairs = []
    for first, second in combinations_with_replacement(range(len(adjacencies)), 2):
        a, b = partitions[first].labels, partitions[second].labels
        is_alive = (a >= 0) & (b >= 0)  # the same rule as "dropped" in alignment
        ab = transfer_modularity_of(adjacencies[first], b, settings.resolution)
        ba = transfer_modularity_of(adjacencies[second], a, settings.resolution)
        own_a = modularity_of(adjacencies[first], a, settings.resolution)
        own_b = modularity_of(adjacencies[second], b, settings.resolution)
        scores = {
            **alignment(a, b),
            "spearman": rank_correlation(ranks_of(first, is_alive), ranks_of(second, is_alive)),
            "transfer_ab": ab,
            "transfer_ba": ba,
            "transfer_normalized_ab": normalized_transfer(ab, own_a),
            "transfer_normalized_ba": normalized_transfer(ba, own_b),
        }
        pairs.append(PairScores(first, second, scores, permutations.null(a, b)))
    return pairs
