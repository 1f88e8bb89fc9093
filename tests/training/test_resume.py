import json
import shutil
import signal

import jax
import numpy as np
import pytest

import modjax as mj
from modjax.training.checkpoint import Snapshot, SnapshotStore, TrialSnapshot

CONFIG = mj.TrainConfig(max_epochs=8, batch_size=20, early_stopping_patience=2)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.arange(180) % 3
    x = (rng.normal(size=(3, 6))[y] + 2 * rng.normal(size=(180, 6))).astype(np.float32)
    return mj.Dataset("blobs", x, y.astype(np.int32), x[:9], y[:9].astype(np.int32), 3)


@pytest.fixture(scope="module")
def task():
    return mj.classification(mj.mlp(6, (8, 7), 3))


HYPERPARAMS = {"learning_rate": np.linspace(0.03, 0.06, 20), "seed": np.arange(20) % 2}


@pytest.fixture(scope="module")
def undisturbed(task, data):
    return mj.train(task, HYPERPARAMS, data, CONFIG)


class StopError(Exception):
    pass


def stop_after(rounds, log=None):
    seen = log if log is not None else []
    rounds += len(seen)

    def on_epoch(report):
        seen.append(report)
        if len(seen) == rounds:
            raise StopError

    return on_epoch


def assert_equal(one, other):
    for name in ("params", "last", "history", "status", "epochs", "best_epoch"):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, name), getattr(other, name))


def test_stopped_three_times_and_resumed(task, data, undisturbed, tmp_path):
    log = []
    for rounds in (3, 2, 9):
        with pytest.raises(StopError):
            mj.train(task, HYPERPARAMS, data, CONFIG, stop_after(rounds, log), tmp_path, checkpoint_seconds=0.0)
    assert sorted(path.name for path in tmp_path.glob("stack_*.json"))
    resumed = mj.train(task, HYPERPARAMS, data, CONFIG, log.append, tmp_path)
    assert_equal(resumed, undisturbed)
    assert sum(len(report.rows) for report in log) == undisturbed.epochs.sum()  # no epoch twice
    again = []
    assert_equal(mj.train(task, HYPERPARAMS, data, CONFIG, again.append, tmp_path), undisturbed)
    assert again == []


def test_ctrl_c_saves_first_and_no_epoch_is_trained_twice(task, data, undisturbed, tmp_path):
    log = []

    def interrupt_once(report):
        log.append(report)
        if len(log) == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            mj.train(task, HYPERPARAMS, data, CONFIG, interrupt_once, tmp_path)
        assert len(log) == 4  # the round that the signal came in, and the next one's end
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert_equal(mj.train(task, HYPERPARAMS, data, CONFIG, log.append, tmp_path), undisturbed)
    assert sum(len(report.rows) for report in log) == undisturbed.epochs.sum()


def test_two_snapshots_are_kept_and_a_damaged_one_is_passed_over(task, data, undisturbed, tmp_path):
    with pytest.raises(StopError):
        mj.train(task, HYPERPARAMS, data, CONFIG, stop_after(4), tmp_path, checkpoint_seconds=0.0)
    steps = sorted(int(path.name) for path in (tmp_path / "training").iterdir() if path.name.isdigit())
    assert len(steps) == 2
    for path in sorted((tmp_path / "training" / str(steps[-1])).rglob("*")):
        if path.is_file():
            path.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="cannot be read"):
        resumed = mj.train(task, HYPERPARAMS, data, CONFIG, checkpoint=tmp_path)
    assert_equal(resumed, undisturbed)


def test_all_snapshots_gone_starts_the_unfinished_again(task, data, undisturbed, tmp_path):
    with pytest.raises(StopError):
        mj.train(task, HYPERPARAMS, data, CONFIG, stop_after(6), tmp_path, checkpoint_seconds=0.0)
    shutil.rmtree(tmp_path / "training")
    assert_equal(mj.train(task, HYPERPARAMS, data, CONFIG, checkpoint=tmp_path), undisturbed)


def test_a_folder_of_other_trials_is_refused(task, data, tmp_path):
    short = mj.TrainConfig(max_epochs=1, batch_size=20)
    mj.train(task, {"learning_rate": [0.1]}, data, short, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"learning_rate of trial 0: 0\.1 there, 0\.2 here"):
        mj.train(task, {"learning_rate": [0.2]}, data, short, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="batch_size: 20 there, 10 here"):
        mj.train(task, {"learning_rate": [0.1]}, data, mj.TrainConfig(max_epochs=1, batch_size=10), checkpoint=tmp_path)
    assert len(json.loads((tmp_path / "population.json").read_text())["identity"]) == 64


def test_a_snapshot_of_no_trials_is_left_out(tmp_path):
    """The round that ends the last trials may be the one at which a snapshot is due."""
    store = SnapshotStore(tmp_path / "a[1]*" / "training")  # which orbax alone would take for a pattern
    states = {"w": np.zeros((1, 3), np.float32)}
    store.save(Snapshot(states, (TrialSnapshot(0, 2, 1.0, []),)), ["one"])
    store.wait()
    store.save(Snapshot({"w": states["w"][:0]}, ()), ["one"])
    store.wait()
    template = {"w": jax.ShapeDtypeStruct((3,), np.float32)}
    found = store.newest(template, {"one": 0}, print)
    assert [one.epochs for one in found.trials] == [2]
    store.close()


def test_damaged_stack_is_set_aside_and_its_trials_are_trained_again(task, data, undisturbed, tmp_path):
    folder = tmp_path / "out"
    kept = mj.train(task, HYPERPARAMS, data, CONFIG, checkpoint=folder)
    assert_equal(kept, undisturbed)
    stacks = sorted(folder.glob("stack_*.json"))
    weights = max(
        (path for path in stacks[0].with_suffix("").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 4
    weights.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="stack_00000 is damaged: moved to .*trained again"):
        again = mj.train(task, HYPERPARAMS, data, CONFIG, checkpoint=folder)
    assert_equal(again, undisturbed)
    assert (folder / "damaged" / "stack_00000").is_dir()
    stacks = sorted(folder.glob("stack_*.json"))
    stacks[-1].write_text("[]")
    with pytest.warns(UserWarning, match="its list of trials is none"):
        assert_equal(mj.train(task, HYPERPARAMS, data, CONFIG, checkpoint=folder), undisturbed)


@pytest.mark.parametrize("content", ["", "[]", "{}", "no JSON"])
def test_folder_that_does_not_say_whose_it_is(task, data, tmp_path, content):
    (tmp_path / "population.json").write_text(content)
    with pytest.raises(ValueError, match=r"population\.json.*(restore it|not a note)"):
        mj.train(task, HYPERPARAMS, data, CONFIG, checkpoint=tmp_path)
