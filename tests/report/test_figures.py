import itertools
import shutil

import numpy as np
import polars as pl
import pytest

import modjax as mj
from modjax import MEASURES
from modjax.report import alignments, curves, figures, matrices
from modjax.report.accuracies import against_accuracy_figure
from modjax.report.lost_units import CROSSES
from modjax.report.style import varied_by_arm
from tests.report.tables import module_rows, paper_trials, write_sweep
from tests.seams import FIGURES, SCHEMAS, draw_figures, write_table

SIDES = ["measure_a", "normalized_a", "measure_b", "normalized_b"]


@pytest.fixture
def sweep(finished, tmp_path):
    """A copy of the tiny sweep whose figures may be drawn again."""
    shutil.copytree(finished.paths.root, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "figures")
    return mj.open_sweep(tmp_path / "out")


def rewrite(sweep, **frames):
    for name, frame in frames.items():
        write_table(sweep.paths.table(name), frame)
    return mj.open_sweep(sweep.paths.root)


def test_every_figure_of_a_sweep_has_its_files_and_its_points(finished):
    for name in FIGURES:
        for ending in ("png", "svg", "csv"):
            assert (finished.paths.figures / f"{name}.{ending}").stat().st_size > 0
        assert pl.read_csv(finished.paths.figures / f"{name}.csv").height > 0


def test_same_tables_same_bytes(sweep, finished, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {name: FIGURES[name] for name in ("alignment", "q_raw")})
    for name in draw_figures(sweep):
        for ending in ("png", "svg", "csv"):
            file = f"{name}.{ending}"
            assert (sweep.paths.figures / file).read_bytes() == (finished.paths.figures / file).read_bytes()


def test_an_arm_is_drawn_on_the_axis_of_what_it_varies(finished):
    assert varied_by_arm(finished.trials) == {"dropout": "dropout"}  # the other arm has a single setting


def test_points_of_curves_are_those_of_the_tables(finished):
    _, points = curves.modules_figure(finished, "effective_modules", normalized=True)
    trained = points.filter(pl.col("varies").is_not_null())
    joined = trained.join(finished.modules.filter(pl.col("normalized")), on=["trial_id", "layer", "measure"])
    assert joined.height == trained.height == 4 * 3 * 4
    assert joined["value"].to_list() == joined["effective_modules"].to_list()
    assert set(trained["value_of_arm"]) == {0.0, 0.5}


@pytest.mark.parametrize(
    "draw",
    [
        lambda sweep: figures.arms_figure(sweep, normalized=True),
        lambda sweep: curves.modules_figure(sweep, "q", normalized=True),
        lambda sweep: against_accuracy_figure(sweep, "q"),
    ],
    ids=["arms", "modules", "accuracy"],
)
@pytest.mark.parametrize("is_lost", [False, True])
def test_settings_that_lost_their_units_are_crossed_out(tmp_path, draw, is_lost):
    trials = paper_trials(untrained=0)
    rows = module_rows(trials, lambda one, *graph: 0.1 + 0.5 * one["dropout"])
    lost = {one["trial_id"] for one in trials if one["dropout"] == 0.6 and is_lost}
    for row in rows:
        row["labels"], row["num_dead"] = [0] * 10, 8 if row["trial_id"] in lost else 1
    figure, points = draw(write_sweep(tmp_path, trials, rows))
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert ("more than half of the units dead" in labels) == is_lost
    crosses = [mark for axis in figure.axes for mark in axis.collections if mark.get_zorder() == CROSSES]
    assert bool(crosses) == is_lost
    # A setting of dropout, once in each graph: Q there is 0.1 + 0.5 * 0.6.
    heights = np.concatenate([mark.get_offsets()[:, 1] for mark in crosses]) if crosses else np.empty(0)
    np.testing.assert_allclose(heights, np.full(8 * is_lost, 0.4))
    assert points["living"].min() == pytest.approx(0.2 if is_lost else 0.9)


@pytest.fixture
def kept(sweep):
    """The tiny networks learn too little to be kept: as if they had learnt."""
    return rewrite(sweep, trials=sweep.trials.with_columns(excluded=pl.lit(False)))


def test_alignment_is_the_mean_over_trials(kept):
    trials = kept.trials
    _, points = alignments.alignment_figure(kept)
    row = points.filter(pl.col("group") == "trained").row(5, named=True)
    same = pl.all_horizontal(pl.col(name) == row[name] for name in ("layer", *SIDES))
    trained = trials.filter(pl.col("status") != "untrained")["trial_id"].implode()
    values = kept.alignment.filter(same & pl.col("trial_id").is_in(trained))["element_centric"]
    assert row["value"] == pytest.approx(values.drop_nans().mean())
    assert row["num_trials"] == values.drop_nans().len()


def test_scores_agree_with_themselves(kept):
    _, points = alignments.score_agreement_figure(kept)
    own = points.filter(pl.col("score_a") == pl.col("score_b"))["spearman"].drop_nans()
    np.testing.assert_allclose(own, 1)
    both = points.join(points, left_on=["score_a", "score_b"], right_on=["score_b", "score_a"])
    np.testing.assert_allclose(both["spearman"], both["spearman_right"])


def test_matrices_are_sorted_by_the_modules_of_each(kept):
    own = matrices.sorted_matrices_figure(kept)[1].filter(pl.col("sorted_by") == pl.col("measure"))
    assert own.height == len(MEASURES)


def test_a_sweep_without_measures_or_trials_has_fewer_figures(sweep):
    empty = {name: pl.DataFrame(schema=SCHEMAS[name]) for name in ("modules", "alignment")}
    assert set(draw_figures(rewrite(sweep, **empty))) == {"accuracy", "performance"}
    pending = sweep.trials.with_columns(status=pl.lit("pending"))
    assert draw_figures(rewrite(sweep, trials=pending)) == []


def test_excluded_and_nan_are_drawn_around(sweep):
    excluded = sweep.trials.with_columns(excluded=pl.col("status") != "untrained")
    dead = sweep.modules.with_columns(q=pl.lit(float("nan")), z=pl.lit(None, pl.Float64))
    names = draw_figures(rewrite(sweep, trials=excluded, modules=dead))
    assert "performance" in names
    assert "q_normalized" not in names


def test_tables_without_matrices_can_be_drawn(kept):
    shutil.rmtree(kept.paths.similarity)
    without = mj.open_sweep(kept.paths.root)
    assert matrices.example_figure(without) is None
    assert matrices.sorted_matrices_figure(without) is None
    assert alignments.alignment_figure(without) is not None


def test_a_sweep_whose_trials_all_diverged_has_the_figures_of_what_is_left(sweep):
    diverged = sweep.trials.filter(pl.col("status") != "untrained").with_columns(
        status=pl.lit("diverged"), excluded=pl.lit(True), test_accuracy=pl.lit(float("nan"))
    )
    gone = {name: pl.DataFrame(schema=SCHEMAS[name]) for name in ("alignment",)}
    modules = sweep.modules.join(diverged, on="trial_id", how="semi").with_columns(
        q=pl.lit(float("nan")), z=pl.lit(None, pl.Float64)
    )
    assert "performance" in draw_figures(rewrite(sweep, trials=diverged, modules=modules, **gone))


def test_a_busy_machine_is_no_warning(sweep, monkeypatch):
    from matplotlib import legend

    clock = itertools.count(step=100.0)  # matplotlib warns where the best place for a legend took it a second
    monkeypatch.setattr(legend.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(figures, "FIGURES", {name: FIGURES[name] for name in ("nulls", "performance")})
    assert draw_figures(sweep) == ["nulls", "performance"]
