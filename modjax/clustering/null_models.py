"""Null models: graphs without structure, and the comparison of a score with theirs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from modjax.builtins import NULLS
from modjax.checks import check_adjacency
from modjax.clustering.compiled import compiled
from modjax.clustering.search import check_search, search_living, search_of
from modjax.names import NULL_KINDS, one_of
from modjax.records import resolve

MOVES_PER_EDGE = 10  # in strength-preserving rewiring


class NullSummary(NamedTuple):
    """Comparison of an observed score with scores under a null model.

    Attributes:
        kind: Name of the null model; None if no null score was drawn.
        n: Number of null scores.
        mean: Mean of the null scores.
        sd: Standard deviation of the null scores (divided by n - 1).
        z: (observed - mean) / sd.
        p: (1 + number of null scores >= observed) / (1 + n).
        effect: observed - mean.
    """

    kind: str | None
    n: int
    mean: float | None
    sd: float | None
    z: float | None
    p: float | None
    effect: float | None


def summarize_null(kind: str, observed: float, scores: np.ndarray) -> NullSummary:
    """Return mean, sd, z, p and effect of an observed score; None where there are too few null scores.

    Example:
        >>> summarize_null("example", 3.0, np.array([0.0, 1.0, 2.0])).p
        0.25
    """
    scores = scores[np.isfinite(scores)]
    num = len(scores)
    if num == 0 or not np.isfinite(observed):
        return NullSummary(None, 0, None, None, None, None, None)
    mean = float(scores.mean())
    sd = float(scores.std(ddof=1)) if num > 1 else None
    # If all scores are equal up to rounding, there is no spread to divide by.
    z = (observed - mean) / sd if sd and sd > 1e-12 * max(1.0, abs(mean)) else None
    # Scores that are equal up to rounding count as ties.
    num_as_high = int(np.sum(scores >= observed - 1e-12))
    return NullSummary(kind, num, mean, sd, z, (1 + num_as_high) / (1 + num), observed - mean)


def permute_weights(adjacency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a graph with the same weights permuted over all pairs of living units; dead units stay dead."""
    alive = np.flatnonzero(adjacency.any(1))
    rows, columns = (alive[index] for index in np.triu_indices(len(alive), k=1))
    result = np.zeros_like(adjacency)
    result[rows, columns] = rng.permutation(adjacency[rows, columns])
    return result + result.T


