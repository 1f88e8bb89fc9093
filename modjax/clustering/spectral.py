"""Spectral search: repeated splits by the leading eigenvector, each refined by moves of single units."""

import numpy as np

from modjax.clustering.compiled import compiled
from modjax.clustering.moves import LEAST_GAIN, gain_matrix


def spectral(adjacency: np.ndarray, resolution: float, restarts: int | None, seed: int) -> np.ndarray:
    """Return labels found by Newman's leading-eigenvector splits.

    A module g is split by the signs of the eigenvector of the *largest* eigenvalue (not the largest singular value) of
    B^(g)_ij = B_ij - [i = j] sum_{l in g} B_il,  B_ij = A_ij / s - g k_i k_j / s^2,
    and by that of B within g, without the correction. Both splits are refined by exchanging units (Kernighan-Lin); the
    better one is kept if it raises Q, and its halves are split in turn.

    Args:
        adjacency: ``[units units]`` of living units, at least two.
        resolution: g of :func:`modjax.modularity`.
        restarts: No effect, since nothing here is random.
        seed: No effect.

    References:
        Newman, "Modularity and community structure in networks", PNAS 103, 8577 (2006), and "Finding community
        structure using the eigenvectors of matrices", Physical Review E 74, 036104 (2006).
    """
    del restarts, seed
    gains = gain_matrix(adjacency, resolution)
    strengths = adjacency.sum(1) / adjacency.sum()
    # The diagonal does not matter for any gain, but it does for the eigenvectors.
    shares = gains / 2 + np.diag(np.diagonal(adjacency) / adjacency.sum() - resolution * strengths**2)
    labels = np.zeros(len(adjacency), np.int64)
    waiting, count = [0], 1
    while waiting:
        module = waiting.pop(0)
        members = np.flatnonzero(labels == module)
        if len(members) < 2:
            continue
        here = np.ix_(members, members)
        side = _best_split(shares[here], np.ascontiguousarray(gains[here]))
        if side is not None:
            labels[members[side]] = count
            waiting += [module, count]
            count += 1
    return labels


def _best_split(shares: np.ndarray, gains: np.ndarray) -> np.ndarray | None:
    """Return a mask of the units that leave the module; None where no split raises Q."""
    splits = []
    for matrix in (shares - np.diag(shares.sum(1)), shares):
        side = (_leading_eigenvector(matrix) < 0).astype(np.int64)
        exchange(gains, side)
        # A split loses the gains of all pairs that it separates.
        splits.append((-gains[np.ix_(side == 0, side == 1)].sum(), side))
    gain, side = max(splits, key=lambda split: split[0])
    return side.astype(bool) if gain > LEAST_GAIN else None


def _leading_eigenvector(matrix: np.ndarray) -> np.ndarray:
    from scipy.linalg import eigh

    last = len(matrix) - 1
    return eigh(matrix, subset_by_index=[last, last])[1][:, 0]


@compiled
def exchange(gains, side):
    """Improve a split into sides 0 and 1 in place, by passes of :func:`exchange_once` until a pass gains nothing."""
    while exchange_once(gains, side) > 0:
        pass


@compiled
def exchange_once(gains, side):
    """Let every unit change sides once, best gain first; keep the best state on the way and return its gain in Q."""
    num_units = len(side)
    signs = 1.0 - 2.0 * side
    pull = -signs * (gains @ signs)  # gain in Q of changing sides
    order = np.empty(num_units, np.int64)
    best, best_length, total = LEAST_GAIN, 0, 0.0
    for step in range(num_units):
        chosen = np.argmax(pull)
        total += pull[chosen]
        order[step] = chosen
        signs[chosen] = -signs[chosen]
        for j in range(num_units):
            pull[j] -= 2 * signs[j] * gains[chosen, j] * signs[chosen]
        pull[chosen] = -np.inf  # each unit changes sides once per pass, even at a loss: that leads out of local optima
        if total > best:
            best, best_length = total, step + 1
    for step in range(best_length):
        side[order[step]] = 1 - side[order[step]]
    return best if best_length else 0.0
