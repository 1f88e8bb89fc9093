"""Significance of single modules: each against the modules of null graphs that are nearest to it in size."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modjax.clustering.modularity import membership


class NullModules(NamedTuple):
    """The modules of one graph.

    Attributes:
        sizes: ``[modules]`` number of units.
        density: ``[modules]`` mean weight inside, over the mean weight of all pairs.
    """

    sizes: np.ndarray
    density: np.ndarray


class ModuleTest(NamedTuple):
    """Comparison of each module with those of null graphs.

    Attributes:
        z: ``[modules]`` density in standard deviations above the null modules' mean; NaN where they do not vary.
        p: ``[modules]`` (1 + number of null modules that are as dense) / (1 + number of null graphs).
    """

    z: np.ndarray
    p: np.ndarray


def modules_of(adjacency: np.ndarray, labels: np.ndarray) -> NullModules:
    """Return sizes and densities of all modules, by label: the strength inside a module, made comparable across sizes.

    d_m = [sum_{i != j in m} A_ij / (n_m (n_m - 1))] / [sum_{i != j} A_ij / (n (n - 1))]; 0 for a module of one unit.
    (The contribution to Q would not do: of two modules, both have the same, although one may be merely the rest.)

    Args:
        adjacency: ``[units units]``, its diagonal zero.
        labels: ``[units]``; negative for units in no module, which do not count.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> modules_of(two_cliques, np.array([0, 0, 0, 1, 1, 1])).density.tolist()
        [2.5, 2.5]
    """
    members = membership(labels)
    inside, sizes = np.sum(members * (adjacency @ members), 0), members.sum(0)
    num_living = sizes.sum()
    mean = adjacency.sum() / max(num_living * (num_living - 1), 1)
    return NullModules(sizes.astype(int), inside / np.maximum(sizes * (sizes - 1), 1) / mean)


def compare_modules(observed: NullModules, nulls: Sequence[NullModules]) -> ModuleTest:
    """Compare each module with one module of every null graph: that nearest to it in size (of two, the denser one).

    p tests each module alone; over the modules of a graph it is for the reader to adjust it. The observed modules may
    be those of a better search than the null's, which favours them by as much as Q differs.

    Args:
        observed: Modules of the graph.
        nulls: Modules of each null graph.
    """
    if not nulls:
        return ModuleTest(np.full(len(observed.sizes), np.nan), np.full(len(observed.sizes), np.nan))
    z, p = [], []
    for size, density in zip(*observed, strict=True):
        nearest = []
        for null in nulls:
            gaps = np.abs(null.sizes - size)
            nearest.append(null.density[gaps == gaps.min()].max())
        draws = np.array(nearest)
        sd = draws.std(ddof=1) if len(draws) > 1 else 0.0
        z.append((density - draws.mean()) / sd if sd > 1e-12 else np.nan)
        p.append((1 + np.sum(draws >= density - 1e-12)) / (1 + len(draws)))
    return ModuleTest(np.array(z), np.array(p))
