"""Synergy and redundancy of pairs of units as measures, with the networks and tasks of Proca et al.

X_i is the discretized activation of unit i (0, up to 2.5, up to 5, above), T the joint state of the next layer, or the
answer after the last one; I is the mutual information over all inputs, in nats.

    redundancy_ij = min(I(X_i; T), I(X_j; T)) / I(X_i, X_j; T)
    synergy_ij    = (I(X_i, X_j; T) - max(I(X_i; T), I(X_j; T))) / I(X_i, X_j; T)

and 0 where I(X_i, X_j; T) is. The diagonal is set to 1 for a unit that knows anything of T, so that it counts as alive.

References:
    Proca et al., "Synergistic information supports modality integration and flexible learning in neural networks
    solving multiple tasks", PLoS Computational Biology 2024 (arXiv 2210.02996).
"""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

import modjax as mj

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
BINS = np.linspace(0, 5, 3)


def gate(answers):
    """All four inputs of a logic gate, to train on and to test on."""
    return mj.Dataset("gate", INPUTS, answers, INPUTS, answers, 2)


def build(in_shape, num_outputs, widths=(10, 10)):
    """A dense ReLU network with dropout before the ReLU; weights and biases from U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    sizes = [*in_shape, *widths, num_outputs]
    network = mj.mlp(sizes[0], tuple(widths), num_outputs)

    def apply(params, x, perturb=None, dropout=None):
        hidden, keys = [], jax.random.split(jax.random.key(0) if dropout is None else dropout[1], len(widths))
        for layer in range(len(widths)):
            weights = params[f"dense_{layer}"]
            x = x @ weights["kernel"] + weights["bias"][None]
            if dropout is not None:
                x = jnp.where(jax.random.bernoulli(keys[layer], 1 - dropout[0], x.shape), x / (1 - dropout[0]), 0)
            x = jax.nn.relu(x)
            x = x if perturb is None else x + perturb[layer]
            hidden.append(x)
        weights = params[f"dense_{len(widths)}"]
        return mj.Output(tuple(hidden), x @ weights["kernel"] + weights["bias"][None])

    return mj.Network(network.init, apply, sizes[0], is_piecewise_linear=True)


def same(states):
    """Return whether two examples have the same state of a variable, ``[examples examples]``."""
    return states[:, None] == states[None, :]


def entropy(is_same):
    """Return the entropy of a variable, ``-mean_e log(share of examples like e)``, over the last two axes."""
    return -jnp.mean(jnp.log(jnp.mean(is_same, -1)), -1)


def information(network, params, x):
    """Yield ``I(X_i; T)`` and ``I(X_i, X_j; T)`` of each hidden layer."""
    output = network.apply(params, x)
    states = [jnp.searchsorted(BINS, hidden) for hidden in output.hidden]
    targets = [*states[1:], jnp.argmax(output.logits, -1)[:, None]]
    for units, target in zip(states, targets, strict=True):
        alike = jax.vmap(same, 1)(units)  # [units examples examples]
        pairs, to_target = alike[:, None] & alike[None], jax.vmap(same, 1)(target).all(0)
        each = entropy(alike) + entropy(to_target) - entropy(alike & to_target[None])
        yield each, entropy(pairs) + entropy(to_target) - entropy(pairs & to_target[None, None])


def shares(parts, each, pairs):
    """Return parts of the information of pairs, at least 0, with 1 on the diagonal of informative units."""
    matrix = jnp.where(pairs > 1e-6, jnp.clip(parts / jnp.maximum(pairs, 1e-6), 0), 0)
    return jnp.where(jnp.eye(len(each), dtype=bool), (each > 1e-6).astype(matrix.dtype), (matrix + matrix.T) / 2)


def redundancy(network, params, x, y):
    """Return the redundancy of every pair of units."""
    layers = information(network, params, x)
    return tuple(shares(jnp.minimum(a[:, None], a[None]), a, pairs) for a, pairs in layers)


def synergy(network, params, x, y):
    """Return the synergy of every pair of units."""
    layers = information(network, params, x)
    return tuple(shares(pairs - jnp.maximum(a[:, None], a[None]), a, pairs) for a, pairs in layers)


def pair_means(context, trial):
    """Return the mean over pairs of different units, as the paper reports it."""
    return [
        {"layer": layer, "measure": measure, "mean": float(np.mean(S[np.triu_indices(len(S), 1)]))}
        for (layer, measure), S in trial.matrices.items()
    ]


XOR = mj.DatasetInfo("xor", lambda data_dir: gate(np.array([0, 1, 1, 0], np.int32)))
COPY = mj.DatasetInfo("copy", lambda data_dir: gate(np.array([0, 0, 1, 1], np.int32)))
NETWORK = mj.NetworkInfo("dropout_first", build)
REDUNDANCY = mj.MeasureInfo("redundancy", "downstream", redundancy, gram=False, batched=False)
SYNERGY = mj.MeasureInfo("synergy", "downstream", synergy, gram=False, batched=False)
PAIRS = mj.AnalysisInfo(
    "pair_means", "pair_means", {"mean": pl.Float64}, {"layer": pl.Int32, "measure": pl.String}, pair_means
)
