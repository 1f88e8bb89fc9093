"""The result of a module search, and labels in canonical form."""

from typing import NamedTuple

import numpy as np

from modjax.clustering.modularity import modularity_of

DEAD = -1


class Partition(NamedTuple):
    """Modules of one graph.

    Attributes:
        labels: ``[units]`` module of each unit; modules are numbered by the order of their first units, -1 = dead unit.
        q: Modularity Q; NaN where every unit is dead.
        num_modules: Number of modules.
        effective_modules: exp(entropy of module sizes as shares of the living units), natural log; 0 without modules.
        num_dead: Number of units in no module.
    """

    labels: np.ndarray
    q: float
    num_modules: int
    effective_modules: float
    num_dead: int


def canonical(labels: np.ndarray) -> np.ndarray:
    """Renumber labels by the order of their first units; negative ones become -1.

    Example:
        >>> canonical(np.array([5, -1, 2, 5])).tolist()
        [0, -1, 1, 0]
    """
    labels = np.asarray(labels)
    result = np.full(labels.shape, DEAD, np.int32)
    alive = labels >= 0
    _, first, inverse = np.unique(labels[alive], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    result[alive] = rank[inverse]
    return result


def effective_number(labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """``exp(-sum_m p_m ln p_m)`` with p_m the share of module m among the living units; 0 if there are none.

    Args:
        labels: ``[units]`` integers; negative for dead units.
        weights: What units count for, such as their strengths: units of next to no strength, which may sit in any
            module at no cost in Q, then change nothing. None counts all units alike.

    Example:
        >>> round(effective_number(np.array([0, 0, 1, 1, -1])), 12)
        2.0
        >>> round(effective_number(np.array([0, 0, 1, 1, 2]), np.array([1.0, 1.0, 1.0, 1.0, 0.0])), 12)
        2.0
    """
    alive = labels >= 0
    if not alive.any():
        return 0.0
    shares = np.bincount(labels[alive], None if weights is None else weights[alive])
    shares = shares / shares.sum()
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))


def make_partition(adjacency: np.ndarray, labels: np.ndarray, resolution: float) -> Partition:
    """Make a partition, with everything that follows from its labels."""
    labels = canonical(labels)  # first: the order of modules decides about the last bit of Q
    return partition_of(labels, modularity_of(adjacency, labels, resolution))


def partition_of(labels: np.ndarray, q: float) -> Partition:
    """Make a partition of which Q is known."""
    labels = canonical(labels)
    return Partition(
        labels,
        q,
        int(labels.max(initial=DEAD)) + 1,
        effective_number(labels),
        int((labels < 0).sum()),
    )
