"""Comparison of two graphs of the same units: modularity with the other's modules, and correlation of their weights."""

import numpy as np
from numpy.typing import ArrayLike

from modjax.checks import check_adjacency
from modjax.clustering.alignment import DEAD_RULES
from modjax.clustering.modularity import check_partition, check_resolution, membership
from modjax.names import one_of

NORMALIZATION_FLOOR = 1e-3  # as in the authors' code


def transfer_modularity(adjacency: ArrayLike, labels: ArrayLike, resolution: float = 1.0) -> float:
    """Return ``Q(A_a, P_b)``: how modular one measure's graph is with another measure's modules.

    Q = sum_r [e_rr - g (sum_s e_rs)^2],  e_rs = sum_{i in r, j in s} A_ij / sum A, over modules r, s: the authors'
    definition. It equals :func:`modjax.modularity` unless a unit that is dead in the partition has edges in the graph:
    those edges count in ``sum A`` but not in the strengths of the modules.

    Args:
        adjacency: ``[units units]`` of one measure.
        labels: ``[units]`` labels found for another measure; units with negative labels are in no module.
        resolution: g of :func:`modjax.modularity`.

    Raises:
        ValueError: Not an adjacency, labels of the wrong length, or a resolution that is not positive.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> round(transfer_modularity(two_cliques, [0, 1, 0, 1, 0, 1]), 4)
        -0.1667

    References:
        Lange, Rolnick & Kording, TMLR 2022, section 2.4.
    """
    matrix = check_adjacency(adjacency)
    array = check_partition("labels", labels, len(matrix))
    return transfer_modularity_of(matrix, array, check_resolution(resolution))


def transfer_modularity_of(adjacency: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Compute :func:`transfer_modularity` of checked arguments."""
    total = adjacency.sum()
    if total == 0:
        return float("nan")
    members = membership(labels)
    edges = members.T @ adjacency @ members / total
    return float(np.trace(edges) - resolution * np.sum(edges.sum(1) ** 2))


def normalized_transfer(transfer: float, q: float) -> float:
    """Return ``Q(A_a, P_b) / (Q(A_a, P_a) + 0.001)``: the share of a graph's modularity that another's modules keep.

    Args:
        transfer: :func:`transfer_modularity` of the graph with another's modules.
        q: Modularity of the graph's own modules.
    """
    return transfer / (q + NORMALIZATION_FLOOR)


def adjacency_spearman(adjacency_a: ArrayLike, adjacency_b: ArrayLike, dead: str = "dropped") -> float:
    """Return the Spearman correlation of the weights of two graphs over all pairs of units i < j.

    Args:
        adjacency_a: ``[units units]``.
        adjacency_b: ``[units units]``, of the same units.
        dead: ``dropped`` leaves out the units without weight in either graph; ``pooled`` keeps their zeros, as the
            paper does.

    Returns:
        The correlation; NaN where fewer than two pairs are left or all weights of a graph are equal.

    Raises:
        ValueError: Not two adjacencies of one size, or an unknown ``dead``.

    Example:
        >>> a = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
        >>> round(adjacency_spearman(a, a**2), 12)
        1.0
    """
    one_of(dead, DEAD_RULES, "dead")
    a, b = check_adjacency(adjacency_a), check_adjacency(adjacency_b)
    if a.shape != b.shape:
        raise ValueError(f"both adjacencies must have the same units; got {len(a)} and {len(b)}.")
    kept = np.flatnonzero(a.any(1) & b.any(1)) if dead == "dropped" else np.arange(len(a))
    return rank_correlation(weight_ranks(a, kept), weight_ranks(b, kept))


def weight_ranks(adjacency: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the ranks (ties share their mean) of the weights of all pairs of the kept units, minus their mean."""
    from scipy.stats import rankdata

    rows, columns = np.triu_indices(len(kept), k=1)
    if not len(rows):
        return np.empty(0)
    ranks = rankdata(adjacency[kept[rows], kept[columns]])
    return ranks - ranks.mean()


def rank_correlation(ranks_a: np.ndarray, ranks_b: np.ndarray) -> float:
    """Return the Pearson correlation of ranks that have mean zero; NaN where all ranks of one are equal."""
    scale = np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b))
    return float(ranks_a @ ranks_b / scale) if scale else float("nan")
