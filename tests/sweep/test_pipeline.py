import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import modjax as mj
from tests.seams import SCHEMAS, LockedError, locked, sum_of, sweep_status, writer

TABLES = ("trials", "history", "similarity", "modules", "alignment")


def without_times(frame):
    return frame.drop([name for name in frame.columns if "seconds" in name or "time" in name])


def assert_same_tables(one, other):
    for name in TABLES:
        assert_frame_equal(without_times(one.table(name)), without_times(other.table(name)), check_exact=True)


def test_every_file_of_the_contract_is_there(finished):
    root = finished.paths.root
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {
        "spec.toml",
        "manifest.json",
        "trials.parquet",
        "history.parquet",
        "modules.parquet",
        "alignment.parquet",
        "report.html",
    } <= found
    assert {"similarity/layer_0.parquet", "similarity/layer_1.parquet", "similarity/combined.parquet"} <= found
    for figure in ("accuracy", "modularity_normalized", "modularity_raw", "alignment", "example_matrix"):
        assert {f"figures/{figure}.png", f"figures/{figure}.svg", f"figures/{figure}.csv"} <= found
    assert any(name.startswith("checkpoints/") for name in found)
    assert not (root / "parts").exists()
    assert not [name for name in found if name.endswith(".tmp")]


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_their_schema_and_are_sorted_by_key(finished, name):
    frame = finished.table(name)
    assert dict(frame.schema) == pl.Schema(SCHEMAS[name])
    assert frame.height > 0


def test_every_trial_has_every_row(finished):
    assert finished.trials.height == 9
    assert finished.similarity.height == 9 * 3 * 4
    assert finished.modules.height == 9 * 3 * 8
    assert finished.alignment.height == 9 * 3 * 36
    pairs = finished.alignment.select("measure_a", "normalized_a", "measure_b", "normalized_b").rows()
    assert all(pair[:2] <= pair[2:] for pair in pairs)
    assert set(finished.trials["status"]) == {"done", "untrained"}
    assert finished.history.height == finished.trials["epochs"].sum()


def test_manifest_says_what_ran(finished):
    manifest = finished.manifest
    assert manifest["complete"] is True
    assert manifest["slots"] == 6
    assert manifest["device"]["platform"] == "cpu"
    assert set(manifest["packages"]) >= {"jax", "igraph", "modjax"}
    for name, checksum in manifest["checksums"].items():
        assert sum_of(finished.paths.root / name) == checksum


def test_columns_agree_with_the_functions_they_come_from(finished):
    row = finished.modules.filter(pl.col("normalized") & (pl.col("layer") == 0)).row(3, named=True)
    stored = finished.similarity.filter(
        (pl.col("trial_id") == row["trial_id"]) & (pl.col("layer") == 0) & (pl.col("measure") == row["measure"])
    ).row(0, named=True)
    matrix = np.array(stored["matrix"], np.float64).reshape(8, 8)
    assert np.array_equal(matrix, matrix.T)
    adjacency = mj.adjacency(matrix, normalized=True)
    assert mj.modularity(adjacency, row["labels"]) == row["q"]
    assert row["null_kind"] == "rotation"
    assert row["null_n"] == 2
    assert row["excess_q"] == row["null_q"] - row["null_mean"]
    assert row["effective_modules_strength"] > 0
    assert len(row["module_p"]) == len(row["module_z"]) == row["num_modules"]
    own = finished.alignment.filter(
        (pl.col("measure_a") == pl.col("measure_b")) & (pl.col("normalized_a") == pl.col("normalized_b"))
    )
    assert own.filter(pl.col("num_units") > 0)["element_centric"].to_numpy() == pytest.approx(1)


def test_untrained_networks_are_where_trained_ones_start(finished, tiny_content):
    network = mj.mlp(10, (8, 6), 3)
    assert finished.trials.filter(pl.col("arm") == "untrained")["best_epoch"].unique().to_list() == [-1]
    dataset = mj.load_dataset(str(finished.paths.root.parent / "tiny.npz"))
    from modjax.training.programs import init_one

    spec = mj.load_spec(finished.paths.root.parent / "spec.toml")
    config = mj.TrainConfig(**spec.training.model_dump(exclude={"stopping"}), num_slots=1)
    row = finished.trials.filter((pl.col("arm") == "untrained") & (pl.col("seed") == 1)).row(0, named=True)
    import jax.numpy as jnp

    values = mj.Hyperparams(*(jnp.float32(0) for _ in range(4)))
    params = init_one(mj.classification(network), config, jnp.uint32(1), values).params
    logits = network.apply(params, dataset.x_test).logits
    assert row["test_accuracy"] == pytest.approx(np.mean(np.argmax(logits, 1) == dataset.y_test))


