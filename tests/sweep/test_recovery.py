"""What an interrupted or damaged sweep makes of itself when the same command is run again."""

import shutil

import numpy as np
import polars as pl
import pytest

import modjax as mj
from tests.seams import SweepPaths, read_manifest, report_by, write_manifest, writer
from tests.sweep.test_pipeline import assert_same_tables


@pytest.fixture
def copy(finished, folder, write_spec, tiny_content):
    """A finished sweep to damage, and its spec."""
    shutil.copytree(finished.paths.root, folder / "out")
    return write_spec(tiny_content), folder / "out"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def no_training(*given, **options):
    raise AssertionError("a trial is trained again")


DAMAGES = {"missing": lambda path: path.unlink(), "truncated": truncate, "flipped": flip}
TABLES = (
    "modules.parquet",
    "history.parquet",
    "similarity/layer_0.parquet",
    "trials.parquet",
    "manifest.json",
    "spec.toml",
)
QUICK = {("modules.parquet", "missing"), ("similarity/layer_0.parquet", "flipped"), ("trials.parquet", "truncated")}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param(name, damage, marks=() if (name, damage) in QUICK else pytest.mark.slow)
        for name in TABLES
        for damage in DAMAGES
    ],
)
def test_lost_or_damaged_table_is_made_again(finished, copy, name, damage, capsys, monkeypatch):
    spec, out = copy
    DAMAGES[damage](out / name)
    if name not in ("trials.parquet", "history.parquet"):  # then weights are enough
        monkeypatch.setattr("modjax.engines.local.PopulationRun", no_training)
    assert_same_tables(mj.run_sweep(spec, out), finished)
    if damage != "missing":
        assert (out / "damaged" / name.rsplit("/")[-1]).is_file()
        assert "is damaged: moved to" in capsys.readouterr().err


@pytest.mark.report
def test_process_that_ends_before_the_page_of_an_extension_leaves_no_old_one(
    copy, write_spec, tiny_content, monkeypatch
):
    _, out = copy
    more = write_spec({**tiny_content, "seeds": [0, 1, 2]}, "more.toml")
    with monkeypatch.context() as patch:
        report_by(patch, page=stop)
        with pytest.raises(KeyboardInterrupt):
            mj.run_sweep(more, out, is_quiet=True)
    sweep = mj.run_sweep(more, out, is_quiet=True)
    new = set(sweep.trials.filter(pl.col("seed") == 2)["trial_id"])
    page = (out / "report.html").read_text()
    assert len(new) == 4
    assert all(trial_id in page for trial_id in new)


@pytest.mark.report
def test_a_report_that_is_left_out_leaves_none_of_fewer_trials_and_can_be_made_later(copy, write_spec, tiny_content):
    _, out = copy
    more = write_spec({**tiny_content, "seeds": [0, 1, 2]}, "more.toml")
    sweep = mj.run_sweep(more, out, is_quiet=True, report=False)
    assert sweep.trials.height == 12
    assert not (out / "report.html").exists()
    assert not (out / "figures").exists()
    assert mj.verify_sweep(out).is_whole
    mj.run_sweep(more, out, is_quiet=True)
    assert (out / "figures" / "accuracy.png").is_file()
    page = (out / "report.html").read_text()
    assert all(trial_id in page for trial_id in sweep.trials["trial_id"])


def stop(*given):
    raise KeyboardInterrupt


@pytest.mark.report
def test_figure_that_cannot_be_drawn_leaves_whole_tables(finished, folder, write_spec, tiny_content, monkeypatch):
    spec, out = write_spec(tiny_content), folder / "out"

    def broken(sweep):
        raise IndexError("no colour left")

    with monkeypatch.context() as patch:
        report_by(patch, figures=broken)
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"tables of .* are whole, but .*: IndexError: no colour left"):
                mj.run_sweep(spec, out, slots=6, is_quiet=True)
            assert mj.open_sweep(out).manifest["complete"]
    assert_same_tables(mj.run_sweep(spec, out, is_quiet=True), finished)
    assert (out / "report.html").is_file()


def test_remnants_of_parts_do_not_stop_an_extension(copy, write_spec, tiny_content):
    _, out = copy
    (out / "parts" / "trained_00000").mkdir(parents=True)
    more = write_spec({**tiny_content, "seeds": [0, 1, 2]}, "more.toml")
    assert mj.run_sweep(more, out, is_quiet=True).trials.height == 12
    assert not (out / "parts").exists()


