"""Moves of single units between modules with the gain in Q known beforehand, which the searches are built from.

The state of a search is ``labels`` [units] with modules 0 to ``count - 1``, none of them empty, ``sizes`` [units + 1]
and ``links`` [units + 1, units]: ``links[m, i] = sum_{j in m} B_ij`` with B of :func:`gain_matrix`. Row ``count`` is
all zero: the empty module that a unit may move to. Moving unit i from module a to m gains
``links[m, i] - links[a, i]`` and updates two rows of ``links``: O(units), without computing Q again.
"""

import numpy as np

from modjax.clustering.compiled import compiled

LEAST_GAIN = 1e-13  # smaller gains in Q are rounding errors


def gain_matrix(adjacency: np.ndarray, resolution: float = 1.0) -> np.ndarray:
    """``B_ij = 2 [A_ij / s - g k_i k_j / s^2]``, zero on the diagonal: Q = sum over pairs i < j in one module + const.

    Args:
        adjacency: ``[units units]``, not all zero.
        resolution: g of :func:`modjax.modularity`.
    """
    shares = adjacency / adjacency.max()  # first, so that weights as small as 1e-300 do not underflow below
    shares = shares / shares.sum()
    strengths = shares.sum(1)
    gains = 2 * (shares - resolution * np.outer(strengths, strengths))
    np.fill_diagonal(gains, 0)
    return gains


@compiled
def count_links(gains, labels, sizes, links):
    """Fill ``sizes`` and ``links`` for ``labels`` (0 to count - 1, none missing); return count."""
    sizes[:] = 0
    links[:] = 0.0
    count = 0
    for i in range(len(labels)):
        sizes[labels[i]] += 1
        links[labels[i]] += gains[i]
        count = max(count, labels[i] + 1)
    return count


@compiled
def move(gains, labels, sizes, links, count, i, target):
    """Move unit i to module ``target`` (``count`` for a new module); return the new count.

    If a module becomes empty, the last module takes over its number.
    """
    own = labels[i]
    if own == target:
        return count
    if target == count:
        count += 1
    for j in range(len(labels)):
        links[own, j] -= gains[i, j]
        links[target, j] += gains[i, j]
    sizes[own] -= 1
    sizes[target] += 1
    labels[i] = target
    if sizes[own] == 0:
        count = close_gap(labels, sizes, links, count, own)
    return count


@compiled
def close_gap(labels, sizes, links, count, gap):
    """Give the number of an empty module to the last module; return the new count."""
    last = count - 1
    for j in range(len(labels)):
        if labels[j] == last:
            labels[j] = gap
        links[gap, j] = links[last, j]
        links[last, j] = 0.0
    sizes[gap] = sizes[last]
    sizes[last] = 0
    return last


@compiled
def move_units(gains, labels, sizes, links, count, order):
    """Move each unit in turn to where Q gains most, until no single move gains; return count and the gain in Q."""
    total = 0.0
    num_settled = 0  # units visited in a row without a move; once all have stayed, no single move gains
    position = 0
    while num_settled < len(order):
        i = order[position]
        position = (position + 1) % len(order)
        own = labels[i]
        target = own
        best = links[own, i] + LEAST_GAIN
        for m in range(count):
            if links[m, i] > best:
                target, best = m, links[m, i]
        # Links to an empty module are 0: leaving is best where all others are negative, except for a lone unit.
        if best < 0 and sizes[own] > 1:
            target, best = count, 0.0
        if target == own:
            num_settled += 1
        else:
            total += best - links[own, i]
            count = move(gains, labels, sizes, links, count, i, target)
            num_settled = 0
    return count, total


@compiled
def merge_modules(labels, sizes, links, count):
    """Merge the pair of modules that gains most, until no merge gains; return count and the gain in Q."""
    between = np.zeros((count, count))
    for m in range(count):
        for i in range(len(labels)):
            between[m, labels[i]] += links[m, i]
    total = 0.0
    while True:
        best, kept, gone = LEAST_GAIN, -1, -1
        for a in range(count):
            for b in range(a):
                if between[a, b] > best:
                    best, kept, gone = between[a, b], b, a
        if gone < 0:
            return count, total
        total += best
        for i in range(len(labels)):
            if labels[i] == gone:
                labels[i] = kept
            links[kept, i] += links[gone, i]
        sizes[kept] += sizes[gone]
        # The last module takes over the number of the one that is gone, here as in close_gap.
        between[kept, :] += between[gone, :]
        between[:, kept] += between[:, gone]
        between[gone, :] = between[count - 1, :]
        between[:, gone] = between[:, count - 1]
        count = close_gap(labels, sizes, links, count, gone)


@compiled
def settle(gains, labels, sizes, links, count, order):
    """Move units and merge modules in turn until neither gains; return count and the gain in Q."""
    count, total = move_units(gains, labels, sizes, links, count, order)
    while True:
        count, gain = merge_modules(labels, sizes, links, count)
        if gain <= 0:
            return count, total
        total += gain
        count, gain = move_units(gains, labels, sizes, links, count, order)
        total += gain
