"""Matching of the modules of two partitions, and of the units of two networks."""

import numpy as np
from numpy.typing import ArrayLike

from modjax.checks import check_finite


def greedy_overlap(table: np.ndarray) -> float:
    """Return the share of units in matched modules, where the largest overlap is matched first.

    Args:
        table: ``n_rs``, the number of units in module r of one partition and s of the other.

    Example:
        >>> greedy_overlap(np.array([[5.0, 4.0], [4.0, 0.0]])), optimal_overlap(np.array([[5.0, 4.0], [4.0, 0.0]]))
        (0.38461538461538464, 0.6153846153846154)
    """
    rest, matched = np.array(table, np.float64), 0.0
    for _ in range(min(rest.shape)):
        row, column = np.unravel_index(np.argmax(rest), rest.shape)
        matched += rest[row, column]
        rest[row] = rest[:, column] = -1  # below any count: both modules are taken
    return float(matched / table.sum())


def optimal_overlap(table: np.ndarray) -> float:
    """Return the largest share of units in matched modules that any matching has."""
    from scipy.optimize import linear_sum_assignment

    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def match_units(cross: ArrayLike) -> np.ndarray:
    """Match each unit of one network with a unit of another, one to one.

    The matching m has the largest sum_i |S_{i, m(i)}|. With it, partitions of networks that were trained separately can
    be compared: ``alignment(labels_a, labels_b[match_units(cross)])``.

    Args:
        cross: ``[units_a units_b]``, similarity across two networks (:func:`modjax.cross_similarity`), with
            ``units_a <= units_b``.

    Returns:
        ``[units_a]`` distinct indices of units of the other network.

    Raises:
        ValueError: Not such a matrix, or not finite.

    Example:
        >>> match_units([[0.1, -0.9, 0.0], [0.8, 0.7, 0.1]]).tolist()
        [1, 0]
    """
    from scipy.optimize import linear_sum_assignment

    matrix = np.asarray(cross, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] > matrix.shape[1]:
        raise ValueError(f"cross must be a matrix [units_a units_b] with units_a <= units_b; got {matrix.shape}.")
    check_finite("cross", matrix)
    return linear_sum_assignment(np.abs(matrix), maximize=True)[1]
