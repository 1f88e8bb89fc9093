"""Optimizers by name and optax transformations of one's own, against literal steps in NumPy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import modjax as mj

NUM, STEPS, RATE = 60, 6, 0.05
X = np.random.default_rng(0).normal(size=(NUM, 3))
TARGET = X @ np.array([1.0, -2.0, 0.5])


def error(params, batch):
    return (batch["x"] @ params["w"] - batch["target"]) ** 2


TASK = mj.Task(
    init=lambda key, h: {"w": jnp.array([0.5, 0.5, 0.5])},
    loss=lambda params, h, batch, key: error(params, batch).mean(),
    evaluate=lambda params, h, batch: {"loss": error(params, batch).sum(), "count": len(batch["target"])},
)


def trained(hyperparams, **config):
    """One step an epoch on all training examples at once, so that the order of examples does not matter."""
    data = {"x": X.astype(np.float32), "target": TARGET.astype(np.float32)}
    fixed = {"max_epochs": STEPS, "batch_size": NUM // 2, "validation_fraction": 0.5, "plateau_patience": 100}
    return mj.train(TASK, hyperparams, data, mj.TrainConfig(**fixed, **config)).last["w"]


def literal(step, seed=0):
    """``STEPS`` steps of ``step(w, gradient, number)`` in float64 on the trial's training half."""
    from tests.seams import split

    chosen, _ = split(mj.TrainConfig(validation_fraction=0.5), jnp.uint32(seed), NUM)
    x, target = X[chosen], TARGET[chosen]
    w = np.full(3, 0.5)
    for number in range(1, STEPS + 1):
        w = step(w, 2 * x.T @ (x @ w - target) / len(x), number)
    return w


def adam_steps(weight_decay=0.0):
    state = {"m": np.zeros(3), "v": np.zeros(3)}

    def step(w, gradient, number):
        state["m"] = 0.9 * state["m"] + 0.1 * gradient
        state["v"] = 0.999 * state["v"] + 0.001 * gradient**2
        m, v = state["m"] / (1 - 0.9**number), state["v"] / (1 - 0.999**number)
        return w - RATE * (m / (np.sqrt(v) + 1e-8) + weight_decay * w)

    return step


def sgd_steps(momentum):
    state = {"v": np.zeros(3)}

    def step(w, gradient, number):
        state["v"] = momentum * state["v"] + gradient
        return w - RATE * state["v"]

    return step


def test_adam():
    np.testing.assert_allclose(trained({"learning_rate": [RATE]})[0], literal(adam_steps()), rtol=1e-4)


def test_adamw_by_config_and_as_a_hyperparameter():
    found = trained({"learning_rate": RATE, "weight_decay": [0.0, 0.3]}, optimizer="adamw")
    for row, decay in zip(found, (0.0, 0.3), strict=True):
        np.testing.assert_allclose(row, literal(adam_steps(decay)), rtol=1e-4)
    by_config = trained({"learning_rate": [RATE]}, optimizer="adamw", weight_decay=0.3)
    np.testing.assert_allclose(by_config[0], found[1], rtol=1e-6)


def test_sgd_with_momentum_by_config_and_as_a_hyperparameter():
    found = trained({"learning_rate": RATE, "momentum": [0.0, 0.5]}, optimizer="sgd")
    for row, momentum in zip(found, (0.0, 0.5), strict=True):
        np.testing.assert_allclose(row, literal(sgd_steps(momentum)), rtol=1e-4)
    by_config = trained({"learning_rate": [RATE]}, optimizer="sgd", momentum=0.5)
    np.testing.assert_allclose(by_config[0], found[1], rtol=1e-6)


def test_an_optax_transformation_of_ones_own_with_a_traced_hyperparameter():
    def optimizer(learning_rate, h):
        return optax.chain(optax.clip_by_global_norm(h["clip"]), optax.sgd(learning_rate))

    def steps(clip):
        return lambda w, gradient, number: w - RATE * gradient * min(1.0, clip / np.linalg.norm(gradient))

    config = {"optimizer": optimizer, "optimizer_hyperparams": ("clip",)}
    task_names = TASK._replace(hyperparams=())
    assert task_names.hyperparams == ()
    found = trained({"learning_rate": RATE, "clip": [0.1, 1.0, 100.0]}, **config)
    for row, clip in zip(found, (0.1, 1.0, 100.0), strict=True):
        np.testing.assert_allclose(row, literal(steps(clip)), rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_matmul_precisions_train(precision):
    found = trained({"learning_rate": [RATE]}, matmul_precision=precision)
    np.testing.assert_allclose(found[0], literal(adam_steps()), rtol=0.05)


@pytest.mark.parametrize(
    "field",
    [{"momentum": 1.0}, {"weight_decay": -1.0}, {"matmul_precision": "fp8"}, {"num_devices": 0}, {"optimizer": "sgdd"}],
    ids=str,
)
def test_bad_settings_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        mj.TrainConfig(**field)


def test_a_name_that_neither_task_nor_optimizer_takes_is_refused():
    task = mj.classification(mj.mlp(3, (4,), 2))
    data = {"x": X.astype(np.float32), "y": (TARGET > 0).astype(np.int32)}
    with pytest.raises(ValueError, match="Unknown hyperparameter 'momentum'"):
        mj.train(task, {"momentum": [0.5]}, data, mj.TrainConfig(batch_size=20))
