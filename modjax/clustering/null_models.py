"""Null models: graphs without structure, drawn from the signed similarity of a layer's living units.

Each ``draw(S, normalized, rng)`` returns an adjacency like that of S.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from modjax.builtins import NULLS
from modjax.clustering.adjacency import adjacency
from modjax.clustering.compiled import compiled
from modjax.records import resolve

MOVES_PER_EDGE = 10  # in strength-preserving rewiring
MOST_COLUMNS = 10_000  # of the factors of a random Gram matrix

Draw = Callable[[np.ndarray, bool, np.random.Generator], np.ndarray]


def rotate(S: np.ndarray, normalized: bool, rng: np.random.Generator) -> np.ndarray:  # noqa: N803 - the formula's letter
    """Return the adjacency of S' = O S O^T with O drawn uniformly from all orthogonal matrices.

    Keeps the spectrum of S: its rank, and how much variance lies in how many directions. Destroys the relation of those
    directions to the units. Its p answers: is the basis of units special, or would any other basis of the same space of
    activations (or gradients) have such modules?

    Args:
        S: Signed similarity ``[units units]`` of living units, a Gram matrix.
        normalized: Whether S' is scaled by its own diagonal.
        rng: Random generator.

    References:
        Stewart, "The efficient generation of random orthogonal matrices", SIAM J. Numer. Anal. 17, 403 (1980).
    """
    # LAPACK itself: NumPy's wrapper of it takes as long as the work.
    factorize, multiply_out = _lapack()
    factors, scales, _, _ = factorize(rng.standard_normal(S.shape), overwrite_a=True)
    signs = np.sign(np.diagonal(factors))  # without them, as they depend on the draw, the basis is not uniform
    basis = multiply_out(factors, scales, overwrite_a=True)[0] * signs
    return adjacency(basis @ S @ basis.T, normalized)


@cache
def _lapack() -> list[Any]:
    """Return LAPACK's QR factorization, and its Q as a matrix."""
    from scipy.linalg import get_lapack_funcs  # takes a quarter of a second, and few who import this draw

    return get_lapack_funcs(("geqrf", "orgqr"), dtype=np.float64)


def permute_weights(S: np.ndarray, normalized: bool, rng: np.random.Generator) -> np.ndarray:  # noqa: N803
    """Return a graph with the weights of S permuted over all pairs of units.

    Keeps the weights. Destroys strengths, low rank and positive semi-definiteness, which every Gram matrix has, with
    modules or without. Its p answers: are the weights exchangeable? In similarities of units they never are: most
    graphs of untrained networks have the smallest p or the largest, depending on the measure.

    Args:
        S: Similarity ``[units units]`` of living units.
        normalized: Whether weights are scaled by the diagonal.
        rng: Random generator.
    """
    weights = adjacency(S, normalized)
    pairs = np.triu_indices(len(weights), k=1)
    result = np.zeros_like(weights)
    result[pairs] = rng.permutation(weights[pairs])
    return result + result.T


def rewire_strengths(S: np.ndarray, normalized: bool, rng: np.random.Generator) -> np.ndarray:  # noqa: N803
    """Return a random graph in which every unit keeps its strength k_i = sum_j A_ij.

    Keeps strengths, the null that modularity itself is defined by. Destroys the distribution of weights, low rank and
    positive semi-definiteness. Its p answers: do strengths alone explain Q?

    A move draws four units at random, arranged in a ring, and a d, uniform over the values that leave all weights
    non-negative; d is added to two opposite edges of the ring and subtracted from the other two. Many such moves draw
    uniformly from all graphs with these strengths. Graphs of fewer than four units stay as they are.

    Args:
        S: Similarity ``[units units]`` of living units.
        normalized: Whether weights are scaled by the diagonal.
        rng: Random generator.

    References:
        Ansmann & Lehnertz, "Constrained randomization of weighted networks", Physical Review E 84, 026103 (2011).
    """
    weights = adjacency(S, normalized)
    if len(weights) >= 4:
        move_weights(weights, MOVES_PER_EDGE * len(weights) * (len(weights) - 1) // 2, rng)
    return weights


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


def match_covariance(S: np.ndarray, normalized: bool, rng: np.random.Generator) -> np.ndarray:  # noqa: N803
    """Return the adjacency of a random Gram matrix X X^T whose entries have, on average, the moments of those of S.

    X is ``[units m]`` of independent normal numbers of mean sqrt(e / m) and variance s: with e and v the mean and the
    variance of S off the diagonal and d the mean of its diagonal, m = max(2, floor((d^2 - e^2) / v)) and
    s = -e/m + sqrt((e/m)^2 + v/m). A negative e counts as 0.

    Keeps mean and variance of the entries off the diagonal, the mean of the diagonal, and positive semi-definiteness.
    Destroys the spectrum and the differences between units. Its p answers: would the similarities of units that respond
    independently, apart from a common drive, show such modules?

    Args:
        S: Signed similarity ``[units units]`` of living units, a Gram matrix.
        normalized: Whether the drawn matrix is scaled by its own diagonal.
        rng: Random generator.

    References:
        Hirschberger, Qi & Steuer, European Journal of Operational Research 177, 1610 (2007); Zalesky, Fornito &
        Bullmore, "On the use of correlation as a measure of network connectivity", NeuroImage 60, 2096 (2012).
    """
    num_units = len(S)
    entries = S[np.triu_indices(num_units, k=1)]
    mean, variance = max(float(entries.mean()), 0.0), float(entries.var())
    own = float(np.diagonal(S).mean())
    # Entries that are all alike leave m open: MOST_COLUMNS make X X^T vary little enough.
    num_columns = max(2, int(min((own**2 - mean**2) / max(variance, 1e-300), MOST_COLUMNS)))
    each = mean / num_columns
    spread = np.sqrt(each**2 + variance / num_columns) - each
    factors = np.sqrt(each) + np.sqrt(spread) * rng.standard_normal((num_units, num_columns))
    return adjacency(factors @ factors.T, normalized)


NULL_GRAPHS: dict[str, Draw] = {name: resolve(info.draw) for name, info in NULLS.items()}
