"""Bad input by name: exit status 2, one line, no traceback, no code run, nothing outside the directory touched."""

import os
import time

import numpy as np
import polars as pl
import pytest

import modjax as mj
from tests.seams import load_tree, read_ids, read_table, save_stack, untrusted
from tests.untrusted import makers
from tests.untrusted.conftest import files_of, record, run_cli, time_limit


@pytest.fixture(autouse=True)
def _one_row(request):
    started = time.perf_counter()
    yield
    record(f"hostile: {request.node.name}", 1, started, "refused with one line")


def assert_one_line(status, err):
    assert status == 2, err
    assert err.count("\n") == 1, err
    assert err.startswith("modjax: ")
    assert "Traceback" not in err
    assert len(err) < 3000


@pytest.mark.parametrize("case", makers.SPECS)
def test_spec(tmp_path, capsys, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content = makers.SPECS[case]
    spec = tmp_path / "spec.toml"
    spec.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_one_line(*run_cli(capsys, "sweep", spec, "--out", tmp_path / "out"))
    assert os.listdir(tmp_path) == ["spec.toml"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_spec_that_is_no_file(tmp_path, capsys, make):
    make(tmp_path / "spec.toml")
    assert_one_line(*run_cli(capsys, "plan", tmp_path / "spec.toml", "--no-probe"))


@pytest.mark.parametrize("case", makers.NPZS)
def test_npz(tmp_path, capsys, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "spec.toml"
    spec.write_text(makers.dataset('"data.npz"') + "[training]\nbatch_size = 5\n")
    makers.NPZS[case](tmp_path / "data.npz")
    before = files_of(tmp_path)
    assert_one_line(*run_cli(capsys, "sweep", spec, "--out", tmp_path / "out"))
    assert files_of(tmp_path) == before


def test_npz_that_is_good_but_for_a_bomb(tmp_path, capsys, monkeypatch):
    """Ten megabytes of zeros in ten kilobytes, on a machine that has two."""
    np.savez_compressed(tmp_path / "data.npz", **makers.arrays(x_train=np.zeros((30, 90_000), np.float32)))
    assert (tmp_path / "data.npz").stat().st_size < 20_000
    monkeypatch.setattr(untrusted, "memory_limit", lambda: 2**20)
    with pytest.raises(ValueError, match="GiB of memory"):
        mj.load_dataset(str(tmp_path / "data.npz"))


@pytest.mark.parametrize("case", makers.MANIFESTS)
def test_manifest(sweep_copy, capsys, case):
    makers.MANIFESTS[case](sweep_copy)
    before = files_of(sweep_copy.root.parent.parent)
    spec = sweep_copy.root.parent / "spec.toml"
    spec.write_text(sweep_copy.spec.read_text())
    for command in (["status"], ["verify"], ["sweep", spec, "--out"]):
        status, err = run_cli(capsys, *command, sweep_copy.root)
        assert_one_line(status, err)
    spec.unlink()
    assert files_of(sweep_copy.root.parent.parent) == before


def test_manifest_that_tells_of_stages_and_no_more(sweep_copy, capsys):
    spec = sweep_copy.root.parent / "spec.toml"
    spec.write_text(sweep_copy.spec.read_text())
    makers.manifest(lambda content: [content.pop(name) for name in ("cpu_seconds", "seconds", "peak_memory_mb")])(
        sweep_copy
    )
    assert run_cli(capsys, "sweep", spec, "--out", sweep_copy.root) == (0, "")


def test_weights_that_are_single_numbers(sweep_copy):
    paths = sweep_copy
    makers.manifest(lambda content: content["checksums"].clear())(paths)
    dense = {"kernel": np.float32(1), "bias": np.float32(1)}
    save_stack(paths, 0, read_ids(paths.stack_ids(0)), {"dense_0": dense, "dense_1": dense})
    problems = mj.verify_sweep(paths.root).problems
    assert any(str(paths.stack(0)) in line and "has shapes" in line for line in problems)


@pytest.mark.parametrize("case", makers.TABLES)
def test_table(sweep_copy, capsys, case):
    name, spoil = makers.TABLES[case]
    spoil(sweep_copy)
    before = files_of(sweep_copy.root.parent.parent)
    assert_one_line(*run_cli(capsys, "table", sweep_copy.root, name))
    assert files_of(sweep_copy.root.parent.parent) == before


def test_table_of_few_bytes_and_many_rows(tmp_path, monkeypatch):
    """Runs of equal values: eighty megabytes of memory in a few kilobytes."""
    rows = pl.DataFrame({"trial_id": ["x"], "epoch": [0]}, {"trial_id": pl.String, "epoch": pl.Int32})
    columns = dict.fromkeys(("train_loss", "val_loss", "val_accuracy", "learning_rate"), 0.0)
    many = pl.concat([rows] * 10).with_columns(**{name: pl.lit(value) for name, value in columns.items()})
    pl.concat([many] * 100_000).write_parquet(tmp_path / "history.parquet")
    assert (tmp_path / "history.parquet").stat().st_size < 100_000
    monkeypatch.setattr(untrusted, "memory_limit", lambda: 2**24)
    with pytest.raises(ValueError, match="GiB of memory"):
        read_table(tmp_path / "history.parquet", "history")


@pytest.mark.parametrize("case", makers.CHECKPOINTS)
def test_checkpoint(sweep_copy, case):
    trial_id = mj.open_sweep(sweep_copy.root).trials["trial_id"][0]
    makers.CHECKPOINTS[case](sweep_copy)
    before = files_of(sweep_copy.root.parent.parent)
    with time_limit(), pytest.raises(ValueError) as error:
        mj.load_params(sweep_copy.root, trial_id)
    assert "\n" not in str(error.value)
    assert files_of(sweep_copy.root.parent.parent) == before


def test_checkpoint_whose_arrays_do_not_fit(sweep_copy, monkeypatch):
    monkeypatch.setattr(untrusted, "memory_limit", lambda: 100)
    with pytest.raises(ValueError, match="GiB of memory"):
        load_tree(sweep_copy.stack(0))


def commands_on(out, spec, whole):
    """Every command that is given a sweep's directory."""
    return {
        "status": ["status", out],
        "table": ["table", out],
        "claims": ["claims", out],
        "compare": ["compare", out, whole, "--out", out.parent / "compare.html"],
        "compare, second": ["compare", whole, out, "--out", out.parent / "compare.html"],
        "report": ["report", out],
        "verify": ["verify", out],
        "export": ["export", out, "--to", "tensorboard"],
        "sweep": ["sweep", spec, "--out", out],
        "plan": ["plan", spec, "--no-probe", "--like", out],
    }


@pytest.mark.parametrize("case", makers.LINKS)
def test_link_that_leads_out(sweep_copy, finished, capsys, case):
    spec = sweep_copy.root.parent / "spec.toml"
    spec.write_text(sweep_copy.spec.read_text())
    makers.LINKS[case](sweep_copy)
    outside = sweep_copy.root.parent.parent / "outside"
    before, inside = files_of(outside), files_of(sweep_copy.root)
    for arguments in commands_on(sweep_copy.root, spec, finished.paths.root).values():
        status, err = run_cli(capsys, *arguments)
        assert_one_line(status, err)
        assert "link" in err, arguments
    assert files_of(outside) == before
    assert files_of(sweep_copy.root) == inside
    assert (outside / "precious").read_text() == "precious"


@pytest.mark.parametrize("case", makers.NO_FILES)
def test_what_is_no_file_is_not_waited_for(sweep_copy, finished, capsys, case):
    spec = sweep_copy.root.parent / "spec.toml"
    spec.write_text(sweep_copy.spec.read_text())
    makers.NO_FILES[case](sweep_copy)
    before = files_of(sweep_copy.root.parent.parent)
    for arguments in commands_on(sweep_copy.root, spec, finished.paths.root).values():
        with time_limit(20):
            status, err = run_cli(capsys, *arguments)
        assert_one_line(status, err)
        assert "neither a file nor a folder" in err, arguments
    assert files_of(sweep_copy.root.parent.parent) == before


def test_links_within_the_directory_are_left(sweep_copy):
    (sweep_copy.root / "figures" / "latest.png").symlink_to("accuracy.png")
    assert mj.open_sweep(sweep_copy.root).trials.height


def test_at_least_sixty_kinds():
    kinds = (makers.SPECS, makers.NPZS, makers.MANIFESTS, makers.TABLES, makers.CHECKPOINTS, makers.LINKS)
    kinds += (makers.NO_FILES,)
    assert sum(map(len, kinds)) >= 60
