"""Adjacency matrices as igraph graphs: one complete graph per size is reused, only the weights change."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import igraph
import numpy as np


@lru_cache(maxsize=64)
def complete_graph(num_units: int, has_loops: bool) -> tuple[igraph.Graph, tuple[np.ndarray, np.ndarray]]:
    """Return the complete graph and the rows and columns of its edges, in igraph's order of edges."""
    graph = igraph.Graph.Full(num_units, loops=has_loops)
    return graph, np.triu_indices(num_units, k=0 if has_loops else 1)


def weighted_graph(adjacency: np.ndarray) -> tuple[igraph.Graph, list[float]]:
    """Return a graph and its edge weights, scaled to a mean of 1 so that no weight is lost to underflow.

    A diagonal entry becomes a loop of half its weight, since igraph counts a loop twice in a unit's strength.
    """
    has_loops = bool(np.any(np.diagonal(adjacency)))
    graph, (rows, columns) = complete_graph(len(adjacency), has_loops)
    weights = adjacency[rows, columns]
    weights = np.where(rows == columns, weights / 2, weights)
    return graph, (weights / weights.mean()).tolist()


@contextmanager
def igraph_seed(seed: int) -> Iterator[None]:
    """Make igraph draw from a seeded generator; it has one per process, so parallel searches need processes."""
    igraph.set_random_number_generator(random.Random(seed))  # noqa: S311 - not for secrets
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)
