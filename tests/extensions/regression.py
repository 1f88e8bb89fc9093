"""A regression of one's own: an nnx network, a dataset and a task, which evaluates no accuracy."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from flax import nnx

import modjax as mj


class Waves(nnx.Module):
    """A hidden layer of tanh units."""

    def __init__(self, inputs, width, outputs, rngs):
        self.first, self.last = nnx.Linear(inputs, width, rngs=rngs), nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, x):
        hidden = jnp.tanh(self.first(x))
        self.sow(nnx.Intermediate, "hidden", hidden)
        return self.last(hidden)


def build(in_shape, num_outputs, width=8):
    return mj.from_nnx(lambda rngs: Waves(in_shape[0], width, num_outputs, rngs), in_shape)


def load(data_dir):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = np.sin(x @ rng.normal(size=(3, 2))).astype(np.float32)
    return mj.Dataset("waves", x[:240], y[:240], x[240:], y[240:])


def squares(network):
    def errors(params, batch):
        return jnp.mean((network.apply(params, batch.x).logits - batch.y) ** 2, -1)

    def evaluate(params, hyperparams, batch):
        error = errors(params, batch)
        return {"count": jnp.float32(len(error)), "loss": jnp.sum(error), "worst": jnp.max(error) * len(error)}

    def loss(params, hyperparams, batch, key):
        x = batch.x + hyperparams.jitter * jax.random.normal(key, batch.x.shape)
        return jnp.mean(errors(params, batch._replace(x=x)))

    return mj.Task(lambda key, hyperparams: network.init(key), loss, evaluate)


def largest_q(context, sweep):
    best = sweep.modules.group_by("measure").agg(pl.col("q").max()).sort("measure")
    return best.to_dicts()


WAVES = mj.DatasetInfo("waves", load)
NETWORK = mj.NetworkInfo("tanh_layer", build)
SQUARES = mj.TaskInfo("squares", squares, (mj.HyperparameterInfo("jitter", 0.0, low=0.0),))
LARGEST_Q = mj.AnalysisInfo("largest_q", "largest_q", {"q": pl.Float64}, {"measure": pl.String}, largest_q, "sweep")
