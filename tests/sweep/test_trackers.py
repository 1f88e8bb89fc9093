"""A sweep's trials in experiment trackers: for real where the package is there, and by stand-ins that record calls."""

import shutil
import sys
import types
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

import modjax as mj
from modjax import cli
from tests.seams import TRACKERS, trial_records, write_table


@pytest.fixture
def trained(finished):
    return finished.trials.filter(pl.col("status") == "done").row(2, named=True)


def history_of(finished, row):
    return finished.history.filter(pl.col("trial_id") == row["trial_id"])


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the tiny sweep in ``out``, its spec and data beside it."""
    shutil.copytree(finished.paths.root.parent, tmp_path / "runs")
    return mj.open_sweep(tmp_path / "runs" / "out")


def records_of(sweep):
    return trial_records(sweep, mj.load_spec(sweep.paths.spec), sweep.table("trials"))


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def export(capsys, status, *arguments):
    """What the command said: its standard output, or the one line on standard error where the input is wrong."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    assert stop.value.code == status
    assert err.count("\n") == (status == 2)
    return err or out


def test_records_hold_settings_history_and_numbers(finished, trained):
    records = {record.trial_id: record for record in records_of(finished)}
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

    assert mj.export_sweep(finished, "tensorboard", tmp_path) == (finished.trials.height, 0, tmp_path)
    assert mj.export_sweep(finished, "tensorboard", tmp_path) == (0, 0, tmp_path)  # again adds nothing
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
    assert mj.export_sweep(finished, "mlflow", tmp_path).added == finished.trials.height
    assert mj.export_sweep(finished, "mlflow", tmp_path).added == 0
    client = mlflow.MlflowClient(tracking_uri=tmp_path.as_uri())
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (run,) = client.search_runs([experiment], f"tags.trial_id = '{trained['trial_id']}'")
    assert float(run.data.params["dropout"]) == trained["dropout"]
    assert run.data.metrics["final/test_accuracy"] == trained["test_accuracy"]
    curve = client.get_metric_history(run.info.run_id, "val_loss")
    assert [one.value for one in curve] == history_of(finished, trained)["val_loss"].to_list()


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_export_that_was_interrupted_is_done_again(finished, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=tmp_path.as_uri())
    experiment, victim = client.create_experiment("tiny"), finished.trials["trial_id"][1]
    own = client.create_run(experiment, tags={"trial_id": victim}).info.run_id  # a user's, of no export
    whole = mlflow.MlflowClient.log_param

    def stop(self, run, key, value):
        if self.get_run(run).data.tags["trial_id"] == victim and key == "l2":
            raise KeyboardInterrupt
        whole(self, run, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_param", stop)
        with pytest.raises(KeyboardInterrupt):
            mj.export_sweep(finished, "mlflow", tmp_path)
    assert mj.export_sweep(finished, "mlflow", tmp_path).added == finished.trials.height - 1
    assert mj.export_sweep(finished, "mlflow", tmp_path).added == 0
    runs = [run for run in client.search_runs([experiment]) if run.info.run_id != own]
    assert sorted(run.data.tags["trial_id"] for run in runs) == finished.trials["trial_id"].to_list()
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all("l2" in run.data.params for run in runs)
    assert client.get_run(own).info.lifecycle_stage == "active"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_for_real(copied, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    number, root = copied.trials.height, copied.paths.root
    assert mj.export_sweep(copied, "wandb") == (number, 0, root.with_name("out_wandb"))
    assert len(list((root.with_name("out_wandb") / "wandb").glob("offline-run-*"))) == number
    assert mj.export_sweep(root, "wandb").added == 0  # the directory can be opened again


class FakeRun:
    """Leaves what W&B leaves: a folder with a link that leads out of it."""

    def __init__(self, number, given):
        self.given, self.logged, self.summary, self.is_finished = given, [], {}, False
        logs = Path(given["dir"]) / "wandb" / f"offline-run-20260101_{number:06d}-{given['id']}" / "logs"
        if given["mode"] != "disabled":
            logs.mkdir(parents=True)
            (logs / "debug-core.log").symlink_to("/var/log/of-wandb.log")

    def log(self, numbers, step):
        self.logged.append((step, numbers))

    def finish(self):
        self.is_finished = True


@pytest.fixture
def wandb_runs(monkeypatch):
    """The runs that a stand-in for W&B was given."""
    runs = []

    def init(**given):
        runs.append(FakeRun(len(runs), given))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init, Settings=dict))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return runs


def test_wandb_by_a_stand_in(finished, trained, tmp_path, wandb_runs):
    found = mj.export_sweep(finished.paths.root, "wandb", tmp_path / "there")
    assert found.added == len(wandb_runs) == finished.trials.height
    (run,) = [run for run in wandb_runs if run.given["id"] == trained["trial_id"]]
    assert run.given["mode"] == "offline"
    assert run.given["project"] == "tiny"
    assert run.given["config"]["dropout"] == trained["dropout"]
    assert [step for step, _ in run.logged] == list(range(trained["epochs"]))
    assert run.summary["test_accuracy"] == trained["test_accuracy"]
    assert all(one.is_finished for one in wandb_runs)
    assert mj.export_sweep(finished, "wandb", tmp_path / "there").added == 0