def test_running_again_does_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.paths.root.rglob("*") if path.is_file()}
    mj.run_sweep(finished.paths.root.parent / "spec.toml", finished.paths.root, is_quiet=True)
    after = {path: path.stat().st_mtime_ns for path in finished.paths.root.rglob("*") if path.is_file()}
    assert after == before


def test_interrupted_at_every_stage_and_resumed(finished, folder, write_spec, tiny_content, monkeypatch):
    """Stopped after every commit in turn, resumed each time: the tables of the undisturbed run, bit for bit."""
    monkeypatch.setattr(writer, "STACK_TRIALS", 2)
    spec = write_spec(tiny_content)
    names = ["_commit_trained", "_commit_trained", "_commit_analysed"]
    known = 0
    for name in names:
        whole = getattr(writer.StackWriter, name)

        def stop_after(self, *arguments, whole=whole):
            result = whole(self, *arguments)
            raise KeyboardInterrupt(str(result))

        monkeypatch.setattr(writer.StackWriter, name, stop_after)
        with pytest.raises(KeyboardInterrupt):
            mj.run_sweep(spec, folder / "out", slots=6, is_quiet=True)
        monkeypatch.setattr(writer.StackWriter, name, whole)
        assert set(pl.read_parquet(folder / "out" / "trials.parquet")["status"]) == {"pending"}
        found = mj.open_sweep(folder / "out").trials  # with what the parts hold
        assert found.filter(pl.col("status") != "pending").height >= max(known, 2)
        known = found.filter(pl.col("status") != "pending").height
    assert known >= 4
    counted = sweep_status(folder / "out")
    assert counted.filter(pl.col("status") != "pending")["trials"].sum() >= 4
    assert_same_tables(mj.run_sweep(spec, folder / "out", is_quiet=True), finished)


def test_spec_that_adds_trials_extends_the_sweep(finished, folder, write_spec, tiny_content):
    out = folder / "out"
    shutil.copytree(finished.paths.root, out)
    more = {**tiny_content, "seeds": [0, 1, 2], "question": "and one seed more?"}
    more["arms"] = [{**arm, "name": f"{arm['name']}-renamed"} for arm in tiny_content["arms"]]
    extended = mj.run_sweep(write_spec(more), out, is_quiet=True)
    assert extended.trials.height == 12
    assert all(name.endswith("-renamed") for name in extended.trials["arm"])
    kept = extended.modules.join(finished.trials.select("trial_id"), on="trial_id", how="semi")
    assert_frame_equal(kept, finished.modules, check_exact=True)
    assert mj.open_sweep(out).manifest["spec_hash"] != finished.manifest["spec_hash"]


OTHER_SPECS = {
    "drops a seed": ({"seeds": [0]}, "3 of its trials are not in this spec"),
    "changes the network": ({"network": {"widths": [8, 7]}}, "network.widths was"),
    "changes the search": ({"modules": {"restarts": 3, "nulls": 2}}, "modules.restarts was 2, is 3"),
    "changes the training": ({"training": {"max_epochs": 5, "batch_size": 16}}, "training.max_epochs was 4, is 5"),
}


@pytest.mark.parametrize("case", OTHER_SPECS)
def test_directory_of_another_specs_sweep_is_refused_and_untouched(finished, folder, write_spec, tiny_content, case):
    changes, told = OTHER_SPECS[case]
    out = folder / "out"
    shutil.copytree(finished.paths.root, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=told):
        mj.run_sweep(write_spec({**tiny_content, **changes}), out, is_quiet=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_other_data_of_the_same_name_are_refused(finished, folder, write_spec, tiny_content):
    from tests.conftest import write_npz

    out = folder / "out"
    shutil.copytree(finished.paths.root, out)
    write_npz(folder / "tiny.npz", seed=1)
    with pytest.raises(ValueError, match="other data"):
        mj.run_sweep(write_spec(tiny_content), out, is_quiet=True)


def test_directory_with_something_else_is_refused(folder, write_spec, tiny_content):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"holds something else \(thesis\.tex\)"):
        mj.run_sweep(write_spec(tiny_content), folder / "out", is_quiet=True)
    assert [path.name for path in (folder / "out").iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="is a file"):
        mj.run_sweep(write_spec(tiny_content), folder / "tiny.npz", is_quiet=True)


