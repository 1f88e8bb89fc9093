"""Successive halving in a sweep: what is stopped, what the tables hold, interruptions, forks and refusals."""

import itertools

import polars as pl
import pytest

import modjax as mj
from modjax.training.halving import SuccessiveHalving
from tests.seams import status_text
from tests.sweep.test_pipeline import assert_same_tables

MAX_EPOCHS = 12
SPEC = {
    "name": "halving",
    "dataset": "digits",
    "seeds": [0, 1],
    "network": {"widths": [8]},
    "training": {
        "max_epochs": MAX_EPOCHS,
        "batch_size": 200,
        "stopping": {"kind": "halving", "factor": 3, "min_epochs": 2},
    },
    "arms": [{"name": "rate", "learning_rate": {"logspace": [-4, -1, 5]}}, {"name": "none", "untrained": True}],
    "similarity": {"measures": ["covariance"]},
}


def with_training(**changes) -> dict:
    return SPEC | {"training": {name: value for name, value in {**SPEC["training"], **changes}.items() if value}}


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    return mj.run_sweep(SPEC, tmp_path_factory.mktemp("halving") / "out", slots=4, report=False)


def test_what_is_stopped_and_what_the_tables_hold(halved) -> None:
    trials = halved.trials
    assert dict(trials.group_by("status").len().iter_rows()) == {"done": 1, "stopped": 9, "untrained": 2}
    stopped = trials.filter(status="stopped")
    assert stopped["excluded"].all()
    assert sorted(stopped["epochs"]) == [2] * 7 + [6] * 2
    assert SuccessiveHalving(factor=3, min_epochs=2).sizes(10, MAX_EPOCHS) == (10, 3, 1)
    assert stopped["test_loss"].is_not_null().all()
    assert halved.history.group_by("trial_id").len().height == 10
    analysed = set(trials.filter(pl.col("status") != "stopped")["trial_id"])
    assert set(halved.modules["trial_id"]) == set(halved.alignment["trial_id"]) == analysed
    assert mj.verify_sweep(halved.paths.root).is_whole
    assert "9 stopped" in "\n".join(status_text(mj.watch_sweep(halved.paths.root)))
    for trial_id in stopped["trial_id"]:
        assert mj.load_params(halved.paths.root, trial_id) is not None


def test_finished_is_left_alone(halved, monkeypatch) -> None:
    monkeypatch.setattr("modjax.engines.local.PopulationRun", None)
    assert_same_tables(mj.run_sweep(SPEC, halved.paths.root, report=False), halved)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    "updates", [pytest.param(4, marks=pytest.mark.slow), 9, pytest.param(13, marks=pytest.mark.slow)]
)
def test_killed_and_resumed_decides_the_same(halved, tmp_path, monkeypatch, updates: int) -> None:
    from modjax.sweep.writer import StackWriter

    advance, counter = StackWriter.advance, itertools.count(1)

    def killed(self, is_last: bool = False, is_due: bool = False) -> None:
        if next(counter) == updates:
            raise Killed
        advance(self, is_last, is_due)

    monkeypatch.setattr("modjax.sweep.pipeline.SNAPSHOT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(StackWriter, "advance", killed)
        with pytest.raises(Killed):
            mj.run_sweep(SPEC, tmp_path / "out", slots=4, report=False)
    assert_same_tables(mj.run_sweep(SPEC, tmp_path / "out", report=False), halved)


def test_a_fork_copies_trials_that_were_trained_to_their_end(halved, tmp_path, monkeypatch, capsys) -> None:
    full = with_training(stopping=None)
    fork = mj.run_sweep(full, halved.paths.root, fork=tmp_path / "fork", report=False)
    assert "3 of 12 trials copied" in capsys.readouterr().err
    assert fork.trials.filter(status="stopped").height == 0
    done = halved.trials.filter(status="done")["trial_id"].item()
    columns = ["trial_id", "epochs", "test_loss"]
    assert fork.trials.filter(trial_id=done).select(columns).equals(halved.trials.filter(trial_id=done).select(columns))


def test_trials_cannot_be_added(halved) -> None:
    with pytest.raises(ValueError, match="stopped trials by successive halving among 12; 18 would have been"):
        mj.run_sweep(SPEC | {"seeds": [0, 1, 2]}, halved.paths.root)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"stopping": {"metric": "val_f1"}}, "Unknown training.stopping.metric 'val_f1'"),
        ({"stopping": {"kind": "asha"}}, "stopping.kind"),
        ({"stopping": {"min_epochs": 12}}, "stopping.min_epochs must be less than max_epochs; got 12 and 12"),
    ],
)
def test_wrong_settings(training: dict, message: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        mj.run_sweep(with_training(**training), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ray_refuses_it(tmp_path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=r"training\.stopping compares all trials at every rung, which engine 'ray'"):
        mj.run_sweep(SPEC, tmp_path / "out", engine="ray")
