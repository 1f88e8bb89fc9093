"""``modjax verify``: a line a problem; and what it finds is set aside and made again."""

import json
import shutil

import polars as pl
import pytest

import modjax as mj
from modjax import cli
from tests.seams import (
    SUMS,
    SweepPaths,
    checksums,
    own_sum_problem,
    read_manifest,
    read_table,
    write_manifest,
    write_table,
)
from tests.sweep.test_pipeline import assert_same_tables
from tests.sweep.test_recovery import flip, truncate


@pytest.fixture
def out(finished, folder):
    shutil.copytree(finished.paths.root, folder / "out")
    return folder / "out"


def verify(capsys, out):
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(out)])
    captured = capsys.readouterr()
    return stop.value.code, captured.out.splitlines(), captured.err


def test_whole(out, capsys):
    status, lines, err = verify(capsys, out)
    assert (status, err) == (0, "")
    assert len(lines) == 1
    assert "is whole" in lines[0]
    assert "run to its end" in lines[0]


def test_no_sweep(tmp_path, capsys):
    status, lines, err = verify(capsys, tmp_path)
    assert status == 2
    assert lines == []
    assert "is not a sweep" in err


def newest_of_stack(out):
    return max((out / "checkpoints" / "stack_00000" / "d").iterdir())


DAMAGED = {
    "table": (lambda out: out / "modules.parquet", flip),
    "matrices": (lambda out: out / "similarity" / "layer_0.parquet", truncate),
    "spec": (lambda out: out / "spec.toml", flip),
    "manifest": (lambda out: out / "manifest.json", flip),
    "weights": (newest_of_stack, flip),
    "list of a stack": (lambda out: out / "checkpoints" / "stack_00000.json", flip),
    "figure": (lambda out: out / "figures" / "accuracy.png", flip),
    "page": (lambda out: out / "report.html", flip),
    "missing table": (lambda out: out / "history.parquet", lambda path: path.unlink()),
    "missing weights": (newest_of_stack, lambda path: path.unlink()),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_every_kind_of_damage_has_its_line(out, capsys, case):
    find, damage = DAMAGED[case]
    path = find(out)
    damage(path)
    status, lines, _ = verify(capsys, out)
    assert status == 1
    assert any(("stack_00000" if "stack_00000" in str(path) else path.name) in line for line in lines)


def test_damaged_weights_alone_are_trained_again(finished, out, folder, write_spec, tiny_content, capsys):
    flip(newest_of_stack(out))
    before = finished.paths.stack_indices()
    assert_same_tables(mj.run_sweep(write_spec(tiny_content), out), finished)
    said = capsys.readouterr().err
    assert "trials are trained again" in said
    assert (out / "damaged" / "stack_00000").is_dir()
    assert len(SweepPaths(out).stack_indices()) == len(before)
    assert mj.verify_sweep(out).is_whole


@pytest.mark.report
def test_altered_figure_is_drawn_again_and_nothing_else(finished, out, capsys):
    flip(out / "figures" / "accuracy.png")
    tables = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    mj.run_sweep(finished.paths.root.parent / "spec.toml", out)
    assert "drawn again" in capsys.readouterr().err
    assert (out / "figures" / "accuracy.png").read_bytes() == (finished.paths.figures / "accuracy.png").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")} == tables


@pytest.mark.report
def test_page_is_written_again_if_altered_or_missing(finished, out, capsys):
    flip(out / "report.html")
    mj.run_sweep(finished.paths.root.parent / "spec.toml", out)
    assert "report.html is not what was written" in capsys.readouterr().err
    assert mj.verify_sweep(out).is_whole
    (out / "report.html").unlink()
    mj.run_sweep(finished.paths.root.parent / "spec.toml", out, is_quiet=True)
    assert own_sum_problem(out / "report.html") is None


def test_other_programs_files_do_not_trouble(out):
    (out / "progress.json").write_text("{")
    for tracker in ("tensorboard", "wandb", "mlflow"):
        (out / tracker).mkdir()
        (out / tracker / "events").write_bytes(b"x")
    assert mj.verify_sweep(out).is_whole


@pytest.mark.report
def test_list_of_sums_cannot_lead_out_of_its_folder(out, folder):
    other = folder / "other"
    other.write_text("mine")
    path = out / "figures" / SUMS
    path.write_text(json.dumps(json.loads(path.read_text()) | {"../../other": ["0"], str(other): ["0"]}))
    mj.run_sweep(out / "spec.toml", out, is_quiet=True)
    assert other.read_text() == "mine"


def rewrite(out, name, change):
    """A table that is as it was written, but wrong."""
    paths = SweepPaths(out)
    write_table(paths.table(name), change(read_table(paths.table(name), name)))
    write_manifest(paths, read_manifest(paths.manifest) | {"checksums": checksums(paths)})


def test_rows_are_held_against_trials(out):
    rewrite(out, "modules", lambda frame: frame.slice(1))
    assert any("too few or too many rows of 1 finished trials" in one for one in mj.verify_sweep(out).problems)
    rewrite(out, "history", lambda frame: frame.reverse())
    assert any("not sorted by trial_id, epoch" in one for one in mj.verify_sweep(out).problems)
    rewrite(out, "trials", lambda frame: frame.filter(pl.col("seed") != 1))
    assert any("that are in no trials table" in one for one in mj.verify_sweep(out).problems)


def test_weights_are_held_against_the_spec(out):
    from tests.seams import load_tree, read_ids, save_stack

    paths = SweepPaths(out)
    ids, tree = read_ids(paths.stack_ids(0)), load_tree(paths.stack(0))
    tree["dense_0"]["kernel"] = tree["dense_0"]["kernel"][..., :-1]
    save_stack(paths, 0, ids, tree)
    write_manifest(paths, read_manifest(paths.manifest) | {"checksums": checksums(paths)})
    assert any("has shapes" in one for one in mj.verify_sweep(out).problems)


def test_sweep_made_before_sums_were_kept_is_taken_as_it_is(finished, out, write_spec, tiny_content):
    paths = SweepPaths(out)
    content = json.loads(paths.manifest.read_text())
    for key in ("sha256", "sums"):
        del content[key]
    content["checksums"] = {name: found for name, found in content["checksums"].items() if "checkpoints" not in name}
    paths.manifest.write_text(json.dumps(content))
    for path in [*out.rglob(SUMS), paths.manifest_copy]:
        path.unlink()
    for path in out.glob("checkpoints/*.json"):
        path.write_text(json.dumps({"trial_ids": json.loads(path.read_text())["trial_ids"]}))
    assert mj.verify_sweep(out).is_whole
    extended = mj.run_sweep(write_spec({**tiny_content, "seeds": [0, 1, 2]}), out, is_quiet=True)
    assert extended.trials.height == 12
    assert not (out / "damaged").exists()
    assert mj.verify_sweep(out).is_whole
    kept = extended.trials.join(finished.trials.select("trial_id"), on="trial_id", how="semi")
    assert kept.equals(finished.trials)  # not trained again: even the seconds are the same
