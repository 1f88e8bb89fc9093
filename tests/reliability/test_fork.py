"""Another version, machine or spec: refused with what differs; a fork begins with what can be used again."""

import shutil

import polars as pl
import pytest

import modjax as mj
from tests.seams import SweepPaths, as_trained, from_rows, parse_spec, read_manifest, write_manifest
from tests.sweep.test_pipeline import assert_same_tables


@pytest.fixture
def out(finished, folder):
    shutil.copytree(finished.paths.root, folder / "out")
    return folder / "out"


def pretend(out, **changes):
    paths = SweepPaths(out)
    write_manifest(paths, read_manifest(paths.manifest) | changes)


def rows_of(frame, trials):
    return frame.filter(pl.col("trial_id").is_in(trials["trial_id"].to_list()))


OTHERS = {
    "version": ({"packages": {"jax": "0.1.0"}}, "jax was 0.1.0, is "),
    "device": ({"device": {"platform": "gpu", "kind": "H100", "count": 1}}, "device platform was gpu, is cpu"),
    "threads": ({"threads": 1024}, "threads was 1024, is "),
}


@pytest.mark.parametrize("case", OTHERS)
def test_unfinished_sweep_of_another_environment_is_refused_and_untouched(
    finished, out, write_spec, tiny_content, case
):
    changes, told = OTHERS[case]
    pretend(out, **changes)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    same = finished.paths.root.parent / "spec.toml"
    mj.run_sweep(same, out, is_quiet=True)  # whole: there is nothing to compute
    more = write_spec({**tiny_content, "seeds": [0, 1, 2]})
    with pytest.raises(ValueError, match=f"{told}.*--fork NEW_DIR"):
        mj.run_sweep(more, out, is_quiet=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_fork_of_another_version_copies_what_is_finished(finished, out, folder, write_spec, tiny_content, capsys):
    pretend(out, packages={"jax": "0.1.0"})
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    more = write_spec({**tiny_content, "seeds": [0, 1, 2]})
    forked = mj.run_sweep(more, out, fork=folder / "fork", copy_to=f"file://{folder / 'store'}")
    assert mj.open_sweep(folder / "store").trials.equals(forked.trials)
    assert "9 of 12 trials copied" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert rows_of(forked.trials, finished.trials).equals(finished.trials)  # even the seconds: nothing trained again
    assert rows_of(forked.alignment, finished.trials).equals(finished.alignment)
    assert forked.trials.height == 12
    assert forked.manifest["forked_from"]["packages"] == {"jax": "0.1.0"}
    assert forked.manifest["packages"]["jax"] != "0.1.0"
    assert mj.verify_sweep(folder / "fork").is_whole
    assert_same_tables(mj.run_sweep(more, folder / "fork", is_quiet=True), forked)


def test_fork_of_another_analysis_keeps_the_weights(finished, out, folder, write_spec, tiny_content):
    other = write_spec({**tiny_content, "modules": {"restarts": 3, "nulls": 2}})
    with pytest.raises(ValueError, match=r"modules\.restarts was 2, is 3.*--fork NEW_DIR"):
        mj.run_sweep(other, out, is_quiet=True)
    forked = mj.run_sweep(other, out, fork=folder / "fork", is_quiet=True)
    assert forked.trials.equals(finished.trials)
    assert forked.history.equals(finished.history)
    fresh = mj.run_sweep(other, folder / "fresh", is_quiet=True)
    assert_same_tables(forked, fresh)


def test_fork_of_other_training_reuses_untrained_networks_at_most(out, folder, write_spec, tiny_content, capsys):
    spec = {**tiny_content, "training": {"max_epochs": 3, "batch_size": 16}, "similarity": {"measures": []}}
    forked = mj.run_sweep(write_spec(spec), out, fork=folder / "fork")
    assert "0 of 9 trials copied" in capsys.readouterr().err
    assert forked.history["epoch"].max() == 2


def test_fork_interrupted_while_it_copies_goes_on(finished, out, folder, write_spec, tiny_content, monkeypatch):
    from tests.seams import fork

    whole = fork._commit

    def stop_after(*arguments):
        whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(fork, "_commit", stop_after)
    spec = write_spec(tiny_content)
    with pytest.raises(KeyboardInterrupt):
        mj.run_sweep(spec, out, fork=folder / "fork", is_quiet=True)
    monkeypatch.undo()
    forked = mj.run_sweep(spec, out, fork=folder / "fork", is_quiet=True)
    assert forked.trials.equals(finished.trials)
    assert_same_tables(forked, finished)


def test_damaged_stack_of_the_source_is_left_out(finished, out, folder, write_spec, tiny_content, capsys):
    (out / "checkpoints" / "stack_00000" / "manifest.ocdbt").write_bytes(b"damaged")
    forked = mj.run_sweep(write_spec(tiny_content), out, fork=folder / "fork")
    said = capsys.readouterr().err
    assert "left out" in said
    assert_same_tables(forked, finished)


WRONG = {
    "no sweep": (lambda out: (out.parent / "none", out.parent / "fork"), "is not a sweep"),
    "the same": (lambda out: (out, out), "directory of its own"),
    "inside": (lambda out: (out, out / "fork"), "directory of its own"),
}


@pytest.mark.parametrize("case", WRONG)
def test_forks_that_cannot_be(out, write_spec, tiny_content, case):
    paths, told = WRONG[case]
    source, new = paths(out)
    with pytest.raises(ValueError, match=told):
        mj.run_sweep(write_spec(tiny_content), source, fork=new, is_quiet=True)


def test_fork_of_another_precision_is_refused(out, folder, write_spec, tiny_content):
    pretend(out, precision={"dtype": "float64"})
    with pytest.raises(ValueError, match="made with float64 instead of float32"):
        mj.run_sweep(write_spec(tiny_content), out, fork=folder / "fork", is_quiet=True)
    assert not (folder / "fork").exists()


SPEC = parse_spec(
    {
        "name": "x",
        "dataset": "digits",
        "seeds": [0],
        "arms": [{"name": "l2"}, {"name": "null", "untrained": True}],
        "analysis": {"min_accuracy": 0.8},
    }
)


def test_failed_trials_are_as_they_were_trained():
    trained = {"learning_rate": 1e-3, "l1": 0.0, "l2": 0.0, "dropout": 0.0, "excluded": True, "seed": 0}
    rows = [
        {"trial_id": "good", "arm": "l2", "status": "failed", "test_accuracy": 0.9},
        {"trial_id": "poor", "arm": "l2", "status": "failed", "test_accuracy": 0.5},
        {"trial_id": "diverged", "arm": "l2", "status": "failed", "test_accuracy": 0.1},
        {"trial_id": "untrained", "arm": "null", "status": "failed", "test_accuracy": 0.1},
        {"trial_id": "unmeasured", "arm": "l2", "status": "failed", "test_accuracy": None},
        {"trial_id": "whole", "arm": "l2", "status": "done", "test_accuracy": 0.9},
    ]
    trials = from_rows("trials", [{**trained, **row} for row in rows])
    losses = {"good": [1.0, 0.5], "poor": [2.0], "diverged": [1.0, float("nan")], "whole": [1.0]}
    history = from_rows(
        "history",
        [
            {"trial_id": trial_id, "epoch": epoch, "val_loss": loss}
            for trial_id, values in losses.items()
            for epoch, loss in enumerate(values)
        ],
    )
    mended = {row["trial_id"]: row for row in as_trained(trials, history, SPEC).iter_rows(named=True)}
    assert {name: (row["status"], row["excluded"]) for name, row in mended.items()} == {
        "good": ("done", False),
        "poor": ("done", True),
        "diverged": ("diverged", True),
        "untrained": ("untrained", False),
        "unmeasured": ("failed", True),
        "whole": ("done", True),
    }
