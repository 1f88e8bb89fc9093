"""Modules as a function of the resolution."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from modjax.checks import check_adjacency
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
    """

    resolutions: np.ndarray
    q: np.ndarray
    standard_q: np.ndarray
    num_modules: np.ndarray
    effective_modules: np.ndarray
    labels: np.ndarray


def resolution_profile(
    adjacency: ArrayLike,
    resolutions: Sequence[float] | None = None,
    method: str = "leiden",
    restarts: int | None = None,
    seed: int = 0,
) -> ResolutionProfile:
    """Search for modules at each of several resolutions g: Q and the number of modules over g.

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
        >>> resolution_profile(ring, [0.1, 1.0, 5.0]).num_modules.tolist()
        [1, 4, 12]

    References:
        Reichardt & Bornholdt, Physical Review E 74, 016110 (2006).
    """
    search, matrix = search_of(method), check_adjacency(adjacency)
    values = [check_search(g, restarts, seed)[0] for g in (DEFAULT_RESOLUTIONS if resolutions is None else resolutions)]
    if not values:
        raise ValueError("resolutions must be one or more positive numbers; got none.")
    partitions = [search_living(search, matrix, g, restarts, int(seed)) for g in values]
    return ResolutionProfile(
        np.array(values),
        np.array([partition.q for partition in partitions]),
        np.array([modularity_of(matrix, partition.labels) for partition in partitions]),
        np.array([partition.num_modules for partition in partitions]),
        np.array([partition.effective_modules for partition in partitions]),
        np.stack([partition.labels for partition in partitions]),
    )
