"""What a population shows of itself: a line, a table, a notebook's table."""

import jax
import numpy as np
import polars as pl
import pytest

import modjax as mj


@pytest.fixture(scope="module")
def population() -> mj.Population:
    task = mj.classification(mj.mlp(64, (6,), 10))
    hyperparams = {"learning_rate": [1e-2, 1e30, 3e-2], "dropout": 0.1, "seed": [4, 5, 6]}
    config = mj.TrainConfig(max_epochs=3, batch_size=200)
    return mj.train(task, hyperparams, mj.load_dataset("digits"), config)


def test_repr_is_one_short_line(population: mj.Population) -> None:
    text = repr(population)
    assert "\n" not in text
    assert len(text) < 200
    assert text.startswith("Population(3 trials: 1 diverged, 2 done; ")
    lowest = np.nanmin(population.history["val_loss"])
    assert f"lowest val_loss {lowest:.4g} (trial " in text


def test_trials_as_a_table(population: mj.Population) -> None:
    table = population.to_polars()
    assert table.columns == [
        *("trial", "learning_rate", "dropout", "seed", "status", "epochs", "best_epoch"),
        *("train_loss", "val_accuracy", "val_loss", "seconds", "reason"),
    ]
    assert table["seed"].to_list() == [4, 5, 6]
    for trial in (0, 2):
        row = table.row(trial, named=True)
        assert row["val_loss"] == population.history["val_loss"][trial, row["best_epoch"]]
    assert table.row(1, named=True)["status"] == "diverged"


def test_history_as_a_table(population: mj.Population) -> None:
    table = population.to_polars("history")
    assert table.columns[:2] == ["trial", "epoch"]
    assert table.height == population.epochs.sum()
    for trial in range(3):
        rows = table.filter(trial=trial).sort("epoch")
        np.testing.assert_array_equal(rows["val_loss"].to_numpy(), population.history["val_loss"][trial, : rows.height])
    with pytest.raises(ValueError, match=r"Unknown table 'epochs'\. Available: trials, history"):
        population.to_polars("epochs")


def test_a_notebook_shows_a_table(population: mj.Population) -> None:
    text = population._repr_html_()
    assert "3 trials: 1 diverged, 2 done" in text
    assert "<table" in text
    assert "learning_rate" in text


def test_fields_are_what_they_were(population: mj.Population) -> None:
    assert population._fields[:8] == (
        *("params", "last", "history", "status", "epochs", "best_epoch", "seconds", "reason"),
    )
    assert jax.tree.leaves(population.params)[0].shape[0] == 3
    assert isinstance(population.to_polars(), pl.DataFrame)