def rewire_strengths(adjacency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random graph in which every unit keeps its strength k_i = sum_j A_ij; dead units stay dead.

    A move draws four units at random, arranged in a ring, and a d, uniform over the values that leave all weights
    non-negative; d is added to two opposite edges of the ring and subtracted from the other two. Many such moves draw
    uniformly from all graphs with these strengths; the distribution of weights is not kept. Graphs of fewer than four
    units stay as they are.

    References:
        Ansmann & Lehnertz, "Constrained randomization of weighted networks", Physical Review E 84, 026103 (2011).
    """
    alive = np.flatnonzero(adjacency.any(1))
    weights = np.ascontiguousarray(adjacency[np.ix_(alive, alive)])
    if len(alive) >= 4:
        move_weights(weights, MOVES_PER_EDGE * len(alive) * (len(alive) - 1) // 2, rng)
    result = np.zeros_like(adjacency)
    result[np.ix_(alive, alive)] = weights
    return result


@compiled
def move_weights(weights, num_moves, rng):
    """Make the moves of :func:`rewire_strengths`, in place."""
    num_units = len(weights)
    ring = np.empty(4, np.int64)
    for _ in range(num_moves):
        for corner in range(4):
            ring[corner] = int(num_units * rng.random())
        i, j, k, m = ring
        if i in (j, k, m) or j in (k, m) or k == m:
            continue
        # The range of changes that leave all four weights non-negative; max(0, .) below only removes rounding.
        least, most = -min(weights[i, j], weights[k, m]), min(weights[j, k], weights[m, i])
        change = least + (most - least) * rng.random()
        weights[i, j] = weights[j, i] = max(0.0, weights[i, j] + change)
        weights[k, m] = weights[m, k] = max(0.0, weights[k, m] + change)
        weights[j, k] = weights[k, j] = max(0.0, weights[j, k] - change)
        weights[m, i] = weights[i, m] = max(0.0, weights[m, i] - change)


NULL_GRAPHS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    name: resolve(info.draw) for name, info in NULLS.items()
}


def modularity_null(
    adjacency: ArrayLike,
    n: int = 99,
    kind: str = "weight_permutation",
    method: str = "leiden",
    resolution: float = 1.0,
    restarts: int | None = None,
    seed: int = 0,
) -> NullSummary:
    """Compare Q of a graph with Q of ``n`` graphs without structure, all searched in the same way.

    weight_permutation: the same weights on other pairs of units. strength_rewiring: other weights, with the strength of
    every unit kept (:func:`rewire_strengths`).

    Args:
        adjacency: ``[units units]``.
        n: Number of null graphs.
        kind: ``weight_permutation`` or ``strength_rewiring``.
        method: As in :func:`modjax.find_modules`.
        resolution: As in :func:`modjax.find_modules`.
        restarts: As in :func:`modjax.find_modules`.
        seed: Random seed; the same seed gives the same null graphs and searches.

    Returns:
        Mean, sd, z, p and effect.

    Raises:
        ValueError: As :func:`modjax.find_modules`; an unknown kind, or a negative n.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((6, 6)) - np.eye(6))
        >>> modularity_null(two_cliques, n=19).p
        0.05
    """
    one_of(kind, NULL_KINDS, "kind")
    search, matrix = search_of(method), check_adjacency(adjacency)
    resolution, restarts, seed = check_search(resolution, restarts, seed)
    if n < 0:
        raise ValueError(f"n must be a whole number, at least 0; got {n}.")

    def find(graph: np.ndarray, start: int) -> float:
        return search_living(search, graph, resolution, restarts, start).q

    return score_null(matrix, find(matrix, seed), find, n, seed, kind)


def score_null(
    adjacency: np.ndarray,
    observed: float,
    search: Callable[[np.ndarray, int], float],
    num_nulls: int,
    seed: int,
    kind: str = "weight_permutation",
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
) -> NullSummary:
    """Compare an observed Q with Q of null graphs, each found by the same search.

    Args:
        adjacency: ``[units units]``, checked.
        observed: Q of the graph.
        search: Function ``search(adjacency, seed) -> Q``.
        num_nulls: Number of null graphs.
        seed: Random seed; the same seed gives the same graphs and searches.
        kind: One of ``NULL_GRAPHS``, or the name of ``draw``.
        draw: Function ``draw(adjacency, rng) -> adjacency`` of another kind.
    """
    if not np.isfinite(observed):
        return summarize_null(kind, observed, np.empty(0))
    rng = np.random.default_rng([seed, 1])
    null_graph = NULL_GRAPHS[kind] if draw is None else draw
    scores = np.array([search(null_graph(adjacency, rng), seed + number) for number in range(num_nulls)])
    return summarize_null(kind, observed, scores)


def adjusted_p(p: ArrayLike) -> np.ndarray:
    """Return Benjamini-Hochberg q-values: the least false discovery rate at which each p-value is significant.

    q_(i) = min over j >= i of p_(j) m / j, p sorted, m of them; NaN stays NaN and does not count.

    Args:
        p: p-values between 0 and 1, or NaN.

    Raises:
        ValueError: A value outside [0, 1].

    Example:
        >>> adjusted_p([0.01, 0.04, float("nan"), 0.03]).round(6).tolist()
        [0.03, 0.04, nan, 0.04]

    References:
        Benjamini & Hochberg, Journal of the Royal Statistical Society B 57, 289 (1995).
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, np.float64)
    result = np.full(values.shape, np.nan)
    is_there = ~np.isnan(values)
    if np.any((values[is_there] < 0) | (values[is_there] > 1)):
        raise ValueError("p-values must be between 0 and 1.")
    if is_there.any():
        result[is_there] = false_discovery_control(values[is_there], method="bh")
    return result
