"""A callback of each trial ends it, or fails it, and touches no other."""

import numpy as np
import pytest

import modjax as mj

NUM_TRIALS = 4
CONFIG = mj.TrainConfig(max_epochs=5, batch_size=20, early_stopping_patience=20, num_slots=2)


@pytest.fixture(scope="module")
def train():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (np.eye(3)[y] + rng.normal(size=(120, 3))).astype(np.float32)
    data = mj.Dataset("blobs", x, y.astype(np.int32), x, y.astype(np.int32), 3)
    task = mj.classification(mj.mlp(3, (4,), 3))
    hyperparams = {"seed": np.arange(NUM_TRIALS), "learning_rate": np.full(NUM_TRIALS, 1e-2)}

    def run(callback=None, **options):
        return mj.train(task, hyperparams, data, CONFIG, callback=callback, **options)

    return run


def stop_or_fail(trial, row):
    if trial == 1 and row["epoch"] == 2:
        return True
    if trial == 2 and row["epoch"] == 1:
        raise KeyError("of my own")
    return None


def test_one_is_stopped_one_fails_and_the_others_finish_as_without(train):
    rows = []

    def callback(trial, row):
        rows.append((trial, row["epoch"], row["val_loss"]))
        return stop_or_fail(trial, row)

    population, alone = train(callback), train()
    assert population.status.tolist() == ["done", "done", "failed", "done"]
    assert population.epochs.tolist() == [5, 3, 2, 5]
    assert population.reason.tolist() == ["", "", "KeyError: 'of my own'", ""]
    assert len(rows) == population.epochs.sum()
    for trial in (0, 3):
        np.testing.assert_array_equal(population.history["val_loss"][trial], alone.history["val_loss"][trial])
    for trial, epoch, val_loss in rows:
        assert alone.history["val_loss"][trial, epoch] == val_loss


def test_a_failed_trial_is_tried_again_from_a_checkpoint(train, tmp_path):
    train(stop_or_fail, checkpoint=tmp_path / "run")
    asked = set()
    population = train(lambda trial, row: asked.add(trial), checkpoint=tmp_path / "run")
    assert population.status.tolist() == ["done"] * 4
    assert population.epochs.tolist() == [5, 3, 5, 5]
    assert asked == {2}