@pytest.mark.parametrize("what", ["trained part", "analysed part", "checkpoint"])
def test_damaged_part_is_set_aside_and_made_again(finished, folder, write_spec, tiny_content, monkeypatch, what):
    monkeypatch.setattr(writer, "STACK_TRIALS", 3)
    whole = writer.StackWriter._commit_analysed

    def stop_after(self, *arguments):
        whole(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(writer.StackWriter, "_commit_analysed", stop_after)
    spec, out = write_spec(tiny_content), folder / "out"
    with pytest.raises(KeyboardInterrupt):
        mj.run_sweep(spec, out, slots=6, is_quiet=True)
    monkeypatch.setattr(writer.StackWriter, "_commit_analysed", whole)
    paths = SweepPaths(out)
    if what == "trained part":
        truncate(paths.trained_part(0) / "trials.parquet")
    elif what == "analysed part":
        truncate(paths.analysed_part(paths.part_indices("analysed")[0]) / "modules.parquet")
    else:
        shutil.rmtree(paths.analysed_part(0), ignore_errors=True)
        for path in paths.stack(0).rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    assert_same_tables(mj.run_sweep(spec, out, is_quiet=True), finished)
    assert list((out / "damaged").iterdir())


def test_killed_while_writing_the_very_first_file(finished, folder, write_spec, tiny_content):
    (folder / "out").mkdir()
    for name in (".lock", ".manifest.json.tmp"):
        (folder / "out" / name).write_text("{")
    assert_same_tables(mj.run_sweep(write_spec(tiny_content), folder / "out", slots=6, is_quiet=True), finished)


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"schema_version": 1}', '{"schema_version": 2}', '{"schema_version": 99}', "nonsense"]
)
def test_manifest_that_is_none_is_refused(copy, content):
    spec, out = copy
    (out / "manifest.json").write_text(content)
    (out / ".manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest|another version"):
        mj.run_sweep(spec, out, is_quiet=True)


def test_other_precision_is_refused(copy):
    spec, out = copy
    manifest = read_manifest(out / "manifest.json")
    manifest["precision"]["dtype"] = "float64"
    write_manifest(SweepPaths(out), manifest)
    with pytest.raises(ValueError, match="made in float64, this process computes in float32"):
        mj.run_sweep(spec, out, is_quiet=True)


def test_paths_that_are_no_directory(folder, write_spec, tiny_content):
    spec = write_spec(tiny_content)
    (folder / "nowhere").symlink_to(folder / "gone")
    with pytest.raises(ValueError, match="link to nothing"):
        mj.run_sweep(spec, folder / "nowhere")
    with pytest.raises(ValueError, match="is a file"):
        mj.run_sweep(spec, spec / "below")


@pytest.mark.report
def test_figures_that_were_removed_are_drawn_again(copy):
    spec, out = copy
    shutil.rmtree(out / "figures")
    mj.run_sweep(spec, out, is_quiet=True)
    assert (out / "figures" / "accuracy.png").is_file()
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    mj.run_sweep(spec, out, is_quiet=True)
    assert (out / "report.html").read_bytes() == page


@pytest.mark.report
def test_sweep_whose_trials_are_all_excluded(folder, write_spec, tiny_content):
    arms = [{"name": "rate", "learning_rate": [1e-9]}]
    content = {**tiny_content, "arms": arms, "analysis": {"min_accuracy": 0.8}}
    sweep = mj.run_sweep(write_spec(content), folder / "out", is_quiet=True)
    assert sweep.trials["excluded"].all()
    assert sweep.manifest["complete"]


def test_similarity_that_overflowed_has_no_dead_units(folder, write_spec, tiny_content):
    arms = [{"name": "rate", "learning_rate": [1e10]}]
    sweep = mj.run_sweep(write_spec({**tiny_content, "arms": arms}), folder / "out", is_quiet=True)
    finite = pl.col("matrix").list.eval(pl.element().is_finite()).list.all()
    bad = sweep.similarity.filter(~finite).select("trial_id", "layer", "measure")
    rows = sweep.modules.join(bad, on=["trial_id", "layer", "measure"])
    assert rows.height
    assert rows["q"].is_nan().all()
    assert rows["num_dead"].to_list() == [0] * rows.height
    assert np.isnan(rows["effective_modules"].to_numpy()).all()
