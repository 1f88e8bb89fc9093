"""Graphs and partitions without structure, to compare with."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

WEIGHT_PERMUTATION = "weight_permutation"


class NullSummary(NamedTuple):
    """An observed score against scores of a null.

    Attributes:
        kind: Name of the null; None if none was drawn.
        n: Null scores drawn.
        mean: Their mean.
        sd: Their standard deviation (divided by n - 1).
        z: (observed - mean) / sd.
        p: (1 + number of null scores >= observed) / (1 + n).
    """

    kind: str | None
    n: int
    mean: float | None
    sd: float | None
    z: float | None
    p: float | None


def summarize_null(kind: str, observed: float, scores: np.ndarray) -> NullSummary:
    """Mean, sd, z and p of an observed score; None for what too few (or no) scores cannot tell.

    Example:
        >>> summarize_null("example", 3.0, np.array([0.0, 1.0, 2.0])).p
        0.25
    """
    scores = scores[np.isfinite(scores)]
    num = len(scores)
    if num == 0 or not np.isfinite(observed):
        return NullSummary(None, 0, None, None, None, None)
    mean = float(scores.mean())
    sd = float(scores.std(ddof=1)) if num > 1 else None
    z = (observed - mean) / sd if sd else None
    # Ties that differ by rounding count as ties.
    num_as_high = int(np.sum(scores >= observed - 1e-12))
    return NullSummary(kind, num, mean, sd, z, (1 + num_as_high) / (1 + num))


def permute_weights(adjacency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same weights on randomly exchanged pairs of living units; dead units stay dead."""
    alive = np.flatnonzero(adjacency.any(1))
    rows, columns = (alive[index] for index in np.triu_indices(len(alive), k=1))
    result = np.zeros_like(adjacency)
    result[rows, columns] = rng.permutation(adjacency[rows, columns])
    return result + result.T


def modularity_null(
    adjacency: np.ndarray, observed: float, search: Callable[[np.ndarray, int], float], num_nulls: int, seed: int
) -> NullSummary:
    """Q of graphs with permuted weights, each found by the very search that found the observed Q.

    Args:
        adjacency: ``[units units]``, checked.
        observed: Its Q.
        search: ``search(adjacency, seed) -> Q``.
        num_nulls: Graphs to draw.
        seed: Same seed, same graphs and searches.
    """
    rng = np.random.default_rng([seed, 1])
    scores = np.array([search(permute_weights(adjacency, rng), seed + draw) for draw in range(num_nulls)])
    return summarize_null(WEIGHT_PERMUTATION, observed, scores)
