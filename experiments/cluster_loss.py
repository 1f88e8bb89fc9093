"""Networks that are trained to be clusterable: a penalty on weights between fixed groups of units (Golechha et al.).

    C = sum of W_ij^2 with i and j in the same of k groups / sum of all W_ij^2,    loss = CE - cluster_weight * C

W is the matrix between the two hidden layers, whose groups are k equal blocks, fixed beforehand; without training C is
1/k on average.

References:
    Golechha et al., "Training neural networks for modularity aids interpretability", arXiv 2409.15747.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
import polars as pl

import modjax as mj

GROUPS = 4


class NoBias(nn.Module):
    """Dense layers without biases."""

    widths: tuple
    num_outputs: int

    @nn.compact
    def __call__(self, x):  # noqa: D102
        for layer, width in enumerate(self.widths):
            x = self.perturb(f"hidden_{layer}", nn.relu(nn.Dense(width, use_bias=False, name=f"dense_{layer}")(x)))
        return nn.Dense(self.num_outputs, use_bias=False, name="out")(x)


def build(in_shape, num_outputs, widths=(64, 64)):
    return mj.from_linen(NoBias(tuple(widths), num_outputs), math.prod(in_shape))


def clusterability(params):
    """Return C of the weights between the two hidden layers."""
    squares = params["dense_1"]["kernel"] ** 2
    row, column = (jnp.arange(size) * GROUPS // size for size in squares.shape)
    return jnp.sum(jnp.where(row[:, None] == column[None], squares, 0)) / jnp.sum(squares)


def penalty(network, params, hyperparams):
    return -hyperparams["cluster_weight"] * clusterability(params)


def measured(context, trial):
    return [{"clusterability": float(clusterability(trial.params))}]


WEIGHT = mj.HyperparameterInfo("cluster_weight", 0.0, low=0.0, label="weight of the cluster loss")
NETWORK = mj.NetworkInfo("no_bias", build)
CLUSTER_LOSS = mj.PenaltyInfo("cluster_loss", penalty, (WEIGHT,))
CLUSTERABILITY = mj.AnalysisInfo("clusterability", "clusterability", {"clusterability": pl.Float64}, {}, measured)
