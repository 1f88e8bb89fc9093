import shutil

import polars as pl
import pytest

import modjax as mj
from tests.report.sweeps import write_sweep
from tests.seams import read_table, scan_table, write_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("made") / "out", units=4, epochs=2)


@pytest.fixture
def sweep(made, tmp_path):
    shutil.copytree(made.paths.root, tmp_path / "out")
    return mj.open_sweep(tmp_path / "out")


def path_of(paths, name):
    return paths.similarity_file(0) if name == "similarity" else paths.table(name)


def spoil(sweep, table, **columns):
    """The first row of a table with other values."""
    path = path_of(sweep.paths, table)
    frame = read_table(path, table)
    is_first = pl.int_range(pl.len()) == 0
    new = [
        pl.when(is_first)
        .then(pl.lit(pl.Series([value], dtype=frame.schema[column])).first())
        .otherwise(column)
        .alias(column)
        for column, value in columns.items()
    ]
    write_table(path, frame.with_columns(new))
    return path


BROKEN = {
    "arm of mathematics": ("trials", {"arm": "$\\frac$"}, "an arm that is not"),
    "no arm": ("trials", {"arm": None}, "an arm that is not"),
    "seed below 0": ("trials", {"seed": -1}, "a seed that is not"),
    "no seed": ("trials", {"seed": None}, "a seed that is not"),
    "NaN penalty": ("trials", {"l2": float("nan")}, "a l2 that is not at least 0"),
    "infinite rate": ("trials", {"learning_rate": float("inf")}, "a learning_rate that is not above 0"),
    "dropout of 1": ("trials", {"dropout": 1.0}, "a dropout that is not at least 0 and below 1"),
    "neither excluded nor not": ("trials", {"excluded": None}, "neither excluded nor not"),
    "epoch below 0": ("history", {"epoch": -1}, "a negative epoch"),
    "unknown measure": ("modules", {"measure": "jacobain"}, "an unknown measure"),
    "unknown measure of a matrix": ("similarity", {"measure": ""}, "an unknown measure"),
    "unknown measure of a pair": ("alignment", {"measure_b": "x"}, "an unknown measure"),
    "layer beyond all": ("modules", {"layer": 2**31 - 1}, "a layer that is not"),
    "layer of a pair": ("alignment", {"layer": -2}, "a layer that is not"),
    "huge Q": ("modules", {"q": 1e300}, "a q that is missing, infinite or beyond all reason"),
    "infinite Q": ("modules", {"q": float("-inf")}, "a q that is missing, infinite or beyond all reason"),
    "no labels": ("modules", {"labels": None}, "labels that are no modules"),
    "label beyond the units": ("modules", {"labels": [0, 1, 2, 4]}, "labels that are no modules"),
    "label that is missing": ("modules", {"labels": [0, 1, 2, None]}, "labels that are no modules"),
    "joint label below -1": ("modules", {"joint_labels": [0, 1, 2, -2]}, "joint_labels that are no modules"),
    "labels of fewer units": ("modules", {"labels": [0, 1, 2]}, "labels of more units"),
    "infinite score": ("alignment", {"ami": float("inf")}, "a score that is infinite or beyond all reason"),
    "matrix of minus one unit": ("similarity", {"num_units": -4}, "a matrix that is not num_units"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_values_that_no_sweep_has_are_named_with_their_file(sweep, case):
    name, columns, told = BROKEN[case]
    path = spoil(sweep, name, **columns)
    for read in (read_table, scan_table):
        with pytest.raises(ValueError, match=told) as error:
            read(path, name)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def test_numbers_of_networks_that_diverged_are_none_of_those(sweep):
    spoil(sweep, "trials", train_loss=float("inf"), test_loss=float("nan"), test_accuracy=None, l1_norm=1e300)
    spoil(sweep, "modules", q=float("nan"), z=float("inf"))
    spoil(sweep, "history", train_loss=float("inf"))
    opened = mj.open_sweep(sweep.paths.root)
    assert all(opened.table(name).height for name in ("trials", "history", "modules"))


@pytest.mark.parametrize("name", ["history", "modules", "alignment"])
def test_rows_of_trials_that_are_in_no_table_of_trials(sweep, name):
    path = spoil(sweep, name, trial_id="nobody")
    with pytest.raises(ValueError, match=r"1 trials that trials\.parquet lacks") as error:
        mj.open_sweep(sweep.paths.root).table(name)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("gone", ["a matrix", "a unit"])
def test_matrices_that_do_not_go_with_the_modules(sweep, gone):
    path = sweep.paths.similarity_file(0)
    frame = read_table(path, "similarity")
    if gone == "a matrix":
        write_table(path, frame.slice(1))
    else:
        spoil(sweep, "similarity", num_units=3, matrix=[0.0] * 9)
    with pytest.raises(ValueError, match=r"2 rows of modules\.parquet tell of"):
        _ = mj.open_sweep(sweep.paths.root).similarity


def test_layer_without_matrices_is_no_problem(sweep):
    sweep.paths.similarity_file(1).unlink()
    assert mj.open_sweep(sweep.paths.root).similarity["layer"].unique().to_list() == [0]
