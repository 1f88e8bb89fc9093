"""What modjax brings along goes through the public records too: a sweep of copies of them gives the same numbers."""

import jax.numpy as jnp
import polars as pl
import pytest

import modjax as mj


def ridge(network, params, hyperparams):
    """The built-in L2 penalty by another name."""
    squares = [jnp.sum(params[layer]["kernel"] ** 2) for layer in params]
    return hyperparams["ridge"] * jnp.sum(jnp.stack(squares))


COPIES = (
    mj.NetworkInfo("my_mlp", "modjax.networks.mlp:build_mlp"),
    mj.DatasetInfo("my_digits", "modjax.data.datasets:load_digits_dataset", num_classes=10),
    mj.TaskInfo("my_classification", "modjax.training.objective:classification"),
    mj.PenaltyInfo("my_l2", ridge, (mj.HyperparameterInfo("ridge", 0.0, low=0.0, scale="log"),)),
    mj.MeasureInfo("my_covariance", "upstream", "modjax.measures.covariance:covariance"),
    mj.MeasureInfo("my_hessian", "downstream", "modjax.measures.hessian:loss_hessian", needs_labels=True),
    mj.SearchInfo("my_spectral", "modjax.clustering.spectral:spectral"),
    mj.NullInfo("my_permutation", "modjax.clustering.null_models:permute_weights"),
)


def spec(network: str, dataset: str, task: str, penalty: str, measures: list, search: str, null: str) -> dict:
    """Return a spec of two trials that names every kind of record."""
    return {
        "name": "copies",
        "dataset": dataset,
        "task": task,
        "seeds": [0],
        "network": {"kind": network, "widths": [6], "activation": "relu"},
        "training": {"max_epochs": 2, "batch_size": 100},
        "arms": [{"name": "penalty", penalty: [1e-3, 1e-2]}],
        "similarity": {"measures": measures},
        "modules": {"method": search, "null_kind": null, "nulls": 2},
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[mj.Sweep, mj.Sweep]:
    folder = tmp_path_factory.mktemp("copies")
    built_in = spec(
        "mlp", "digits", "classification", "l2", ["covariance", "loss_hessian"], "spectral", "weight_permutation"
    )
    copies = spec(
        "my_mlp",
        "my_digits",
        "my_classification",
        "ridge",
        ["my_covariance", "my_hessian"],
        "my_spectral",
        "my_permutation",
    )
    return (
        mj.run_sweep(built_in, folder / "built_in", slots=2, report=False),
        mj.run_sweep(copies, folder / "copies", slots=2, report=False, extensions=COPIES),
    )


def test_training_gives_the_same_numbers(pair: tuple[mj.Sweep, mj.Sweep]) -> None:
    built_in, copies = (sweep.trials.sort(name) for sweep, name in zip(pair, ("l2", "ridge"), strict=True))
    for column in ("train_loss", "val_loss", "test_loss", "test_accuracy", "nuclear_norm"):
        assert copies[column].to_list() == pytest.approx(built_in[column].to_list(), rel=1e-5)
    assert copies["ridge"].to_list() == built_in["l2"].to_list()


def test_measures_searches_and_nulls_give_the_same_numbers(pair: tuple[mj.Sweep, mj.Sweep]) -> None:
    frames = []
    for sweep, penalty, prefix in zip(pair, ("l2", "ridge"), ("", "my_"), strict=True):
        names = {f"{prefix}covariance": "covariance", f"{prefix}{'hessian' if prefix else 'loss_hessian'}": "hessian"}
        rows = sweep.modules.join(sweep.trials.select("trial_id", value=penalty), on="trial_id")
        frames.append(
            rows.with_columns(measure=pl.col("measure").replace(names))
            .sort("value", "measure", "normalized")
            .select("value", "measure", "normalized", "q", "num_modules")
        )
    built_in, copies = frames
    assert copies.drop("q").equals(built_in.drop("q"))
    assert copies["q"].to_list() == pytest.approx(built_in["q"].to_list(), abs=1e-4)
    assert pair[1].modules["null_mean"].is_not_null().all()
