"""Q against test accuracy: what each arm pays for its modules."""

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from modjax.report import lost_units
from modjax.report.curves import Drawn
from modjax.report.matched import LIVING
from modjax.report.style import arm_looks, layer_title, long_title, ordered_measures, strengths
from modjax.store.sweep import Sweep

COLUMN_TITLES = {"q": "modularity Q", "excess_q": "excess Q"}


def against_accuracy_figure(sweep: Sweep, column: str) -> Drawn | None:
    """Draw Q (or excess Q) against test accuracy: a panel per layer and measure, a point per setting, a line per arm.

    Normalized matrices; mean over seeds, excluded trials left out. Settings are joined from weakest to strongest, and
    crossed out where more than half of the units are dead. None without accuracies, nulls or two settings.
    """
    trials = sweep.trials.filter(~pl.col("status").is_in(["pending", "failed", "untrained"]) & ~pl.col("excluded"))
    if "test_accuracy" not in trials.columns or not trials["test_accuracy"].drop_nulls().len():
        return None
    modules = sweep.modules.filter(pl.col("normalized") & pl.col("q").is_not_nan() & pl.col(column).is_not_null())
    points = (
        modules.select("trial_id", "layer", "measure", value=column, living=LIVING)
        .join(strengths(trials), on="trial_id")
        .join(trials.select("trial_id", "test_accuracy"), on="trial_id")
        .group_by("layer", "measure", "arm", "setting", "strength")
        .agg(pl.col("value", "test_accuracy", "living").mean(), num_trials=pl.len())
        .sort("layer", "measure", "arm", "strength")
    )
    if points.select("arm", "setting").unique().height < 2:
        return None
    layers, measures = points["layer"].unique().sort().to_list(), ordered_measures(points["measure"])
    arms = points["arm"].unique().sort().to_list()
    looks = arm_looks(arms)
    figure = Figure(figsize=(2.5 * len(measures) + 0.9, 2.3 * len(layers) + 0.9), layout="constrained")
    axes = figure.subplots(len(layers), len(measures), sharex=True, sharey="row", squeeze=False)
    for row, layer in enumerate(layers):
        for axis, measure in zip(axes[row], measures, strict=True):
            here = points.filter(layer=layer, measure=measure)
            for arm in arms:
                line = here.filter(arm=arm)
                colour, marker = looks[arm]
                axis.plot(line["test_accuracy"], line["value"], color=colour, marker=marker, ms=3.5, lw=1.0)
            lost_units.cross_out(axis, here, "test_accuracy", "value")
            if row == 0:
                axis.set_title(long_title(measure))
            if row == len(layers) - 1:
                axis.set_xlabel("test accuracy")
        axes[row][0].set_ylabel(f"{COLUMN_TITLES[column]}\n{layer_title(layer)}")
    handles = [Line2D([], [], color=looks[arm][0], marker=looks[arm][1], ms=4, lw=1.2) for arm in arms]
    labels = [f"arm {arm}, weakest to strongest" for arm in arms]
    if lost_units.has_lost_units(points):
        handles.append(lost_units.handle())
        labels.append(lost_units.LABEL)
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7)
    figure.suptitle(f"{COLUMN_TITLES[column]} against test accuracy, normalized matrices: mean over seeds", fontsize=9)
    return figure, points
