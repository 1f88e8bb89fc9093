"""A sweep's trials in experiment trackers: for real where the package is there, and by stand-ins that record calls."""

import sys
import types

import polars as pl
import pytest

import modjax as mj
from modjax import cli
from modjax.sweep.trackers import TRACKERS, trial_records


@pytest.fixture
def trained(finished):
    return finished.trials.filter(pl.col("status") == "done").row(2, named=True)


def history_of(finished, row):
    return finished.history.filter(pl.col("trial_id") == row["trial_id"])


def test_records_hold_settings_history_and_numbers(finished, trained):
    records = {record.trial_id: record for record in trial_records(finished)}
    assert len(records) == finished.trials.height
    record = records[trained["trial_id"]]
    assert record.settings["dropout"] == trained["dropout"]
    assert [row["val_loss"] for row in record.history] == history_of(finished, trained)["val_loss"].to_list()
    assert record.metrics["test_accuracy"] == trained["test_accuracy"]
    q = finished.modules.filter(
        (pl.col("trial_id") == trained["trial_id"])
        & pl.col("normalized")
        & (pl.col("layer") == 1)
        & (pl.col("measure") == "covariance")
    )["q"][0]
    assert record.metrics["q/layer_1/covariance"] == q


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written(finished, trained, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert mj.export_sweep(finished, "tensorboard", tmp_path) == finished.trials.height
    assert mj.export_sweep(finished, "tensorboard", tmp_path) == 0  # again adds nothing
    events = EventAccumulator(str(tmp_path / trained["trial_id"]))
    events.Reload()
    scalars = events.Scalars("val_loss")
    history = history_of(finished, trained)
    assert [one.step for one in scalars] == history["epoch"].to_list()
    assert [one.value for one in scalars] == pytest.approx(history["val_loss"].to_list())
    assert events.Scalars("final/test_accuracy")[0].value == pytest.approx(trained["test_accuracy"])
    assert "hparams" in {data.plugin_data.plugin_name for data in events.summary_metadata.values()}


@pytest.mark.filterwarnings("ignore")
def test_mlflow_file_store_reads_what_was_written(finished, trained, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mj.export_sweep(finished, "mlflow", tmp_path) == finished.trials.height
    assert mj.export_sweep(finished, "mlflow", tmp_path) == 0
    client = mlflow.MlflowClient(tracking_uri=tmp_path.as_uri())
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (run,) = client.search_runs([experiment], f"tags.trial_id = '{trained['trial_id']}'")
    assert float(run.data.params["dropout"]) == trained["dropout"]
    assert run.data.metrics["final/test_accuracy"] == trained["test_accuracy"]
    curve = client.get_metric_history(run.info.run_id, "val_loss")
    assert [one.value for one in curve] == history_of(finished, trained)["val_loss"].to_list()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_for_real(finished, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert mj.export_sweep(finished, "wandb", tmp_path) == finished.trials.height
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == finished.trials.height
    assert mj.export_sweep(finished, "wandb", tmp_path) == 0


class FakeRun:
    def __init__(self, **given):
        self.given, self.logged, self.summary, self.is_finished = given, [], {}, False

    def log(self, numbers, step):
        self.logged.append((step, numbers))

    def finish(self):
        self.is_finished = True


def test_wandb_by_a_stand_in(finished, trained, tmp_path, monkeypatch):
    runs = []

    def init(**given):
        runs.append(FakeRun(**given))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init, Settings=dict))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert mj.export_sweep(finished.layout.root, "wandb", tmp_path / "there") == len(runs) == finished.trials.height
    (run,) = [run for run in runs if run.given["id"] == trained["trial_id"]]
    assert run.given["mode"] == "offline"
    assert run.given["project"] == "tiny"
    assert run.given["config"]["dropout"] == trained["dropout"]
    assert [step for step, _ in run.logged] == list(range(trained["epochs"]))
    assert run.summary["test_accuracy"] == trained["test_accuracy"]
    assert all(one.is_finished for one in runs)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_that_is_not_installed_is_one_line(finished, tmp_path, monkeypatch, capsys, tracker):
    for name in [name for name in sys.modules if name.split(".")[0] == tracker]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", str(finished.layout.root), "--to", tracker, "--dest", str(tmp_path / "x")])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"pip install 'modjax[{tracker}]'" in err
    assert not (tmp_path / "x").exists()


def test_an_unknown_tracker_lists_the_known(finished):
    with pytest.raises(ValueError, match="Available: tensorboard, wandb, mlflow"):
        mj.export_sweep(finished, "notebook")
