"""Iterated local search: perturb a partition, settle it, and go on from the result unless it is clearly worse."""

import numpy as np

from modjax.clustering.compiled import compiled
from modjax.clustering.moves import LEAST_GAIN, count_links, move, settle


@compiled
def iterate(gains, starts, rounds, tolerance, rng):
    """Return the labels of the best partition met on all chains, one chain from each start, and its gain in Q.

    Args:
        gains: ``[units units]`` of :func:`modjax.clustering.moves.gain_matrix`, or any symmetric matrix with a zero
            diagonal whose sum over pairs in one module is to be maximized.
        starts: ``[chains units]`` labels, each row 0 to count - 1, none missing.
        rounds: Number of shakes of each chain.
        tolerance: Largest loss in Q with which a chain still goes on from a settled partition.
        rng: NumPy random generator.
    """
    num_chains, num_units = starts.shape
    labels = np.empty(num_units, np.int64)
    sizes = np.zeros(num_units + 1, np.int64)
    links = np.zeros((num_units + 1, num_units))
    kept_labels, kept_sizes, kept_links = labels.copy(), sizes.copy(), links.copy()
    # All units in one module: the partition that any other has to beat.
    best_labels, best = np.zeros(num_units, np.int64), 0.0
    for i in range(num_units):
        best += gains[i].sum() / 2
    for chain in range(num_chains):
        labels[:] = starts[chain]
        count = count_links(gains, labels, sizes, links)
        value = 0.0
        for i in range(num_units):
            value += links[labels[i], i] / 2
        order = rng.permutation(num_units)
        kept_count, kept_value = 0, -np.inf
        for number in range(rounds + 1):
            if number > 0:
                count, change = shake(gains, labels, sizes, links, count, rng)
                value += change
            count, change = settle(gains, labels, sizes, links, count, order)
            value += change
            if value > best + LEAST_GAIN:
                best = value
                best_labels[:] = labels
            if value > kept_value - tolerance:
                kept_count, kept_value = copy(labels, sizes, links, count, kept_labels, kept_sizes, kept_links), value
            else:
                # The copy does not reach the rows of modules that the kept partition lacks; unused rows must be zero.
                links[kept_count + 1 : count] = 0.0
                count, value = copy(kept_labels, kept_sizes, kept_links, kept_count, labels, sizes, links), kept_value
    return best_labels, best


@compiled
def copy(labels, sizes, links, count, to_labels, to_sizes, to_links):
    """Copy one partition's arrays to another's; return count."""
    to_labels[:] = labels
    to_sizes[:] = sizes
    to_links[: count + 1] = links[: count + 1]
    return count


@compiled
def shake(gains, labels, sizes, links, count, rng):
    """Make one of four random changes; return count and the (mostly negative) gain in Q.

    Up to half of the units move to modules of other units; or a module is split in two at random, merged with another
    one, or dissolved among the others.
    """
    num_units = len(labels)
    total = 0.0
    kind = int(4 * rng.random())
    module = labels[int(num_units * rng.random())]
    other = labels[int(num_units * rng.random())]
    if kind == 0:
        for _ in range(2 + int(0.5 * num_units * rng.random())):
            i = int(num_units * rng.random())
            target = labels[int(num_units * rng.random())]
            total += links[target, i] - links[labels[i], i]
            count = move(gains, labels, sizes, links, count, i, target)
        return count, total
    new = count
    for i in np.flatnonzero(labels == module):  # only the last unit to leave can empty it and renumber the modules
        if kind == 1:
            target = new if rng.random() < 0.5 else module
        elif kind == 2:
            target = other
        else:
            target = labels[int(num_units * rng.random())]
        total += links[target, i] - links[module, i]
        count = move(gains, labels, sizes, links, count, i, target)
    return count, total
