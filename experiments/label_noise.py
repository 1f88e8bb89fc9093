"""Does a wider network learn wrong labels by heart? A task with wrong labels, for label_noise.toml.

The history holds the accuracy on the true labels, and as val_memorized the share of wrong labels that were learnt.
"""

import jax.numpy as jnp
import numpy as np
from optax import softmax_cross_entropy_with_integer_labels as cross_entropy

import modjax as mj

NOISE = mj.HyperparameterInfo("noise", default=0.0, low=0.0, high=1.0, label="share of wrong labels")


def load(data_dir=None):
    """Digits; each example has a wrong label, and a number below which the share of wrong labels must be."""
    digits, rng = mj.load_dataset("digits"), np.random.default_rng(0)

    def more(y):
        return {"luck": rng.random(len(y), np.float32), "wrong": (y + rng.integers(1, 10, len(y))) % 10}

    return digits._replace(more_train=more(digits.y_train), more_test=more(digits.y_test))


def build(network):
    """Cross-entropy of labels that are wrong with probability ``noise``, the same ones in every epoch."""
    clean = mj.classification(network)

    def given_labels(hyperparams, batch):
        is_wrong = batch.more["luck"] < hyperparams["noise"]
        return is_wrong, jnp.where(is_wrong, batch.more["wrong"], batch.y)

    def loss(params, hyperparams, batch, key):
        return clean.loss(params, hyperparams, batch._replace(y=given_labels(hyperparams, batch)[1]), key)

    def evaluate(params, hyperparams, batch):
        logits = network.apply(params, batch.x / 255).logits
        answer, (is_wrong, labels) = logits.argmax(-1), given_labels(hyperparams, batch)
        return {
            "loss": cross_entropy(logits, labels).sum(),
            "accuracy": (answer == batch.y).sum().astype(float),  # on the true labels
            "memorized": (is_wrong & (answer == labels)).sum() / jnp.maximum(hyperparams["noise"], 1e-6),
            "count": float(len(batch.y)),
        }

    return clean._replace(loss=loss, evaluate=evaluate)


DATASET = mj.DatasetInfo("digits_with_wrong_labels", load)
TASK = mj.TaskInfo("wrong_labels", build, (NOISE,))
