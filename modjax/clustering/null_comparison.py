"""Comparison of an observed score with scores under a null model."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from modjax.builtins import NULLS
from modjax.checks import check_adjacency, check_similarity_like
from modjax.clustering.adjacency import adjacency, as_similarity
from modjax.clustering.modularity import check_resolution
from modjax.clustering.null_models import NULL_GRAPHS, Draw
from modjax.clustering.quick import quick_q
from modjax.names import NULL_KINDS, one_of

Score = Callable[[np.ndarray, int], float]


class NullSummary(NamedTuple):
    """Comparison of an observed score with scores under a null model.

    Attributes:
        kind: Name of the null model; None if no null score was drawn.
        n: Number of null scores.
        mean: Mean of the null scores.
        sd: Standard deviation of the null scores (divided by n - 1).
        z: (observed - mean) / sd. Of normal null scores it is sqrt(1 + 1/n) times a t with n - 1 degrees of freedom.
        p: (1 + number of null scores >= observed) / (1 + n).
        effect: observed - mean: for modularity, excess Q.
        observed: The observed score: for modularity, Q by the null's own search.
    """

    kind: str | None
    n: int
    mean: float | None
    sd: float | None
    z: float | None
    p: float | None
    effect: float | None
    observed: float | None = None


NO_NULL = NullSummary(None, 0, None, None, None, None, None)


def summarize_null(kind: str, observed: float, scores: np.ndarray) -> NullSummary:
    """Return mean, sd, z, p and effect of an observed score; None where there are too few null scores.

    Example:
        >>> summarize_null("example", 3.0, np.array([0.0, 1.0, 2.0])).p
        0.25
    """
    scores = scores[np.isfinite(scores)]
    num = len(scores)
    if num == 0 or not np.isfinite(observed):
        return NO_NULL
    mean = float(scores.mean())
    sd = float(scores.std(ddof=1)) if num > 1 else None
    # If all scores are equal up to rounding, there is no spread to divide by.
    z = (observed - mean) / sd if sd and sd > 1e-12 * max(1.0, abs(mean)) else None
    # Scores that are equal up to rounding count as ties.
    num_as_high = int(np.sum(scores >= observed - 1e-12))
    return NullSummary(kind, num, mean, sd, z, (1 + num_as_high) / (1 + num), observed - mean, float(observed))


def modularity_null(
    S: ArrayLike,  # noqa: N803 - the formula's letter
    kind: str = "rotation",
    n: int = 99,
    normalized: bool = False,
    seed: int = 0,
    resolution: float = 1.0,
) -> NullSummary:
    """Compare Q of a graph with Q of ``n`` graphs without structure, all found by the same quick search.

    The quick search (:func:`modjax.clustering.quick.quick_q`) finds slightly less than :func:`modjax.find_modules`, in
    the observed graph and in null graphs alike, so that p is exact whatever it misses. Dead units are left out.

    ========================  =====================================  =================================================
    kind                      keeps                                  its p answers
    ========================  =====================================  =================================================
    ``rotation``              spectrum of S                          Is the basis of units special?
    ``hirschberger``          mean and variance of the entries       Would independent units show such modules?
    ``strength_rewiring``     strength of every unit                 Do strengths alone explain Q?
    ``weight_permutation``    weights                                Are the weights exchangeable? (They never are.)
    ========================  =====================================  =================================================

    Args:
        S: Signed similarity ``[units units]``, or an adjacency (its diagonal is zero), which ``rotation`` and
            ``hirschberger`` cannot draw from.
        kind: Null model, as above.
        n: Number of null graphs. The least p is 1 / (1 + n).
        normalized: Whether the graph is that of the normalized similarity.
        seed: Random seed; the same seed gives the same null graphs and searches.
        resolution: g of :func:`modjax.modularity`.

    Returns:
        Mean, sd, z, p, effect (excess Q) and the observed Q.

    Raises:
        ValueError: Not square, symmetric and finite; an unknown kind; a negative n; an adjacency where S is needed;
            fewer than two living units.

    Example:
        >>> units = np.random.default_rng(0).standard_normal((12, 500))
        >>> units[:6] += 2 * units[0]
        >>> units[6:] += 2 * units[6]
        >>> modularity_null(units @ units.T, n=19).p
        0.05
    """
    one_of(kind, NULL_KINDS, "kind")
    matrix, resolution = check_similarity_like("S", S), check_resolution(resolution)
    if not float(n).is_integer() or n < 0:
        raise ValueError(f"n must be a whole number, at least 0; got {n}.")
    if not float(seed).is_integer() or seed < 0:
        raise ValueError(f"seed must be a whole number, at least 0; got {seed}.")
    if matrix.any() and not np.diagonal(matrix).any():
        matrix = as_similarity(check_adjacency(matrix))
        if NULLS[kind].needs_gram:
            raise ValueError(
                f"the {kind} null needs the signed similarity S with its diagonal; got an adjacency, whose diagonal is "
                "zero. Pass S itself, or use kind='strength_rewiring'."
            )
        if normalized:
            raise ValueError("an adjacency cannot be normalized after the fact; pass S, or normalized=False.")
    num_living = int(adjacency(matrix, normalized).any(1).sum())
    if num_living < 2:
        raise ValueError(f"a null needs two living units at least, with a weight between them; got {num_living}.")

    def score(graph: np.ndarray, number: int) -> float:
        return quick_q(graph, resolution, np.random.default_rng([seed, number]))

    return score_null(matrix, normalized, score, int(n), int(seed), kind)


def score_null(
    S: np.ndarray,  # noqa: N803
    normalized: bool,
    score: Score,
    num_nulls: int,
    seed: int,
    kind: str,
    draw: Draw | None = None,
) -> NullSummary:
    """Compare the score of a graph with that of null graphs.

    Args:
        S: Checked similarity ``[units units]``.
        normalized: Whether the graph is that of the normalized similarity.
        score: Function ``score(adjacency, number)`` of living units; the observed graph has number 0.
        num_nulls: Number of null graphs.
        seed: Random seed of the null graphs.
        kind: One of ``NULL_GRAPHS``, or the name of ``draw``.
        draw: The draw of another kind.

    Returns:
        The comparison; that of no null graphs where the similarity overflowed or has fewer than two living units.
    """
    if num_nulls == 0 or not np.all(np.isfinite(S)):
        return NO_NULL
    graph = adjacency(S, normalized)
    alive = np.flatnonzero(graph.any(1))
    if len(alive) < 2:
        return NO_NULL
    living = np.ix_(alive, alive)
    observed = score(np.ascontiguousarray(graph[living]), 0)
    rng, draw = np.random.default_rng([seed, 1]), NULL_GRAPHS[kind] if draw is None else draw
    own = np.ascontiguousarray(S[living])
    scores = np.array([score(draw(own, normalized, rng), 1 + number) for number in range(num_nulls)])
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
