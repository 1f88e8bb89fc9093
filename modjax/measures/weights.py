"""The graph of weights: a measure of the parameters alone, without examples."""

import numpy as np

from modjax.networks.base import Network
from modjax.types import Params


def weight_matrix(network: Network, params: Params) -> np.ndarray:
    """Return the weights that join the units of all hidden layers as one matrix ``[... units units]``.

    S_ij = |W_ij| for units of adjacent hidden layers (for channels, a sum over the kernel's positions), else 0.
    S_ii = sum_j |W_ij|, the strength of the unit, so that ``modjax.adjacency(S, normalized=True)`` is the graph
    normalized as usual, |W_ij| / sqrt(s_i s_j), and a unit without weights is dead.

    Args:
        network: The architecture, with a ``weight_graph`` and at least two hidden layers.
        params: Parameters of the network; with leading axes on all leaves, a population.

    Raises:
        ValueError: If the network does not say what its weights join, or has only one hidden layer.
    """
    if network.weight_graph is None:
        raise ValueError(
            "weights needs a network that says what its weights join: mj.mlp or mj.cnn; leave it out here."
        )
    joined = [np.asarray(weights) for weights in network.weight_graph(params)]
    if not joined:
        raise ValueError("weights needs two hidden layers or more, whose units weights can join; got 1.")
    sizes = [joined[0].shape[-2], *(weights.shape[-1] for weights in joined)]
    edges = np.cumsum([0, *sizes])
    matrix = np.zeros((*joined[0].shape[:-2], edges[-1], edges[-1]), joined[0].dtype)
    for layer, weights in enumerate(joined):
        above, below = slice(edges[layer + 1], edges[layer + 2]), slice(edges[layer], edges[layer + 1])
        matrix[..., below, above] = weights
        matrix[..., above, below] = np.swapaxes(weights, -1, -2)
    # The diagonal is still zero here, so that the sum of a row is the strength of its unit.
    diagonal = np.arange(edges[-1])
    matrix[..., diagonal, diagonal] = matrix.sum(-1)
    return matrix
