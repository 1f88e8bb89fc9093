"""Sweeps whose [training] goes beyond the paper: full batches, no validation, schedules; networks that read values."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import modjax as mj
from modjax.networks.mlp import build_mlp

FULL = {
    "name": "full",
    "dataset": "digits",
    "seeds": [0, 1],
    "network": {"widths": [6]},
    "training": {
        "max_epochs": 4,
        "validation_fraction": 0.0,
        "keep": "last",
        "early_stopping": False,
        "schedule": "cosine",
        "batch_size": 100,
    },
    "arms": [
        {"name": "batch", "batch_size": [100, "all"], "learning_rate": [1e-2]},
        {"name": "none", "untrained": True},
    ],
    "similarity": {"measures": ["covariance"]},
}


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> mj.Sweep:
    return mj.run_sweep(FULL, tmp_path_factory.mktemp("full") / "out", slots=2, report=False)


def test_numbers_and_all_may_stand_in_one_arm(full: mj.Sweep) -> None:
    assert sorted(full.trials.filter(arm="batch")["batch_size"]) == ["100", "100", "all", "all"]
    assert full.trials["status"].value_counts().height == 2
    assert mj.verify_sweep(full.paths.root).is_whole


def test_without_validation_its_columns_are_null(full: mj.Sweep) -> None:
    trained = full.trials.filter(arm="batch")
    assert trained["val_loss"].is_null().all()
    assert trained["test_loss"].is_not_null().all()
    assert trained["best_epoch"].to_list() == [3] * 4
    assert full.history["val_loss"].is_null().all()


def test_the_history_has_the_rate_of_each_epochs_last_step(full: mj.Sweep) -> None:
    rows = full.history.join(full.trials.select("trial_id", "batch_size"), on="trial_id")
    for size, steps in (("100", 14), ("all", 1)):
        rates = rows.filter(batch_size=size).group_by("epoch").agg(pl.col("learning_rate").mean()).sort("epoch")
        last = np.arange(1, 5) * steps - 1
        wanted = 1e-2 * (1 + np.cos(np.pi * last / (4 * steps))) / 2
        np.testing.assert_allclose(rates["learning_rate"], wanted, rtol=1e-5, atol=1e-8)


def test_a_run_of_some_epochs_equals_the_trainers(full: mj.Sweep) -> None:
    config = mj.TrainConfig(**{**FULL["training"], "batch_size": "all", "num_slots": 2})
    task = mj.classification(mj.mlp(64, (6,), 10))
    population = mj.train(task, {"learning_rate": 1e-2, "seed": [0, 1]}, mj.load_dataset("digits"), config)
    rows = full.history.join(full.trials.filter(batch_size="all").select("trial_id", "seed"), on="trial_id")
    for seed in (0, 1):
        losses = rows.filter(seed=seed).sort("epoch")["train_loss"]
        np.testing.assert_allclose(losses, population.history["train_loss"][seed], rtol=1e-5)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"validation_fraction": 0.0}, r"leaves no validation loss, which schedule = 'plateau'"),
        ({"batch_size": "most"}, r"training\.batch_size"),
        ({"steps_per_epoch": 3}, r"steps_per_epoch is for batch_size = 'all'"),
        ({"schedule": "linear"}, r"Unknown schedule 'linear'"),
    ],
)
def test_wrong_settings_are_one_line(training: dict, message: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=message) as error:
        mj.run_sweep(FULL | {"training": training, "arms": [{"name": "a"}]}, tmp_path / "out")
    assert "\n" not in str(error.value)


def build(in_shape, num_outputs, widths=(6,)):
    """A dense network whose inputs are scaled by a traced hyperparameter."""
    inner = build_mlp(in_shape, num_outputs, widths=widths, activation="relu")

    def apply(params, x, perturb=None, dropout=None, hyperparams=None):
        return inner.apply(params, x * hyperparams["gain"], perturb, dropout)

    return mj.Network(inner.init, apply, inner.in_features, is_piecewise_linear=True)


SCALED = mj.NetworkInfo("scaled", build, (mj.HyperparameterInfo("gain", 1.0, low=0.0),))


def test_a_network_reads_a_traced_hyperparameter_in_training_and_in_measures(tmp_path) -> None:
    spec = {
        "name": "scaled",
        "dataset": "digits",
        "seeds": [0],
        "network": {"kind": "scaled", "widths": [6]},
        "training": {"max_epochs": 2, "batch_size": 200},
        "arms": [{"name": "gain", "gain": [0.5, 2.0]}, {"name": "none", "untrained": True}],
        "similarity": {"measures": ["covariance", "loss_hessian"]},
    }
    sweep = mj.run_sweep(spec, tmp_path / "out", slots=2, report=False, extensions=[SCALED])
    digits = mj.load_dataset("digits")
    x, network = digits.x_test.reshape(-1, 64) / 255, mj.mlp(64, (6,), 10)
    for row in sweep.trials.iter_rows(named=True):
        params = jax.tree.map(jnp.asarray, mj.load_params(sweep.paths.root, row["trial_id"]))
        hidden = network.apply(params, jnp.asarray(x * row["gain"], jnp.float32)).hidden[0]
        covariance = np.cov(np.asarray(hidden).T, bias=True)
        (matrix,) = sweep.similarity.filter(trial_id=row["trial_id"], measure="covariance")["matrix"]
        np.testing.assert_allclose(np.reshape(matrix, (6, 6)), covariance, rtol=2e-3, atol=1e-5)
    with pytest.raises(ValueError, match="gain"):
        mj.run_sweep(spec | {"network": {"widths": [6]}}, tmp_path / "other", extensions=[SCALED])
