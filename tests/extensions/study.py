"""A study of gated networks: a kind of network, a penalty, a measure and an analysis of its own."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import polars as pl

import modjax as mj


class Gated(nn.Module):
    width: int
    num_classes: int

    @nn.compact
    def __call__(self, x):
        gate = nn.sigmoid(nn.Dense(self.width)(x))
        hidden = self.perturb("gated", nn.relu(nn.Dense(self.width)(x)) * gate)
        return nn.Dense(self.num_classes)(hidden)


def build(in_shape, num_outputs, width=16):
    return mj.from_linen(Gated(width, num_outputs), math.prod(in_shape))


def group_norms(network, params, hyperparams):
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    return hyperparams["group_lasso"] * sum(jnp.sum(jnp.sqrt(jnp.sum(w**2, 0) + 1e-12)) for w in kernels)


def second_moment(network, params, x, y):
    return tuple(hidden.T @ hidden / len(hidden) for hidden in network.apply(params, x).hidden)


def largest(context, trial):
    return [
        {"layer": layer, "measure": measure, "largest": float(abs(S).max())}
        for (layer, measure), S in trial.matrices.items()
    ]


GATED = mj.NetworkInfo("gated", build)
GROUP = mj.PenaltyInfo(
    "group_lasso",
    group_norms,
    (mj.HyperparameterInfo("group_lasso", default=0.0, low=0.0, scale="log", label="group lasso"),),
)
MOMENT = mj.MeasureInfo("second_moment", "upstream", second_moment, title="second moment")
LARGEST = mj.AnalysisInfo(
    "largest",
    table="largest",
    keys={"layer": pl.Int32, "measure": pl.String},
    columns={"largest": pl.Float64},
    run=largest,
)
