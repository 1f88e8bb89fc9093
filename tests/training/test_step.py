"""What a step may do: schedules, full batches, no validation, masks, projections; names that nobody reads."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import modjax as mj

N = 40
NO_VALIDATION = {"validation_fraction": 0.0, "keep": "last", "early_stopping": False}


def data() -> dict:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 3)).astype(np.float32)
    return {"x": x, "y": (x @ np.array([1.0, -2.0, 0.5], np.float32) + 0.1)[:, None]}


def squared(params, batch):
    return jnp.sum((batch["x"] @ params["w"] + params["b"][None] - batch["y"]) ** 2, -1)


def linear_task(**more) -> mj.Task:
    """Least squares of a linear map: gradients by hand are one line."""
    return mj.Task(
        init=lambda key, hyperparams: {"w": jax.random.normal(key, (3, 1)), "b": jnp.zeros(1)},
        loss=lambda params, hyperparams, batch, key: jnp.mean(squared(params, batch)),
        evaluate=lambda params, hyperparams, batch: {
            "loss": jnp.sum(squared(params, batch)),
            "count": jnp.asarray(float(len(batch["x"]))),
        },
        **more,
    )


def config(**settings) -> mj.TrainConfig:
    return mj.TrainConfig(**{"optimizer": "sgd", "momentum": 0.0, "max_epochs": 4, "batch_size": 10, **settings})


def literal(initial, rates, steps_per_epoch, epochs, project=lambda params: params):
    """Return the weights of full-batch gradient descent, in float64, at the rates of every step."""
    x, y = (np.asarray(value, np.float64) for value in data().values())
    w, b = (np.asarray(initial[name], np.float64) for name in ("w", "b"))
    for step in range(epochs * steps_per_epoch):
        error = x @ w + b - y
        w = w - rates(step) * 2 * x.T @ error / N
        b = b - rates(step) * 2 * error.mean(0)
        w, b = project((w, b))
    return {"w": w, "b": b}


def initial_of(seed: int = 0) -> dict:
    full = config(batch_size="all", schedule="constant", max_epochs=1, **NO_VALIDATION)
    return jax.tree.map(
        lambda leaf: leaf[0], mj.train(linear_task(), {"learning_rate": [1e-30], "seed": [seed]}, data(), full).last
    )


def test_full_batches_are_gradient_descent_on_all_examples() -> None:
    full = config(batch_size="all", schedule="constant", max_epochs=30, **NO_VALIDATION)
    population = mj.train(linear_task(), {"learning_rate": [0.05, 0.1]}, data(), full)
    for trial, rate in enumerate((0.05, 0.1)):
        wanted = literal(initial_of(), lambda step, rate=rate: rate, 1, 30)
        np.testing.assert_allclose(population.last["w"][trial], wanted["w"], rtol=2e-5)
        np.testing.assert_allclose(population.last["b"][trial], wanted["b"], rtol=2e-4, atol=1e-6)


def test_many_steps_per_epoch_are_the_same_steps() -> None:
    settings = {"batch_size": "all", "schedule": "cosine", **NO_VALIDATION}
    each = mj.train(linear_task(), {"learning_rate": [0.05, 0.1]}, data(), config(max_epochs=30, **settings))
    ten = config(max_epochs=3, steps_per_epoch=10, **settings)
    together = mj.train(linear_task(), {"learning_rate": [0.05, 0.1]}, data(), ten)
    assert together.epochs.tolist() == [3, 3]
    np.testing.assert_allclose(together.last["w"], each.last["w"], rtol=1e-5)
    np.testing.assert_allclose(together.history["learning_rate"], each.history["learning_rate"][:, 9::10], rtol=1e-5)


def test_without_validation_the_last_weights_are_kept() -> None:
    full = config(batch_size="all", schedule="constant", max_epochs=5, **NO_VALIDATION)
    population = mj.train(linear_task(), {"learning_rate": [0.05, 1e30]}, data(), full)
    assert sorted(population.history) == ["learning_rate", "train_loss"]
    assert population.status.tolist() == ["done", "diverged"]
    assert population.best_epoch[0] == 4
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), population.params, population.last)
    assert np.isfinite(population.params["w"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"validation_fraction": 0.0},
            "which schedule = 'plateau' and keep = 'best' and early_stopping = true would need",
        ),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1, 1 excluded"),
        ({"schedule": "cosin"}, "Unknown schedule 'cosin'"),
        ({"batch_size": "most"}, "batch_size must be a whole number from 1 to .*, or 'all'; got 'most'"),
        ({"steps_per_epoch": 5}, "steps_per_epoch is for batch_size = 'all'; got 5 with batches of 200"),
        ({"warmup_fraction": 1.5}, "warmup_fraction must lie between 0 and 1"),
        ({"end_factor": -0.1}, "end_factor must lie between 0 and 1"),
    ],
)
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.TrainConfig(**settings)


def peak_and_decay(step, hyperparams):
    return hyperparams["learning_rate"] * hyperparams["decay"] ** step


CASES = {
    "cosine": ({"schedule": "cosine", "end_factor": 0.1}, optax.cosine_decay_schedule(0.1, 16, 0.1)),
    "warmup_cosine": (
        {"schedule": "warmup_cosine", "warmup_fraction": 0.25},
        optax.warmup_cosine_decay_schedule(0.0, 0.1, 4, 16),
    ),
    "optax": ({"schedule": optax.exponential_decay(0.1, 3, 0.5)}, optax.exponential_decay(0.1, 3, 0.5)),
    "traced": ({"schedule": peak_and_decay}, lambda step: 0.1 * 0.9**step),
}


@pytest.mark.parametrize("name", CASES)
def test_schedules_step_by_step(name: str) -> None:
    settings, rates = CASES[name]
    hyperparams = {"seed": [0, 0]} if name == "optax" else {"learning_rate": [0.1, 0.2]}
    hyperparams |= {"decay": [0.9, 0.8]} if name == "traced" else {}
    # 40 examples in batches of 10 without validation: 4 steps per epoch, 16 in all.
    population = mj.train(linear_task(), hyperparams, data(), config(**settings, **NO_VALIDATION))
    last = [float(rates(4 * epoch + 3)) for epoch in range(4)]
    np.testing.assert_allclose(population.history["learning_rate"][0], last, rtol=1e-5, atol=1e-9)
    full = config(batch_size="all", max_epochs=16, **settings, **NO_VALIDATION)
    population = mj.train(linear_task(), hyperparams, data(), full)
    wanted = literal(initial_of(), lambda step: float(rates(step)), 1, 16)
    np.testing.assert_allclose(population.last["w"][0], wanted["w"], rtol=1e-4)


def test_a_schedule_goes_on_where_it_was_interrupted(tmp_path) -> None:
    settings = config(schedule="warmup_cosine", max_epochs=6)
    hyperparams = {"learning_rate": [0.1, 0.02]}
    whole = mj.train(linear_task(), hyperparams, data(), settings)

    def stop(report: mj.EpochReport) -> None:
        if any(row["epoch"] == 2 for row in report.rows.values()):
            raise KeyError("stop")

    with pytest.raises(KeyError):
        mj.train(linear_task(), hyperparams, data(), settings, stop, tmp_path, 0.0)
    again = mj.train(linear_task(), hyperparams, data(), settings, checkpoint=tmp_path)
    np.testing.assert_array_equal(again.history["val_loss"], whole.history["val_loss"])
    np.testing.assert_array_equal(again.history["learning_rate"], whole.history["learning_rate"])


MASK = {"w": np.array([[1.0], [0.0], [1.0]]), "b": np.array([0.0])}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_masked_weights_start_and_stay_at_zero(optimizer: str) -> None:
    task = linear_task(mask=lambda params, hyperparams: MASK)
    settings = config(optimizer=optimizer, momentum=0.9, max_epochs=8)
    population = mj.train(task, {"learning_rate": [0.05, 0.1]}, data(), settings)
    assert (population.last["w"][:, 1] == 0).all()
    assert (population.last["b"] == 0).all()

    def init(key, hyperparams):
        w = jax.random.normal(key, (3, 1))
        return {"w": jnp.stack([w[0], w[2]])}

    smaller = mj.Task(
        init,
        lambda params, hyperparams, batch, key: jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2),
        lambda params, hyperparams, batch: {
            "loss": jnp.sum((batch["x"] @ params["w"] - batch["y"]) ** 2),
            "count": jnp.asarray(float(len(batch["x"]))),
        },
    )
    few = {"x": data()["x"][:, [0, 2]], "y": data()["y"]}
    wanted = mj.train(smaller, {"learning_rate": [0.05, 0.1]}, few, settings)
    np.testing.assert_allclose(population.last["w"][:, [0, 2]], wanted.last["w"], rtol=1e-5)


def test_a_mask_may_depend_on_a_traced_density() -> None:
    def mask(params, hyperparams):
        return {"w": (jnp.arange(3)[:, None] < hyperparams["density"] * 3).astype(jnp.float32), "b": jnp.ones(1)}

    hyperparams = {"learning_rate": 0.05, "density": [0.4, 0.7, 1.0]}
    population = mj.train(linear_task(mask=mask), hyperparams, data(), config())
    assert (population.last["w"][..., 0] != 0).sum(1).tolist() == [2, 3, 3]


def test_projection_onto_a_ball_around_the_initial_weights() -> None:
    def project(params, hyperparams, initial):
        shift = jax.tree.map(jnp.subtract, params, initial)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(shift)))
        scale = jnp.minimum(1.0, hyperparams["radius"] / jnp.maximum(norm, 1e-9))
        return jax.tree.map(lambda start, moved: start + scale * moved, initial, shift)

    full = config(batch_size="all", schedule="constant", max_epochs=20, **NO_VALIDATION)
    hyperparams = {"learning_rate": 0.1, "radius": [0.5, 1e3]}
    population = mj.train(linear_task(project=project), hyperparams, data(), full)
    start = initial_of()
    w0, b0 = (np.asarray(start[name], np.float64) for name in ("w", "b"))

    def literal_project(params):
        w, b = params[0] - w0, params[1] - b0
        scale = min(1.0, 0.5 / math.sqrt((w**2).sum() + (b**2).sum()))
        return w0 + scale * w, b0 + scale * b

    wanted = literal(start, lambda step: 0.1, 1, 20, literal_project)
    np.testing.assert_allclose(population.last["w"][0], wanted["w"], rtol=1e-4)
    free = literal(start, lambda step: 0.1, 1, 20)
    np.testing.assert_allclose(population.last["w"][1], free["w"], rtol=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"mask": lambda params, hyperparams: {"w": jnp.ones((3, 1))}},
            "the task's mask must return a tree like the weights",
        ),
        ({"project": lambda params, hyperparams, initial: params["w"]}, "the task's project must return a tree like"),
        ({"mask": lambda params, hyperparams: 1 / 0}, "the task's mask cannot be computed: ZeroDivisionError"),
    ],
)
def test_wrong_masks_and_projections(more: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.train(linear_task(**more), {"learning_rate": [0.1]}, data(), config())


class Named(NamedTuple):
    """Hyperparameters of a study."""

    learning_rate: np.ndarray
    momentum: np.ndarray
    unused: float = 0.0


class TestUnreadNames:
    def test_a_misspelt_name_is_refused_before_training(self) -> None:
        with pytest.raises(ValueError, match=r"'learning_rte' is read by nothing.*they read learning_rate"):
            mj.train(linear_task(), {"learning_rte": [0.1], "learning_rate": [0.1]}, data(), config())

    def test_one_that_the_optimizer_does_not_read(self) -> None:
        with pytest.raises(ValueError, match="'weight_decay' is read by nothing"):
            mj.train(linear_task(), {"learning_rate": [0.1], "weight_decay": [0.1]}, data(), config())

    def test_one_that_a_schedule_makes_needless(self) -> None:
        with pytest.raises(ValueError, match="'learning_rate' is read by nothing"):
            mj.train(linear_task(), {"learning_rate": [0.1]}, data(), config(schedule=optax.constant_schedule(0.1)))

    def test_fields_of_a_named_tuple_at_their_default_need_no_reader(self) -> None:
        rates = np.array([0.1, 0.2])
        mj.train(linear_task(), Named(rates, rates), data(), config())
        with pytest.raises(ValueError, match="'unused' is read by nothing"):
            mj.train(linear_task(), Named(rates, rates, 1.0), data(), config())

    def test_values_that_are_looked_at_as_a_tree_are_read(self) -> None:
        def loss(params, hyperparams, batch, key):
            return jnp.mean(squared(params, batch)) + sum(jax.tree.leaves(hyperparams))

        given = {"learning_rate": [0.1], "anything": [1.0]}
        result = mj.train(linear_task()._replace(loss=loss), given, data(), config())
        assert result.status.tolist() == ["done"]
        with pytest.raises(ValueError, match="'anything' is read by nothing"):
            mj.train(linear_task(), given, data(), config())

    def test_functions_get_values_by_item_and_by_attribute_with_defaults(self) -> None:
        seen = []

        def loss(params, hyperparams, batch, key):
            seen.append(hyperparams["dropout"])
            return jnp.mean(squared(params, batch)) * hyperparams.scale

        mj.train(linear_task()._replace(loss=loss), Scaled(np.array([0.1]), np.array([2.0])), data(), config())
        assert seen[0] == 0.0


class Scaled(NamedTuple):
    """Hyperparameters of a study."""

    learning_rate: np.ndarray
    scale: np.ndarray


def gated_network() -> mj.Network:
    """A network whose hidden activations are scaled by a traced hyperparameter."""

    def init(key):
        first, second = jax.random.split(jax.random.key(key) if isinstance(key, int) else key)
        return {"a": jax.random.normal(first, (64, 6)) / 8, "b": jax.random.normal(second, (6, 10)) / 2}

    def apply(params, x, perturb=None, dropout=None, hyperparams=None):
        hidden = jnp.tanh(x.reshape(len(x), -1) @ params["a"]) * hyperparams["gain"]
        hidden = hidden if perturb is None else hidden + perturb[0]
        return mj.Output((hidden,), hidden @ params["b"])

    return mj.Network(init, apply, 64, hyperparams=("gain",))


def test_a_network_that_reads_hyperparameters_is_trained_and_measured_at_its_own_values() -> None:
    digits, network = mj.load_dataset("digits"), gated_network()
    hyperparams = {"learning_rate": 1e-2, "gain": [0.5, 2.0]}
    settings = mj.TrainConfig(max_epochs=2, batch_size=100)
    population = mj.train(mj.classification(network), hyperparams, digits, settings)
    gains = np.array([0.5, 2.0], np.float32)
    S = mj.similarity(network, (population.params, {"gain": gains}), digits.x_test, digits.y_test)
    for trial, gain in enumerate(gains):
        x = digits.x_test.reshape(-1, 64) / 255
        hidden = np.tanh(x @ population.params["a"][trial]) * gain
        np.testing.assert_allclose(S["covariance"][0][trial], np.cov(hidden.T, bias=True), rtol=1e-3, atol=1e-6)
        w = population.params["b"][trial]
        np.testing.assert_allclose(S["output_jacobian"][0][trial], w @ w.T, rtol=1e-4, atol=1e-5)
    other = mj.train(mj.classification(network), {**hyperparams, "gain": [2.0, 0.5]}, digits, settings)
    np.testing.assert_allclose(other.history["val_loss"][::-1], population.history["val_loss"], rtol=1e-5)
