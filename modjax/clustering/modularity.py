"""Modularity Q by its definition."""

import numpy as np
from numpy.typing import ArrayLike

from modjax.checks import check_adjacency, check_weights


def modularity(adjacency: ArrayLike, labels: ArrayLike, resolution: float = 1.0, signed: bool = False) -> float:
    """Return the weighted Newman modularity of a partition.

    Q(A, c) = sum_ij [A_ij / s - g k_i k_j / s^2] [c_i = c_j >= 0],  s = sum A,  k = row sums.

    Args:
        adjacency: ``[units units]``, symmetric, non-negative.
        labels: ``[units]`` integers; units with negative labels are in no module.
        resolution: g; larger values favour smaller modules.
        signed: Whether the weights have signs; then the result is Q*
            (:func:`signed_modularity_of`).

    Returns:
        Q, or NaN where the graph has no weight at all.

    Raises:
        ValueError: Not an adjacency, labels of the wrong length, or a resolution that is not positive.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> modularity(two_cliques, [0, 0, 0, 1, 1, 1])
        0.5

    References:
        Newman, "Modularity and community structure in networks", PNAS 2006; Reichardt & Bornholdt 2006 for g.
    """
    if signed:
        weights = check_weights(adjacency)
        array = check_partition("labels", labels, len(weights))
        return signed_modularity_of(weights, array, check_resolution(resolution))
    matrix = check_adjacency(adjacency)
    array = check_partition("labels", labels, len(matrix))
    return modularity_of(matrix, array, check_resolution(resolution))


def modularity_of(adjacency: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Compute :func:`modularity` of checked arguments."""
    total = adjacency.sum()
    if total == 0:
        return float("nan")
    members = membership(labels)
    strengths = adjacency.sum(1) / total
    inside = np.sum(members * (adjacency @ members)) / total
    return float(inside - resolution * np.sum((strengths @ members) ** 2))


def signed_modularity_of(weights: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Return Q* of a partition, with positive and negative weights apart.

    Q* = (1 / v+) sum_ij [w+_ij - g k+_i k+_j / v+] [c_i = c_j >= 0]
       - (1 / (v+ + v-)) sum_ij [w-_ij - g k-_i k-_j / v-] [c_i = c_j >= 0],
    w+ = max(w, 0), w- = max(-w, 0) without their diagonals, k = row sums, v = sums; a part whose v is 0 is left out.
    Where no weight is negative, Q* is Q. Negative weights count for less, since they say less about modules.

    Args:
        weights: ``[units units]``, symmetric.
        labels: ``[units]``; negative for units in no module.
        resolution: g.

    Returns:
        Q*, or NaN where there is no weight at all.

    References:
        Rubinov & Sporns, "Weight-conserving characterization of complex functional brain networks", NeuroImage 56, 2068
        (2011).
    """
    if not np.any(weights - np.diag(np.diagonal(weights))):
        return float("nan")
    members = membership(labels)
    return float(np.sum(members * (signed_shares(weights, resolution) @ members)))


def signed_shares(weights: np.ndarray, resolution: float) -> np.ndarray:
    """Return ``[units units]`` contributions to Q* of units in one module."""
    weights = weights / max(np.abs(weights).max(), 1e-300)  # so that no sum underflows
    weights = weights - np.diag(np.diagonal(weights))
    positive, negative = np.maximum(weights, 0), np.maximum(-weights, 0)
    total = positive.sum() + negative.sum()
    shares = np.zeros_like(weights)
    for part, sign, scale in ((positive, 1.0, positive.sum()), (negative, -1.0, total)):
        if part.sum() > 0:
            strengths = part.sum(1)
            shares += sign * (part - resolution * np.outer(strengths, strengths) / part.sum()) / scale
    return shares


def membership(labels: np.ndarray) -> np.ndarray:
    """Return a matrix ``[units modules]``, 1 where a unit is in a module; units with negative labels are in none."""
    return (labels[:, None] == np.unique(labels[labels >= 0])).astype(np.float64)


def check_partition(name: str, labels: ArrayLike, num_units: int | None = None) -> np.ndarray:
    """Return labels as an integer vector; raise unless they are integers (and as many as given)."""
    array = np.asarray(labels)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be a vector of integers; got {array.dtype} of shape {array.shape}.")
    if num_units is not None and len(array) != num_units:
        raise ValueError(f"{name} must have one label for each of the {num_units} units; got {len(array)}.")
    return array


def check_resolution(resolution: float) -> float:
    """Return the resolution; raise unless it is a positive number."""
    if not (np.isfinite(resolution) and resolution > 0):
        raise ValueError(f"resolution must be a positive number; got {resolution}.")
    return float(resolution)
