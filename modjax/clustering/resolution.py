"""Modules as a function of the resolution."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from modjax.checks import check_adjacency
from modjax.clustering.alignment import alignment
from modjax.clustering.modularity import modularity_of
from modjax.clustering.search import check_search, search_living, search_of

DEFAULT_RESOLUTIONS = tuple(2.0 ** (step / 4) for step in range(-4, 9))  # 0.5 to 4


class ResolutionProfile(NamedTuple):
    """The best partition found at each resolution.

    Attributes:
        resolutions: ``[resolutions]`` values of g, as given.
        q: ``[resolutions]`` modularity at that g.
        standard_q: ``[resolutions]`` modularity of the same partition at g = 1.
        num_modules: ``[resolutions]`` number of modules.
        effective_modules: ``[resolutions]`` effective number of modules.
        labels: ``[resolutions units]`` module of each unit; -1 for dead units.
        stability: ``[resolutions]`` agreement with the partitions at the resolutions beside it (:func:`stability_of`).
        recommended: The resolution whose partition changes least beside it (:func:`recommend`); NaN if there is none.
    """

    resolutions: np.ndarray
    q: np.ndarray
    standard_q: np.ndarray
    num_modules: np.ndarray
    effective_modules: np.ndarray
    labels: np.ndarray
    stability: np.ndarray
    recommended: float


def stability_of(resolutions: Sequence[float], labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return how well each partition agrees with those at the next lower and the next higher resolution.

    The mean of the (one or two) adjusted mutual informations; NaN of a single partition, and 0 where a partition or the
    one beside it has one module, or a module for each unit: those agree for trivial reasons.

    Args:
        resolutions: Resolutions, in any order.
        labels: Partition at each of them.
    """
    order = np.argsort(resolutions, kind="stable")
    sums, counts = np.zeros(len(labels)), np.zeros(len(labels))
    for first, second in pairwise(order):
        is_trivial = any(_is_trivial(labels[index]) for index in (first, second))
        agreement = 0.0 if is_trivial else alignment(labels[first], labels[second])["ami"]
        for index in (first, second):
            sums[index] += agreement
            counts[index] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def recommend(resolutions: Sequence[float], stability: np.ndarray) -> float:
    """Return the resolution of the highest stability, of several the nearest to 1 by ratio; NaN if none is above 0."""
    values = np.asarray(resolutions, np.float64)
    if not np.any(stability > 0):
        return float("nan")
    best = np.flatnonzero(stability >= np.nanmax(stability) - 1e-9)
    return float(values[best[np.argmin(np.abs(np.log(values[best])))]])


def _is_trivial(labels: np.ndarray) -> bool:
    alive = labels[labels >= 0]
    return len(np.unique(alive)) in (0, 1, len(alive))


def resolution_profile(
    adjacency: ArrayLike,
    resolutions: Sequence[float] | None = None,
    method: str = "leiden",
    restarts: int | None = None,
    seed: int = 0,
) -> ResolutionProfile:
    """Search for modules at each of several resolutions g: Q, the number of modules, and how stable they are over g.

    Args:
        adjacency: ``[units units]``.
        resolutions: Positive numbers; 0.5 to 4 in thirteen steps if None.
        method: As in :func:`modjax.find_modules`.
        restarts: As there.
        seed: Same seed, same labels.

    Raises:
        ValueError: As :func:`modjax.find_modules`; no resolution at all.

    Example:
        >>> ring = np.kron(np.eye(4), np.ones((3, 3)) - np.eye(3)) + 0.1
        >>> np.fill_diagonal(ring, 0)
        >>> profile = resolution_profile(ring, [0.1, 1.0, 1.2, 5.0])
        >>> profile.num_modules.tolist(), profile.recommended
        ([1, 4, 4, 12], 1.0)

    References:
        Reichardt & Bornholdt, Physical Review E 74, 016110 (2006).
    """
    search, matrix = search_of(method), check_adjacency(adjacency)
    values = [check_search(g, restarts, seed)[0] for g in (DEFAULT_RESOLUTIONS if resolutions is None else resolutions)]
    if not values:
        raise ValueError("resolutions must be one or more positive numbers; got none.")
    partitions = [search_living(search, matrix, g, restarts, int(seed)) for g in values]
    stability = stability_of(values, [partition.labels for partition in partitions])
    return ResolutionProfile(
        np.array(values),
        np.array([partition.q for partition in partitions]),
        np.array([modularity_of(matrix, partition.labels) for partition in partitions]),
        np.array([partition.num_modules for partition in partitions]),
        np.array([partition.effective_modules for partition in partitions]),
        np.stack([partition.labels for partition in partitions]),
        stability,
        recommend(values, stability),
    )
