"""Curves of performance, norms, Q and modules against the hyperparameter that each arm varies, as in the paper."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from modjax.report import lost_units
from modjax.report.matched import LIVING
from modjax.report.style import (
    ARM_COLOURS,
    ARM_MARKERS,
    UNTRAINED_COLOUR,
    arm_looks,
    hyperparameter_of,
    layer_title,
    long_title,
    look_of_measure,
    ordered_measures,
    varied_by_arm,
)
from modjax.store.sweep import Sweep

Drawn = tuple[Figure, pl.DataFrame]
PANELS = {
    "accuracy": ("train_accuracy", "val_accuracy", "test_accuracy"),
    "cross-entropy": ("train_loss", "val_loss", "test_loss"),
    "sum |W|": ("l1_norm",),
    "sum W^2": ("l2_norm",),
    "nuclear norm": ("nuclear_norm",),
    "share of |W| < 1e-3": ("sparsity",),
}
MODULE_COLUMNS = {
    "q": "modularity Q",
    "excess_q": "excess Q",
    "effective_modules": "effective modules",
    "effective_modules_strength": "effective modules, by strength",
}


def performance_figure(sweep: Sweep) -> Drawn | None:
    """Draw accuracy, loss and weight norms (rows) against what each arm varies (columns); excluded trials hollow."""
    trials = sweep.trials.filter(~pl.col("status").is_in(["pending", "failed", "untrained"]))
    varied = varied_by_arm(trials)
    if not varied:
        return None
    columns = [column for names in PANELS.values() for column in names]
    points = _arm_points(trials, varied).join(trials.select("trial_id", "excluded", *columns), on="trial_id")
    figure = Figure(figsize=(2.7 * len(varied) + 0.9, 1.75 * len(PANELS) + 0.5), layout="constrained")
    axes = figure.subplots(len(PANELS), len(varied), sharex="col", sharey="row", squeeze=False)
    for row, (title, names) in enumerate(PANELS.items()):
        for column, (arm, varying) in enumerate(varied.items()):
            axis = axes[row][column]
            for index, name in enumerate(names):
                here = points.filter(pl.col("arm") == arm).select("value_of_arm", "excluded", value=name)
                # Train, validation and test lines share the palette of the arms, without its first colour.
                look = (ARM_COLOURS[index + 1], ARM_MARKERS[index], "-")
                _draw_line(axis, here, look, name.split("_")[0] if len(names) > 1 else None)
            _label(axis, arm, varying, is_top=row == 0, is_bottom=row == len(PANELS) - 1)
        axes[row][0].set_ylabel(title)
        if axes[row][0].get_legend_handles_labels()[0]:
            axes[row][0].legend(fontsize=7)
    return figure, points


def modules_figure(sweep: Sweep, column: str, normalized: bool) -> Drawn | None:
    """Draw Q or effective modules: one row per layer, column per arm, line per measure; untrained networks as bands."""
    trials = sweep.trials.filter(~pl.col("status").is_in(["pending", "failed"]))
    varied = varied_by_arm(trials)
    modules = sweep.modules.filter((pl.col("normalized") == normalized) & pl.col("q").is_not_nan())
    modules = modules.filter(pl.col(column).is_not_null())
    if not varied or not modules.height:
        return None
    values = modules.select("trial_id", "layer", "measure", value=column, living=LIVING)
    excluded = trials.select("trial_id", "excluded")
    points = _arm_points(trials, varied).join(values, on="trial_id").join(excluded, on="trial_id")
    untrained = values.join(trials.filter(pl.col("status") == "untrained").select("trial_id", "arm"), on="trial_id")
    if not points.height:
        return None
    layers, measures = points["layer"].unique().sort().to_list(), ordered_measures(points["measure"])
    figure = Figure(figsize=(2.7 * len(varied) + 0.9, 2.3 * len(layers) + 0.9), layout="constrained")
    axes = figure.subplots(len(layers), len(varied), sharex="col", sharey="row", squeeze=False)
    any_lost = False
    for row, layer in enumerate(layers):
        for arm_index, (arm, varying) in enumerate(varied.items()):
            axis = axes[row][arm_index]
            for measure in measures:
                is_here = (pl.col("layer") == layer) & (pl.col("measure") == measure)
                _draw_band(axis, untrained.filter(is_here)["value"].to_numpy(), look_of_measure(measure).colour)
                here = points.filter(is_here & (pl.col("arm") == arm))
                _draw_line(axis, here, look_of_measure(measure), None)
                means = here.filter(~pl.col("excluded")).group_by("value_of_arm").agg(pl.col("value", "living").mean())
                lost_units.cross_out(axis, means, "value_of_arm", "value")
                any_lost |= lost_units.has_lost_units(means)
            _label(axis, arm, varying, is_top=row == 0, is_bottom=row == len(layers) - 1)
        axes[row][0].set_ylabel(f"{MODULE_COLUMNS[column]}\n{layer_title(layer)}")
    _measure_legend(figure, measures, bool(untrained.height), any_lost)
    kind = "normalized" if normalized else "raw"
    figure.suptitle(f"{MODULE_COLUMNS[column]}, {kind} matrices: mean over seeds, bars: standard error", fontsize=9)
    # Untrained networks have no value on an arm's axis: those columns are null in the CSV.
    return figure, pl.concat([points, untrained], how="diagonal")


def depth_figure(sweep: Sweep) -> Drawn | None:
    """Draw normalized Q by layer: a panel per measure, lines for the weakest and strongest setting of each arm."""
    trials = sweep.trials.filter(~pl.col("status").is_in(["pending", "failed"]) & ~pl.col("excluded"))
    modules = sweep.modules.filter(pl.col("normalized") & pl.col("q").is_not_nan() & (pl.col("layer") >= 0))
    if modules["layer"].n_unique() < 2:
        return None
    varied, settings = varied_by_arm(trials), []
    for arm, varying in varied.items():
        rows = trials.filter(pl.col("arm") == arm)
        for value, name in ((rows[varying].min(), "weakest"), (rows[varying].max(), "strongest")):
            label = f"{arm}: {name}, {varying} {value:.3g}"
            settings.append(rows.filter(pl.col(varying) == value).select("trial_id", "arm", setting=pl.lit(label)))
    untrained = trials.filter(pl.col("status") == "untrained")
    settings.append(untrained.select("trial_id", "arm", setting=pl.lit("untrained")))
    points = pl.concat(settings).join(modules.select("trial_id", "layer", "measure", "q"), on="trial_id")
    measures = ordered_measures(points["measure"])
    if not measures:
        return None
    figure = Figure(figsize=(2.5 * len(measures) + 0.8, 3.3), layout="constrained")
    axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    names = points["setting"].unique().sort().to_list()
    looks = arm_looks(list(varied)) | {"untrained": (UNTRAINED_COLOUR, ARM_MARKERS[-1])}
    for axis, measure in zip(axes, measures, strict=True):
        for name in names:
            # Names are "arm: weakest, ..." or "untrained"; colour is by arm, line style by strength.
            colour, marker = looks[name.rpartition(": ")[0] or name]
            style = ":" if "weakest" in name else "-"
            here = points.filter((pl.col("setting") == name) & (pl.col("measure") == measure))
            rows = _mean_and_error(here.select("q", "layer"), "layer", "q")
            axis.errorbar(*rows, color=colour, ls=style, marker=marker, ms=4, lw=1.2, label=name)
        axis.set_title(long_title(measure))
        axis.set_xlabel("layer")
        axis.set_xticks(sorted(points["layer"].unique().to_list()))
    axes[0].set_ylabel("modularity Q (normalized)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7)
    return figure, points


def _arm_points(trials: pl.DataFrame, varied: dict[str, str]) -> pl.DataFrame:
    """Return ``trial_id, arm, seed, varies, value_of_arm`` of trials of arms that vary one hyperparameter."""
    return pl.concat(
        [
            trials.filter((pl.col("arm") == arm) & (pl.col("status") != "untrained")).select(
                "trial_id", "arm", "seed", varies=pl.lit(varying), value_of_arm=pl.col(varying).cast(pl.Float64)
            )
            for arm, varying in varied.items()
        ]
    )


def _mean_and_error(points: pl.DataFrame, by: str, value: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = points.group_by(by).agg(mean=pl.col(value).mean(), sem=pl.col(value).std() / pl.len().sqrt()).sort(by)
    return rows[by].to_numpy(), rows["mean"].to_numpy(), rows["sem"].fill_null(0.0).to_numpy()


def _draw_line(axis: Axes, points: pl.DataFrame, look: tuple[str, str, str], label: str | None) -> None:
    """Draw the mean over kept trials with its standard error, and excluded trials as hollow points."""
    colour, marker, style = look
    kept, out = points.filter(~pl.col("excluded")), points.filter(pl.col("excluded"))
    if kept.height:
        x, mean, error = _mean_and_error(kept, "value_of_arm", "value")
        axis.errorbar(
            x, mean, yerr=error, color=colour, marker=marker, ls=style, ms=3.5, lw=1.2, capsize=2, label=label
        )
    if out.height:
        axis.scatter(out["value_of_arm"], out["value"], s=9, facecolors="none", edgecolors=colour, lw=0.7)


def _draw_band(axis: Axes, values: np.ndarray, colour: str) -> None:
    """Draw the mean of untrained networks, plus and minus one standard deviation, as a band."""
    if len(values):
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        axis.axhspan(values.mean() - spread, values.mean() + spread, color=colour, alpha=0.13, lw=0)


def _label(axis: Axes, arm: str, varying: str, is_top: bool, is_bottom: bool) -> None:
    info = hyperparameter_of(varying)
    if info.scale == "log":
        axis.set_xscale("log")
    if is_top:
        axis.set_title(f"arm {arm}")
    if is_bottom:
        axis.set_xlabel(info.title)


def _measure_legend(figure: Figure, measures: list[str], has_untrained: bool, any_lost: bool = False) -> None:
    handles: list[Line2D | Patch] = []
    labels = []
    for measure in measures:
        colour, marker, style = look_of_measure(measure)
        handles.append(Line2D([], [], color=colour, marker=marker, ls=style, ms=4, lw=1.2))
        labels.append(long_title(measure).replace("\n", " "))
    if has_untrained:
        handles.append(Patch(color=UNTRAINED_COLOUR, alpha=0.2))
        labels.append("untrained: mean, 1 sd, in the measure's colour")
    if any_lost:
        handles.append(lost_units.handle())
        labels.append(lost_units.LABEL)
    ncols = 3 if figure.get_figwidth() > 8 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, fontsize=7)
