"""Roles of units within their module and between modules."""

import numpy as np
from numpy.typing import ArrayLike

from modjax.checks import check_adjacency
from modjax.clustering.modularity import check_partition, membership


def participation_coefficient(adjacency: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Return the participation coefficient: how evenly a unit's weight is spread over the modules.

    P_i = 1 - sum_m (k_im / k_i)^2,  k_im = sum_{j in m} A_ij,  k_i = sum_m k_im: 0 where all weight goes to one module.

    Args:
        adjacency: ``[units units]``.
        labels: ``[units]``; negative for units in no module.

    Returns:
        ``[units]``; NaN for units in no module or without weight.

    Raises:
        ValueError: Not an adjacency, or labels of the wrong length.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> participation_coefficient(two_cliques, [0, 0, 1, 1, 1, 1]).tolist()
        [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]

    References:
        Guimera & Amaral, Nature 433, 895 (2005).
    """
    matrix = check_adjacency(adjacency)
    return participation_of(matrix, check_partition("labels", labels, len(matrix)))


def within_module_zscore(adjacency: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Return the within-module z-score: how strongly a unit is tied to its module, compared with the other units in it.

    z_i = (k_i - mean) / sd with k_i = sum of A_ij over j in the module of i, mean and sd (divided by n) over that
    module; 0 where sd is 0.

    Args:
        adjacency: ``[units units]``.
        labels: ``[units]``; negative for units in no module.

    Returns:
        ``[units]``; NaN for units in no module.

    Raises:
        ValueError: Not an adjacency, or labels of the wrong length.

    Example:
        >>> star = np.zeros((4, 4))
        >>> star[0, 1:] = star[1:, 0] = 1
        >>> within_module_zscore(star, [0, 0, 0, 0]).round(3).tolist()
        [1.732, -0.577, -0.577, -0.577]

    References:
        Guimera & Amaral, Nature 433, 895 (2005).
    """
    matrix = check_adjacency(adjacency)
    return zscore_of(matrix, check_partition("labels", labels, len(matrix)))


def participation_of(adjacency: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute :func:`participation_coefficient` of checked arguments."""
    strengths = adjacency @ membership(labels)
    totals = strengths.sum(1)
    has_role = (labels >= 0) & (totals > 0)
    result = np.full(len(labels), np.nan)
    result[has_role] = 1 - np.sum((strengths[has_role] / totals[has_role, None]) ** 2, 1)
    return result


def zscore_of(adjacency: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute :func:`within_module_zscore` of checked arguments."""
    result = np.full(len(labels), np.nan)
    for module in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == module)
        strengths = adjacency[np.ix_(members, members)].sum(1)
        sd = strengths.std()
        is_spread = sd > 1e-12 * strengths.max()  # a smaller sd is a rounding error
        result[members] = (strengths - strengths.mean()) / sd if is_spread else 0.0
    return result
