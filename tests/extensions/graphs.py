"""A module search and a null of one's own: they run in worker processes, so that nothing here imports JAX."""

import numpy as np

import modjax as mj


def by_sign(adjacency, resolution, restarts, seed):
    """Two modules, by the sign of the leading eigenvector of the centred adjacency."""
    strengths = adjacency.sum(1)
    centred = adjacency - resolution * np.outer(strengths, strengths) / strengths.sum()
    return (np.linalg.eigh(centred)[1][:, -1] > 0).astype(int)


def noise(S, normalized, rng):
    """Weights of the same mean between all units."""
    drawn = np.triu(rng.exponential(1.0 if normalized else np.abs(S).mean(), S.shape), 1)
    return drawn + drawn.T


BY_SIGN = mj.SearchInfo("by_sign", by_sign)
NOISE = mj.NullInfo("noise", noise)
