"""Signed modularity: positive weights tie units together, negative ones hold them apart."""

import numpy as np

from modjax.clustering.iterated import iterate
from modjax.clustering.leiden import ROUNDS, STARTS, TOLERANCE
from modjax.clustering.modularity import signed_shares

START_MODULES = 8


def search_signed(weights: np.ndarray, resolution: float, restarts: int | None, seed: int) -> np.ndarray:
    """Return the labels with the highest Q* on chains of iterated local search from random partitions.

    Args:
        weights: ``[units units]`` of units with weights, at least two.
        resolution: g of :func:`modjax.clustering.modularity.signed_modularity_of`.
        restarts: Number of chains; None is four.
        seed: Same seed, same labels.
    """
    gains = 2 * signed_shares(weights, resolution)
    np.fill_diagonal(gains, 0)
    num_units, rng = len(weights), np.random.default_rng(seed)
    num_starts = STARTS if restarts is None else restarts
    starts = np.stack([rng.permutation(num_units) % min(START_MODULES, num_units) for _ in range(num_starts)])
    return iterate(gains, starts, ROUNDS, TOLERANCE, rng)[0]
