"""Graphs with known answers, for the tests of searches, nulls and alignment."""

import networkx as nx
import numpy as np


def random_graph(num=12, seed=0, power=1.0):
    a = np.random.default_rng(seed).random((num, num)) ** power
    a = np.triu(a, 1)
    return a + a.T


def cliques(num_cliques, size):
    return np.kron(np.eye(num_cliques), np.ones((size, size)) - np.eye(size))


def planted(num_modules=4, size=12, inside=1.0, outside=0.25, seed=0):
    truth = np.repeat(np.arange(num_modules), size)
    strength = np.where(truth[:, None] == truth, inside, outside)
    a = strength * np.random.default_rng(seed).random((len(truth), len(truth)))
    a = np.triu(a, 1)
    return a + a.T, truth


def ring_of_cliques(num, size):
    a = cliques(num, size)
    for index in range(num):
        i, j = index * size, ((index + 1) % num) * size + 1
        a[i, j] = a[j, i] = 1
    return a


def karate_club():
    return nx.to_numpy_array(nx.karate_club_graph(), weight=None)


def reference_graphs(reference_dir):
    """The layer matrices of the reference networks: (stored file, method, layer, adjacency)."""
    import modjax as mj

    for path in sorted(reference_dir.glob("*.npz")):
        stored = np.load(path, allow_pickle=False)
        for method in stored["methods"]:
            for layer in (0, 1):
                yield stored, method, layer, mj.adjacency(stored[f"sim_{method}_layer{layer}"])
