"""Consensus of many runs of a module search."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from modjax.checks import check_adjacency
from modjax.clustering.alignment import element_centric_units
from modjax.clustering.modularity import check_partition
from modjax.clustering.partition import Partition, make_partition
from modjax.clustering.search import Search, check_search, search_living, search_of

MAX_ROUNDS = 20


class Consensus(NamedTuple):
    """Consensus of many runs of a search.

    Attributes:
        partition: Consensus partition; its ``q`` is that of the graph itself.
        agreement: ``[units units]`` share of runs with both units in one module; zero diagonal.
        certainty: ``[units]`` mean over runs of the unit's element-centric similarity to the consensus, 1 = the same
            module-mates in every run; NaN for dead units.
        q: ``[runs]`` Q of each run.
    """

    partition: Partition
    agreement: np.ndarray
    certainty: np.ndarray
    q: np.ndarray


def agreement_matrix(partitions: Sequence[Any]) -> np.ndarray:
    """Return the share of partitions in which two units are in one module; zero diagonal, zero for dead units.

    Args:
        partitions: Labels ``[units]`` of each; negative for dead units.

    Raises:
        ValueError: No partition, or not integer vectors of one length.

    Example:
        >>> agreement_matrix([[0, 0, 1], [0, 1, 1]])[1].tolist()
        [0.5, 0.0, 0.5]
    """
    if not len(partitions):
        raise ValueError("partitions must be one or more label vectors; got none.")
    first = check_partition("partitions[0]", partitions[0])
    total = np.zeros((len(first), len(first)))
    for index, labels in enumerate(partitions):
        array = check_partition(f"partitions[{index}]", labels, len(first))
        total += (array[:, None] == array) & (array >= 0)
    np.fill_diagonal(total, 0)
    return total / len(partitions)


def consensus_modules(
    adjacency: ArrayLike,
    runs: int = 50,
    threshold: float = 0.5,
    method: str = "leiden",
    resolution: float = 1.0,
    restarts: int | None = 1,
    seed: int = 0,
) -> Consensus:
    """Search many times; return the partition that the runs agree on and how certain each unit's module is.

    The agreement matrix of the runs, without entries below the threshold (each unit keeps its largest), is itself
    searched for modules the same number of times, and so on until all runs find the same partition.

    Args:
        adjacency: ``[units units]``.
        runs: Number of searches.
        threshold: Least agreement that is kept, at least 0 and below 1.
        method: As in :func:`modjax.find_modules`; it should make random choices.
        resolution: As in :func:`modjax.find_modules`.
        restarts: Restarts of each run; 1, since runs that are each the best of many hide how many good partitions there
            are.
        seed: Random seed; the same seed gives the same result.

    Raises:
        ValueError: As :func:`modjax.find_modules`; runs or threshold that are not allowed.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> consensus_modules(two_cliques, runs=5).certainty.tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]

    References:
        Lancichinetti & Fortunato, "Consensus clustering in complex networks", Scientific Reports 2, 336 (2012).
    """
    search, matrix = search_of(method), check_adjacency(adjacency)
    resolution, restarts, seed = check_search(resolution, restarts, seed)
    if int(runs) != runs or runs < 1:
        raise ValueError(f"runs must be a whole number, at least 1; got {runs}.")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be at least 0 and below 1; got {threshold}.")
    return find_consensus(search, matrix, int(runs), threshold, resolution, restarts, seed)


def find_consensus(
    search: Search, matrix: np.ndarray, runs: int, threshold: float, resolution: float, restarts: int | None, seed: int
) -> Consensus:
    """Compute :func:`consensus_modules` of checked arguments."""
    results = [search_living(search, matrix, resolution, restarts, seed + run) for run in range(runs)]
    partitions = [result.labels for result in results]
    agreement = agreement_matrix(partitions)
    # Each round searches the agreement matrix of the round before, which is closer to blocks of ones.
    agreed, level = partitions, agreement
    for _ in range(MAX_ROUNDS):
        if all(np.array_equal(labels, agreed[0]) for labels in agreed):
            break
        kept = _without_weak(level, threshold)
        agreed = [_with_lonely(search_living(search, kept, 1.0, restarts, seed + run), matrix) for run in range(runs)]
        level = agreement_matrix(agreed)
    consensus = make_partition(matrix, agreed[0], resolution)
    certainty = np.full(len(matrix), np.nan)
    alive = consensus.labels >= 0
    if alive.any():
        of_runs = [element_centric_units(labels[alive], consensus.labels[alive]) for labels in partitions]
        certainty[alive] = np.mean(of_runs, 0)
    return Consensus(consensus, agreement, certainty, np.array([result.q for result in results]))


def _without_weak(agreement: np.ndarray, threshold: float) -> np.ndarray:
    """Drop entries below the threshold, except for each unit's largest."""
    # Otherwise a unit without a certain module would lose all its edges.
    largest = agreement.max(1, initial=0.0)
    is_kept = (agreement >= threshold) | (agreement == largest[:, None]) | (agreement == largest)
    return np.where(is_kept, agreement, 0.0)


def _with_lonely(partition: Partition, matrix: np.ndarray) -> np.ndarray:
    """Make living units that never share a module modules of their own: in the agreement matrix they look dead."""
    labels = partition.labels.astype(np.int64)
    lonely = np.flatnonzero((labels < 0) & matrix.any(1))
    labels[lonely] = labels.max(initial=-1) + 1 + np.arange(len(lonely))
    return labels
