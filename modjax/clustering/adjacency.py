"""From a signed similarity to the adjacency of a graph; the same code for NumPy and JAX arrays."""

from typing import Any

import numpy as np

from modjax.checks import check_finite

DEAD_BELOW = 1e-12


def adjacency_or_nan(S: np.ndarray, normalized: bool) -> np.ndarray:  # noqa: N803
    """Return the adjacency, or only NaN if the similarity overflowed, so that no unit counts as dead."""
    return adjacency(S, normalized) if np.all(np.isfinite(S)) else np.full(S.shape, np.nan)


def as_similarity(graph: np.ndarray) -> np.ndarray:
    """Return a similarity whose adjacency is the given one: its diagonal holds the largest weight, 0 for dead units.

    Example:
        >>> as_similarity(np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])).tolist()
        [[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return graph + np.diag(np.where(graph.any(1), graph.max(initial=0.0), 0.0))


def adjacency(S: Any, normalized: bool = False, signed: bool = False) -> Any:  # noqa: N803 - the formula's letter
    """Return the adjacency of a similarity: non-negative, exactly symmetric weights with a zero diagonal.

    A_ij = |S_ij|, divided by sqrt(|S_ii| |S_jj|) if ``normalized``. A unit is dead if |S_ii| <= 1e-12 max_k |S_kk|: its
    row and column are zero.

    Args:
        S: Similarity matrices ``[... units units]``, NumPy or JAX; the result is of the same kind.
        normalized: Whether to scale by the diagonal, as correlations are.
        signed: Whether to keep the signs of S, for signed modularity.

    Raises:
        ValueError: If the matrices are not square, or NumPy values are not finite.

    Example:
        >>> adjacency(np.array([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]]), normalized=True).tolist()
        [[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]

    References:
        Lange, Rolnick & Kording, TMLR 2022, section 2.2.
    """
    if not hasattr(S, "__array_namespace__"):
        S = np.asarray(S, dtype=float)  # noqa: N806
    if S.ndim < 2 or S.shape[-1] != S.shape[-2]:
        raise ValueError(f"S must be square matrices [... units units]; got shape {S.shape}.")
    xp = S.__array_namespace__()
    if isinstance(S, np.ndarray):
        check_finite("S", S)
    variance = xp.abs(xp.diagonal(S, axis1=-2, axis2=-1))
    is_alive = variance > DEAD_BELOW * xp.max(variance, axis=-1, keepdims=True) if S.shape[-1] else variance > 0
    sizes = S if signed else xp.abs(S)
    weights = (sizes + xp.swapaxes(sizes, -1, -2)) / 2
    if normalized:
        scale = xp.sqrt(xp.where(is_alive, variance, 1))
        # The outer product is exactly symmetric; dividing row by row first would not be.
        weights = weights / (scale[..., :, None] * scale[..., None, :])
    if isinstance(weights, np.ndarray) and weights.ndim == 2 and is_alive.all():  # as null graphs are, by the thousand
        np.fill_diagonal(weights, 0)
        return weights
    is_edge = is_alive[..., :, None] & is_alive[..., None, :] & ~xp.eye(S.shape[-1], dtype=bool)
    return xp.where(is_edge, weights, xp.zeros((), dtype=S.dtype))
