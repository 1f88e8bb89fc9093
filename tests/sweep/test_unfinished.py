"""What a sweep's tables hold while it runs: rows of parts that are not merged yet."""

import shutil

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import modjax as mj
from tests.seams import SweepPaths, SweepProgress, guess_epochs, locked, search_in_process, write_table
from tests.test_cli import run

OF_THE_WHOLE = (*(f"untrained_{name}" for name in ("n", "mean", "sd", "z", "p")), "p_adjusted")
TABLES = ("trials", "history", "similarity", "modules", "alignment")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, finished):
    """The tiny sweep, stopped when all its trials were in parts and no table was merged."""
    root = tmp_path_factory.mktemp("so_far")
    shutil.copytree(finished.paths.root.parent, root, ignore=shutil.ignore_patterns("out"), dirs_exist_ok=True)
    whole = SweepProgress.stage

    def stop(self, name):
        whole(self, name)
        if name == "tables and figures":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SweepProgress, "stage", stop)
        search_in_process(patch)
        with pytest.raises(KeyboardInterrupt):
            mj.run_sweep(root / "spec.toml", root / "out", is_quiet=True)
    return root / "out"


@pytest.fixture
def running(interrupted, tmp_path):
    return SweepPaths(shutil.copytree(interrupted, tmp_path / "out"))


def without_times(frame):
    return frame.select(column for column in frame.columns if "seconds" not in column and column not in OF_THE_WHOLE)


@pytest.mark.parametrize("name", TABLES)
def test_parts_hold_what_the_tables_will(finished, interrupted, name):
    found = mj.open_sweep(interrupted).table(name)
    assert_frame_equal(without_times(found), without_times(finished.table(name)))
    left = {column for column in found.columns if found[column].null_count() == found.height}
    assert left >= {column for column in OF_THE_WHOLE if column in found.columns}


def test_the_page_has_the_matrices_of_parts(finished, interrupted):
    from tests.seams import pack_sweep

    order = finished.trials["trial_id"].to_list()
    found = [pack_sweep(sweep, order, list(mj.MEASURES), 10**7) for sweep in (mj.open_sweep(interrupted), finished)]
    assert found[0].trials.keys() == set(order)
    assert found[0] == found[1]


def test_epochs_are_not_guessed_from_a_sweep_that_runs(interrupted, running):
    spec = mj.load_spec(running.spec)
    assert guess_epochs(spec, like=interrupted).typical == 4
    (index,) = running.part_indices("trained")
    shutil.rmtree(running.trained_part(index))
    with pytest.raises(ValueError, match="9 of its 9 trials are pending"):
        guess_epochs(spec, like=running.root)


def test_arms_are_named_as_planned(running):
    planned = pl.read_parquet(running.table("trials"))
    write_table(running.table("trials"), planned.with_columns(arm=pl.col("arm") + "_new"))
    assert mj.open_sweep(running.root).trials["arm"].str.ends_with("_new").all()


def test_a_damaged_or_foreign_part_is_left_out(running):
    (part,) = (running.analysed_part(index) for index in running.part_indices("analysed"))
    (part / "modules.parquet").write_bytes(b"not parquet")
    rows = pl.read_parquet(part / "alignment.parquet")
    is_first = pl.col("trial_id") == rows["trial_id"][0]
    foreign = rows.with_columns(trial_id=pl.when(is_first).then(pl.lit("0" * 16)).otherwise("trial_id"))
    write_table(part / "alignment.parquet", foreign)
    sweep = mj.open_sweep(running.root)
    assert sweep.modules.height == 0
    assert sweep.alignment.height == rows.filter(~is_first).height > 0
    assert "0" * 16 not in sweep.alignment["trial_id"]
    assert sweep.trials.filter(status="pending").height == 0


def test_all_tables_tell_of_the_trials_known_when_the_first_was_read(running):
    (index,) = running.part_indices("trained")
    later = running.trained_part(index).rename(running.root.parent / "later")
    sweep = mj.open_sweep(running.root)
    assert set(sweep.trials["status"]) == {"pending"}
    later.rename(running.trained_part(index))  # a stack ends between two readings
    assert sweep.history.height == sweep.modules.height == sweep.similarity.height == 0
    assert mj.open_sweep(running.root).modules.height > 0


def test_a_sweep_that_ends_while_it_is_read(running, finished):
    """The parts are merged and gone between two readings: nothing is missing, nothing raises."""
    sweep = mj.open_sweep(running.root)
    assert set(sweep.trials["status"]) == {"done", "untrained"}

    def end(scans):
        if running.parts.exists():
            merge_all(running, finished)
        return sorted(trial_id for scan in scans for trial_id in scan.read("trial_id")["trial_id"].unique())

    assert set(sweep.read_matrices(end)) == set(finished.trials["trial_id"])
    assert sweep.similarity.height == finished.similarity.height
    assert_frame_equal(sweep.modules, finished.modules)


def test_trials_that_were_pending_are_so_in_all_tables(running, finished):
    shutil.rmtree(running.parts)
    sweep = mj.open_sweep(running.root)
    assert set(sweep.trials["status"]) == {"pending"}
    merge_all(running, finished)
    assert sweep.modules.height == sweep.history.height == sweep.similarity.height == 0
    assert mj.open_sweep(running.root).similarity.height == finished.similarity.height


def merge_all(paths, finished):
    """As the end of a sweep does it."""
    shutil.copytree(finished.paths.similarity, paths.similarity, dirs_exist_ok=True)
    for name in TABLES[:2] + TABLES[3:]:
        shutil.copy(finished.paths.table(name), paths.table(name))
    shutil.rmtree(paths.parts, ignore_errors=True)


def test_rows_that_were_merged_are_not_those_of_parts(running, finished):
    """A sweep that grew: finished trials are read from the tables, whatever its parts hold."""
    for name in TABLES[:2] + TABLES[3:]:
        shutil.copy(finished.paths.table(name), running.table(name))
    for index in running.part_indices("trained"):
        path = running.trained_part(index) / "trials.parquet"
        write_table(path, pl.read_parquet(path).with_columns(test_accuracy=pl.lit(0.5)))
    sweep = mj.open_sweep(running.root)
    assert_frame_equal(sweep.trials, finished.trials)
    assert_frame_equal(sweep.modules, finished.modules)


def test_a_page_of_a_running_sweep_is_written_elsewhere(capsys, running, tmp_path):
    with locked(running.lock):
        status, _, err = run(capsys, "report", running.root)
        assert status == 1
        assert "in use by another modjax process" in err
        assert "--out PAGE" in err
        status, _, err = run(capsys, "report", running.root, "--out", running.root / "report.html")
        assert status == 2
        assert "outside the sweep's directory" in err
        status, out, err = run(capsys, "report", running.root, "--out", tmp_path / "pages" / "now.html")
        assert status == 0, err
    assert not running.report.exists()
    text = (tmp_path / "pages" / "now.html").read_text(encoding="utf-8")
    assert '"folder":"../out/"' in text
    assert str(tmp_path / "pages" / "now.html") in out
    status, out, _ = run(capsys, "claims", running.root)
    assert status == 0
    status, out, _ = run(capsys, "table", running.root, "modules")
    assert status == 0
    assert "covariance" in out
