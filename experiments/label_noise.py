"""Does a wider network learn wrong labels by heart? Label noise against width, on digits; no modularity anywhere.

100 networks of one hidden layer in one population: 5 widths x 5 shares of wrong labels x 4 seeds. Width is an ordinary
hyperparameter: every network has 128 units, and those beyond its width are masked.

    python experiments/label_noise.py [FIGURE.png]
"""

import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from optax import softmax_cross_entropy_with_integer_labels as cross_entropy

import modjax as mj

WIDTHS, NOISE, SEEDS, MOST = (4, 8, 16, 64, 128), (0.0, 0.1, 0.2, 0.4, 0.6), range(4), 128


def init(key, h):
    keys = jax.random.split(key)
    return jax.random.normal(keys[0], (64, MOST)) / 8, jax.random.normal(keys[1], (MOST, 10)) / h["width"] ** 0.5


def logits(params, h, batch):
    return (jax.nn.relu(batch["x"] @ params[0]) * (jnp.arange(MOST) < h["width"])) @ params[1]


def losses(params, h, batch):
    labels = jnp.where(batch["luck"] < h["noise"], batch["wrong"], batch["y"])  # the same wrong ones in every epoch
    return cross_entropy(logits(params, h, batch), labels)


def evaluate(params, h, batch):
    right = jnp.sum(jnp.argmax(logits(params, h, batch), -1) == batch["y"])  # true labels
    return {"loss": losses(params, h, batch).sum(), "accuracy": right.astype(float), "count": float(len(batch["y"]))}


def main(figure="label_noise.png"):
    digits, rng = mj.load_dataset("digits"), np.random.default_rng(0)
    x, y = digits.x_train.reshape(-1, 64).astype(np.float32) / 255, digits.y_train
    data = {"x": x, "y": y, "luck": rng.random(len(y), np.float32), "wrong": (y + rng.integers(1, 10, len(y))) % 10}
    width, noise, seed = (grid.ravel() for grid in np.meshgrid(WIDTHS, NOISE, SEEDS, indexing="ij"))
    task = mj.Task(init, lambda params, h, batch, key: losses(params, h, batch).mean(), evaluate)
    config = mj.TrainConfig(max_epochs=100, batch_size=50, early_stopping_patience=100, plateau_patience=100)
    h = {"width": width, "noise": noise, "seed": seed, "learning_rate": 3e-3}
    accuracy = mj.train(task, h, data, config).history["val_accuracy"][:, -1].reshape(len(WIDTHS), len(NOISE), -1)
    for share, some in zip(NOISE, np.moveaxis(accuracy, 1, 0), strict=True):
        plt.errorbar(WIDTHS, some.mean(1), some.std(1), marker="o", capsize=3, label=f"{share:.0%} wrong labels")
        print(f"{share:.0%} wrong labels:", *(f"width {w}: {a:.3f}" for w, a in zip(WIDTHS, some.mean(1), strict=True)))
    plt.gca().set(xscale="log", xlabel="hidden units", ylabel="accuracy on true labels after 100 epochs")
    plt.legend()
    plt.savefig(figure, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main(*sys.argv[1:])
