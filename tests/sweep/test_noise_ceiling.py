"""How well modules agree with themselves, as an analysis of a sweep."""

import numpy as np
import polars as pl
import pytest

import modjax as mj

SPEC = {
    "name": "ceiling",
    "dataset": "digits",
    "seeds": [0, 1],
    "network": {"widths": [12, 10]},
    "training": {"max_epochs": 2, "batch_size": 200},
    "arms": [{"name": "dropout", "dropout": [0.2]}],
    "similarity": {"measures": ["covariance", "loss_hessian"], "combined": True},
    "analysis": {"run": ["noise_ceiling"]},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> mj.Sweep:
    return mj.run_sweep(SPEC, tmp_path_factory.mktemp("ceiling") / "out", slots=2, is_quiet=True, report=False)


def test_every_graph_has_a_ceiling(sweep) -> None:
    table = sweep.noise_ceiling
    assert table.height == sweep.modules.height == 2 * 3 * 2 * 2
    scores = table.select(pl.col("^(search|halves)_.*$")).to_numpy()
    assert np.isfinite(scores).all()
    assert scores.max() <= 1 + 1e-12
    assert table["search_ami"].mean() > table["halves_ami"].mean()  # another search changes less than other examples


def test_halves_are_what_their_parts_are(sweep) -> None:
    digits = mj.load_dataset("digits")
    trial = sweep.trials.row(0, named=True)
    network = mj.mlp(64, (12, 10), 10)
    params = mj.load_params(sweep.paths.root, trial["trial_id"])
    labels = []
    for part in (0, 1):
        S = mj.similarity(network, params, digits.x_test[part::2], digits.y_test[part::2], ("covariance",))
        matrix = np.asarray(S["covariance"][1], np.float64)
        labels.append(mj.find_modules(mj.adjacency(matrix, normalized=True), seed=trial["seed"]).labels)
    row = sweep.noise_ceiling.filter(trial_id=trial["trial_id"], layer=1, measure="covariance", normalized=True)
    assert row["halves_ami"].item() == pytest.approx(mj.alignment(*labels)["ami"], abs=1e-6)


def test_it_is_added_to_a_finished_sweep(sweep, tmp_path) -> None:
    without = {**SPEC, "analysis": {}}
    mj.run_sweep(without, tmp_path / "out", slots=2, is_quiet=True, report=False)
    added = mj.run_sweep(SPEC, tmp_path / "out", slots=2, is_quiet=True, report=False)
    assert added.noise_ceiling.equals(sweep.noise_ceiling)