def test_second_process_is_told_of_the_lock(finished, folder):
    # flock is per open file: a second open in this process stands for another process.
    told = pytest.raises(LockedError, match="in use by another modjax process")
    with locked(folder / ".lock"), told, locked(folder / ".lock"):
        pass


def test_batch_larger_than_the_training_set(folder, write_spec, tiny_content):
    with pytest.raises(ValueError, match=r"training\.batch_size 150 is larger"):
        mj.run_sweep(write_spec({**tiny_content, "training": {"batch_size": 150}}), folder / "out")
    assert not (folder / "out").exists()


def test_network_too_large_for_memory(folder, write_spec, tiny_content):
    with pytest.raises(ValueError, match=r"network\.widths: .* GiB"):
        mj.run_sweep(write_spec({**tiny_content, "network": {"widths": [10**6, 10**6]}}), folder / "out")


def test_slots_are_kept(finished):
    spec = finished.paths.root.parent / "spec.toml"
    with pytest.raises(ValueError, match="begun with 6 slots"):
        mj.run_sweep(spec, finished.paths.root, slots=2, is_quiet=True)
    with pytest.raises(ValueError, match="slots must be"):
        mj.run_sweep(spec, finished.paths.root, slots=0)


def test_unknown_engine_lists_the_known(finished):
    with pytest.raises(ValueError, match="Available: local"):
        mj.run_sweep(finished.paths.root.parent / "spec.toml", finished.paths.root, engine="cloud")


def test_a_quiet_sweep_prints_its_warnings_and_nothing_else(folder, write_spec, tiny_content, capsys):
    few = {"similarity": {"measures": []}, "analysis": {"min_accuracy": 1.0}}
    mj.run_sweep(write_spec({**tiny_content, **few}), folder / "out", is_quiet=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("WARNING: All 6 trained trials are excluded (test accuracy below 1)")
    assert output.err.count("\n") == 1


def test_no_measures_train_only(folder, write_spec, tiny_content):
    spec = {**tiny_content, "similarity": {"measures": []}, "arms": tiny_content["arms"][:1], "seeds": [0]}
    sweep = mj.run_sweep(write_spec(spec), folder / "out", is_quiet=True)
    assert sweep.trials["status"].to_list() == ["done", "done"]
    assert sweep.modules.height == sweep.alignment.height == sweep.similarity.height == 0
    assert (folder / "out" / "modules.parquet").is_file()


def test_diverged_trials_are_kept_flagged_and_excluded(folder, write_spec, tiny_content):
    arms = [{"name": "rate", "learning_rate": [1e-2, 1e30]}]
    content = {**tiny_content, "arms": arms, "analysis": {"min_accuracy": 0.5}}
    sweep = mj.run_sweep(write_spec(content), folder / "out", is_quiet=True)
    wild = sweep.trials.filter(pl.col("learning_rate") > 1)
    assert wild["status"].to_list() == ["diverged"] * 2
    assert wild["excluded"].all()
    assert sweep.modules.filter(pl.col("trial_id").is_in(wild["trial_id"].to_list())).height == 2 * 3 * 8


def test_open_sweep_of_no_sweep(tmp_path):
    with pytest.raises(ValueError, match="is not a sweep"):
        mj.open_sweep(tmp_path)


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(finished, folder, write_spec, tiny_content):
    """SIGKILL from outside, three times; the tables are those of the undisturbed run."""
    spec = write_spec(tiny_content)
    command = [sys.executable, "-m", "modjax.cli", "sweep", str(spec), "--out", str(folder / "out"), "--slots", "6"]
    for seconds in (6.0, 11.0, 14.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert_same_tables(mj.open_sweep(folder / "out"), finished)
    assert json.loads((folder / "out" / "manifest.json").read_text())["complete"]


def test_stopped_before_the_first_row_was_written(folder, write_spec, tiny_content, monkeypatch):
    spec = write_spec({**tiny_content, "similarity": {"measures": []}, "arms": tiny_content["arms"][1:2]})

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("modjax.sweep.pipeline.write_plan", stop)
    with pytest.raises(KeyboardInterrupt):
        mj.run_sweep(spec, folder / "out", is_quiet=True)
    monkeypatch.undo()
    assert [path.name for path in (folder / "out").iterdir() if path.name[0] != "."] == ["manifest.json"]
    assert mj.run_sweep(spec, folder / "out", is_quiet=True).trials.height == 2