def test_a_wandb_export_that_was_interrupted_is_done_again(finished, trained, tmp_path, wandb_runs, monkeypatch):
    whole = FakeRun.finish

    def stop(self):
        if self.given["id"] == trained["trial_id"]:
            raise KeyboardInterrupt
        whole(self)

    with monkeypatch.context() as patch:
        patch.setattr(FakeRun, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            mj.export_sweep(finished, "wandb", tmp_path)
    before = len(wandb_runs)
    assert mj.export_sweep(finished, "wandb", tmp_path).added == finished.trials.height - before + 1
    assert all(one.is_finished for one in wandb_runs[before:])
    folders = Counter(path.name.rsplit("-", 1)[1] for path in (tmp_path / "wandb").iterdir())
    assert folders == Counter(finished.trials["trial_id"].to_list())  # what was half done is gone


def test_a_disabled_wandb_counts_nothing_as_exported(finished, tmp_path, wandb_runs, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    mj.export_sweep(finished, "wandb", tmp_path)
    monkeypatch.delenv("WANDB_MODE")
    assert mj.export_sweep(finished, "wandb", tmp_path).added == finished.trials.height


def test_after_an_export_a_sweep_opens_and_runs_again(copied, wandb_runs, capsys):
    root = copied.paths.root
    told = export(capsys, 0, root, "--to", "wandb")
    assert told == f"{len(wandb_runs)} trials added to wandb in {root}_wandb\n"
    assert mj.open_sweep(root).trials.height == len(wandb_runs)
    assert mj.run_sweep(root.parent / "spec.toml", root, is_quiet=True).manifest["complete"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tracker", TRACKERS)
def test_no_export_goes_into_the_sweep(copied, tracker, wandb_runs, monkeypatch, capsys):
    if tracker != "wandb":
        pytest.importorskip(tracker)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = copied.paths.root
    before = names_below(root)
    (root.parent / "link").symlink_to(root)
    for dest in (root, root / tracker, root.parent / "link" / "x", root.parent / "x" / ".." / "out" / "x"):
        err = export(capsys, 2, root, "--to", tracker, "--dest", dest)
        assert "must be a folder outside the sweep's directory" in err
    assert mj.export_sweep(root, tracker).folder == root.with_name(f"out_{tracker}")
    assert root.with_name(f"out_{tracker}").is_dir()
    assert names_below(root) == before


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("odd", ["../../x", "/{tmp_path}/x", "x", "0123456789ABCDEF", "0123456789abcdef\n", ""])
def test_trial_ids_of_strangers_are_refused(copied, tmp_path, tracker, odd, wandb_runs, capsys):
    odd = odd.format(tmp_path=tmp_path)
    victim = copied.trials["trial_id"][0]
    for name in ("trials", "history", "modules"):
        renamed = copied.table(name).with_columns(pl.col("trial_id").replace({victim: odd}))
        write_table(copied.paths.table(name), renamed)
    before = names_below(tmp_path)
    err = export(capsys, 2, copied.paths.root, "--to", tracker, "--dest", tmp_path / "a" / "b")
    assert f"trial_id {odd[:60]!r} is none of modjax" in err
    assert names_below(tmp_path) == before


@pytest.fixture
def half_done(copied):
    """A sweep with one trial each that is pending, failed, without an epoch, and without a module row: its tables."""
    whole = {name: copied.table(name) for name in ("trials", "history", "modules")}
    trained = copied.trials.filter(pl.col("status") == "done")["trial_id"].to_list()
    pending, failed, short, not_analysed = trained[:4]
    is_missing = (pl.col("trial_id") == not_analysed) & (pl.col("layer") == 1) & (pl.col("measure") == "covariance")
    status = pl.col("trial_id").replace_strict({pending: "pending", failed: "failed"}, default=pl.col("status"))
    halves = {
        "trials": whole["trials"].with_columns(status=status),
        "history": whole["history"].filter((pl.col("trial_id") != short) | (pl.col("epoch") > 0)),
        "modules": whole["modules"].filter(~is_missing | ~pl.col("normalized")),
    }
    for name, frame in halves.items():
        write_table(copied.paths.table(name), frame)
    return whole


def test_trials_that_are_not_whole_are_left_for_later(copied, half_done, wandb_runs, capsys):
    root, number = copied.paths.root, copied.trials.height
    told = export(capsys, 0, root, "--to", "wandb")
    assert f"{number - 4} trials added" in told
    assert "4 trials left for a later export: not whole yet, or failed" in told
    for name, frame in half_done.items():
        write_table(copied.paths.table(name), frame)
    assert mj.export_sweep(root, "wandb")[:2] == (4, 0)
    assert all(
        f"q/layer_-1/{measure}" in run.summary for run in wandb_runs for measure in ("covariance", "weights")[:1]
    )
    assert {run.given["tags"][0] for run in wandb_runs} == {"done", "untrained"}


def test_a_sweep_without_measures_is_whole_without_modules(copied):
    write_table(copied.paths.table("modules"), copied.modules.clear())
    copied = mj.open_sweep(copied.paths.root)
    spec = mj.load_spec(copied.paths.spec)
    assert not [*records_of(copied)]
    trains_only = spec.model_copy(update={"similarity": spec.similarity.model_copy(update={"measures": ()})})
    assert len(list(trial_records(copied, trains_only, copied.trials))) == copied.trials.height


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_that_is_not_installed_is_one_line(finished, tmp_path, monkeypatch, capsys, tracker):
    for name in [name for name in sys.modules if name.split(".")[0] == tracker]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, tracker, None)
    err = export(capsys, 2, finished.paths.root, "--to", tracker, "--dest", tmp_path / "x")
    assert f"pip install 'modjax[{tracker}]'" in err
    assert not (tmp_path / "x").exists()


def test_an_unknown_tracker_lists_the_known(finished):
    with pytest.raises(ValueError, match="Available: tensorboard, wandb, mlflow"):
        mj.export_sweep(finished, "notebook")
