"""More arms than there are colours."""

import shutil

import polars as pl
import pytest

import modjax as mj
from tests.seams import ARM_COLOURS, FIGURES, draw_few_figures, draw_figures, merge, read_table, write_page, write_table

NUM_ARMS = 9
TABLES = ("trials", "history", "modules", "alignment")


def copies(frame, trained):
    """The rows of trained trials, once for each arm, under other ids."""
    rows = frame.filter(pl.col("trial_id").is_in(trained))
    for number in range(NUM_ARMS):
        copy = rows.with_columns(trial_id=pl.lit(f"{number:x}") + pl.col("trial_id").str.slice(1))
        if "arm" in copy.columns:  # settings of its own, so that no two trials are one
            copy = copy.with_columns(arm=pl.lit(f"arm_{number}"), l2=pl.col("l2") + 1.1e-4 * number)
        yield copy


@pytest.fixture
def many(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.paths.root, out)
    arms = finished.trials.filter(pl.col("arm") == "dropout")["trial_id"].to_list()
    files = {out / f"{name}.parquet": name for name in TABLES}
    files |= dict.fromkeys((out / "similarity").glob("*.parquet"), "similarity")
    for path, name in files.items():
        frame = read_table(path, name)
        write_table(path, merge(name, [frame.filter(~pl.col("trial_id").is_in(arms)), *copies(frame, arms)]))
    return mj.open_sweep(out)


@pytest.mark.parametrize(
    "names", [("accuracy", "q_by_layer"), pytest.param(tuple(FIGURES), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_every_arm_has_a_look_in_figures_and_on_the_page(many, monkeypatch, names):
    assert many.trials["arm"].n_unique() > len(ARM_COLOURS)
    draw_few_figures(monkeypatch, names)
    assert draw_figures(many) == list(names)
    write_page(many)
    assert "arm_8" in many.paths.report.read_text()
    points = pl.read_csv(many.paths.figures / "q_by_layer.csv")
    assert points["arm"].n_unique() >= NUM_ARMS
