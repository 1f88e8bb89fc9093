"""From an adjacency matrix to igraph: one complete graph a size, reused; only its weights change."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import igraph
import numpy as np


@lru_cache(maxsize=64)
def complete_graph(num_units: int, has_loops: bool) -> tuple[igraph.Graph, tuple[np.ndarray, np.ndarray]]:
    """The complete graph and the (row, column) of each of its edges, in igraph's order of edges."""
    graph = igraph.Graph.Full(num_units, loops=has_loops)
    return graph, np.triu_indices(num_units, k=0 if has_loops else 1)


def weighted_graph(adjacency: np.ndarray) -> tuple[igraph.Graph, list[float]]:
    """A graph and its weights, scaled to a mean of 1 so that no weight is lost to underflow.

    A diagonal entry becomes a loop of half its weight, since igraph counts a loop twice in a unit's strength.
    """
    has_loops = bool(np.any(np.diagonal(adjacency)))
    graph, (rows, columns) = complete_graph(len(adjacency), has_loops)
    weights = adjacency[rows, columns]
    weights = np.where(rows == columns, weights / 2, weights)
    return graph, (weights / weights.mean()).tolist()


@contextmanager
def igraph_seed(seed: int) -> Iterator[None]:
    """Let igraph draw from a generator of our own; it has one a process, so parallel searches need processes."""
    igraph.set_random_number_generator(random.Random(seed))  # noqa: S311 - not for secrets
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)
