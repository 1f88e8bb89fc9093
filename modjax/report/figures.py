"""Figures of a sweep: PNG and SVG, each with a CSV of the points it shows."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from modjax.io.checksums import write_summed
from modjax.report import lost_units
from modjax.report.accuracies import against_accuracy_figure
from modjax.report.alignments import (
    alignment_by_arm_figure,
    alignment_figure,
    null_figure,
    score_agreement_figure,
)
from modjax.report.curves import Drawn, depth_figure, modules_figure, performance_figure
from modjax.report.matched import LIVING
from modjax.report.matrices import example_figure, sorted_matrices_figure
from modjax.report.shown import shown
from modjax.report.style import (
    UNTRAINED_COLOUR,
    arm_looks,
    layer_title,
    long_title,
    ordered_measures,
    records_of,
    strengths,
    use_style,
)
from modjax.store.sweep import Sweep


def draw_figures(sweep: Sweep) -> list[str]:
    """Draw every figure that the sweep's tables allow, and return their names."""
    use_style()
    sweep, names = shown(sweep), []
    with records_of(sweep.paths.tables.catalog):
        for name, draw in FIGURES.items():
            drawn = draw(sweep)
            if drawn is not None:
                _save(sweep, name, *drawn)
                names.append(name)
    return names


def _save(sweep: Sweep, name: str, figure: Figure, points: pl.DataFrame) -> None:
    folder = sweep.paths.figures
    with warnings.catch_warnings():
        # matplotlib warns by the clock: on a busy machine it takes more than a second to place a legend.
        warnings.filterwarnings("ignore", "Creating legend with loc", UserWarning)
        # By the canvases themselves: savefig would draw everything twice, the first time only to find the layout.
        # No dates in the files: the same tables give the same bytes.
        figure.set_dpi(rcParams["savefig.dpi"])
        png, svg = FigureCanvasAgg(figure), FigureCanvasSVG(figure)
        write_summed(folder / f"{name}.png", lambda path: png.print_png(path, metadata={"Software": None}))
        figure.set_layout_engine("none")  # keep the layout: finding it takes about a third of the time
        write_summed(folder / f"{name}.svg", lambda path: svg.print_svg(path, metadata={"Date": None}))
    write_summed(folder / f"{name}.csv", lambda path: points.write_csv(path))


def _panel_points(values: pl.DataFrame, trials: pl.DataFrame) -> pl.DataFrame:
    """Join values with each trial's position on the regularization axis, null for untrained networks."""
    trained = trials.filter((pl.col("status") != "untrained") & ~pl.col("excluded"))
    untrained = trials.filter(pl.col("status") == "untrained").select("trial_id", "arm")
    axis_positions = pl.concat(
        [strengths(trained), untrained.with_columns(setting=pl.lit("untrained"), strength=pl.lit(None, pl.Float64))]
    )
    return values.join(axis_positions, on="trial_id", validate="m:1").join(
        trials.select("trial_id", "seed"), on="trial_id", validate="m:1"
    )


def modularity_points(sweep: Sweep, normalized: bool) -> pl.DataFrame:
    """Return Q as ``trial_id, layer, panel (measure), value (Q), living, arm, setting, strength, seed``."""
    values = sweep.modules.filter((pl.col("normalized") == normalized) & pl.col("q").is_not_nan())
    columns = {"panel": "measure", "value": "q", "living": LIVING}
    return _panel_points(values.select("trial_id", "layer", **columns), sweep.trials)


def arms_figure(sweep: Sweep, normalized: bool) -> Drawn | None:
    """Draw Q against regularization, all arms in one panel."""
    points = modularity_points(sweep, normalized)
    return (draw_panels(points, _modularity_panel_title, "modularity Q"), points) if points.height else None


def accuracy_figure(sweep: Sweep) -> Drawn | None:
    """Draw test accuracy against regularization, all arms in one panel."""
    points = accuracy_points(sweep.trials.filter(~pl.col("status").is_in(["pending", "failed"])))
    return (draw_panels(points, _accuracy_panel_title, "test accuracy"), points) if points.height else None


def accuracy_points(trials: pl.DataFrame) -> pl.DataFrame:
    """Return ``trial_id, layer (0), panel, value (test accuracy), arm, setting, strength, seed`` of trained trials."""
    rows = trials.filter(pl.col("status") != "untrained")
    values = rows.select("trial_id", layer=pl.lit(0), panel=pl.lit("accuracy"), value="test_accuracy")
    return _panel_points(values, trials)


def _modularity_panel_title(panel: str, layer: int) -> str:
    return f"{long_title(panel)}, {layer_title(layer)}"


def _accuracy_panel_title(panel: str, layer: int) -> str:
    del panel, layer
    return "accuracy against regularization"


def draw_panels(points: pl.DataFrame, title: Callable[[str, int], str], ylabel: str) -> Figure:
    """Draw one panel per layer (row) and measure (column): a line per arm, seeds as points, untrained as a band."""
    layers = points["layer"].unique().sort().to_list()
    panels = ordered_measures(points["panel"]) or points["panel"].unique().to_list()
    arms = points.filter(pl.col("strength").is_not_null())["arm"].unique().sort().to_list()
    looks = arm_looks(arms)
    figure = Figure(figsize=(2.6 * max(len(panels), 1.6) + 1.6, 2.2 * len(layers) + 1.1), layout="constrained")
    axes = figure.subplots(len(layers), len(panels), sharex=True, sharey="row", squeeze=False)
    any_lost = False
    for row, layer in enumerate(layers):
        for column, panel in enumerate(panels):
            axis = axes[row][column]
            here = points.filter((pl.col("layer") == layer) & (pl.col("panel") == panel))
            _draw_band(axis, here.filter(pl.col("strength").is_null())["value"].to_numpy())
            for arm in arms:
                _draw_arm(axis, here.filter(pl.col("arm") == arm), *looks[arm])
            if "living" in points.columns:
                trained = here.filter(pl.col("strength").is_not_null())
                means = trained.group_by("arm", "strength").agg(pl.col("value", "living").mean())
                lost_units.cross_out(axis, means, "strength", "value")
                any_lost |= lost_units.has_lost_units(means)
            axis.set_title(title(panel, layer))
            if column == 0:
                axis.set_ylabel(ylabel)
    # Arms share the axis by rank, not by value, so only its ends can be labelled.
    for axis in axes[-1]:
        axis.set_xticks([0, 1], ["weakest", "strongest"])
        for label, side in zip(axis.get_xticklabels(), ("left", "right"), strict=True):
            label.set_horizontalalignment(side)
        axis.set_xlabel("regularization within its arm")
    handles, labels = _legend(points, arms, looks)
    if any_lost:
        handles.append(lost_units.handle())
        labels.append(lost_units.LABEL)
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=2,
        title="mean over seeds, bars: standard error",
        title_fontsize=9,
    )
    return figure


def _draw_band(axis: Axes, values: np.ndarray) -> None:
    """Draw the mean of untrained networks, plus and minus two standard deviations, as a band."""
    if len(values):
        mean, spread = values.mean(), 2 * values.std(ddof=1) if len(values) > 1 else 0.0
        axis.axhspan(mean - spread, mean + spread, color=UNTRAINED_COLOUR, alpha=0.2, lw=0)
        axis.axhline(mean, color=UNTRAINED_COLOUR, lw=1, ls=":")


def _draw_arm(axis: Axes, rows: pl.DataFrame, colour: str, marker: str) -> None:
    """Draw seeds as points, and the mean over seeds with its standard error."""
    if not rows.height:
        return
    summary = (
        rows.group_by("strength")
        .agg(mean=pl.col("value").mean(), sem=pl.col("value").std() / pl.len().sqrt())
        .sort("strength")
        .with_columns(pl.col("sem").fill_null(0.0))
    )
    axis.scatter(rows["strength"], rows["value"], s=7, color=colour, alpha=0.35, lw=0)
    axis.errorbar(
        summary["strength"], summary["mean"], yerr=summary["sem"], color=colour, marker=marker, ms=4, lw=1.2, capsize=2
    )


def _without_shared_name(first: str, last: str) -> str:
    """Shorten ``dropout 0.7`` to ``0.7`` if it follows ``dropout 0``."""
    name, _, value = last.rpartition(" ")
    return value if first.rpartition(" ")[0] == name else last


def _legend(points: pl.DataFrame, arms: list[str], looks: dict[str, tuple[str, str]]) -> tuple[list[Any], list[str]]:
    handles: list[Any] = []
    labels = []
    for arm in arms:
        rows = points.filter(pl.col("arm") == arm).sort("strength")
        first, last = rows["setting"][0], rows["setting"][-1]
        colour, marker = looks[arm]
        handles.append(Line2D([], [], color=colour, marker=marker, ms=4, lw=1.2))
        span = first if last == first else f"{first} to {_without_shared_name(first, last)}"
        labels.append(f"{span} (arm {arm})")
    if points["strength"].null_count():
        handles.append(Patch(color=UNTRAINED_COLOUR, alpha=0.3))
        labels.append("untrained: mean, 2 sd")
    return handles, labels


FIGURES: dict[str, Callable[[Sweep], Drawn | None]] = {
    "accuracy": accuracy_figure,
    "performance": performance_figure,
    "modularity_normalized": partial(arms_figure, normalized=True),
    "modularity_raw": partial(arms_figure, normalized=False),
    "q_normalized": partial(modules_figure, column="q", normalized=True),
    "q_raw": partial(modules_figure, column="q", normalized=False),
    "excess_q_normalized": partial(modules_figure, column="excess_q", normalized=True),
    "excess_q_raw": partial(modules_figure, column="excess_q", normalized=False),
    "q_against_accuracy": partial(against_accuracy_figure, column="q"),
    "excess_q_against_accuracy": partial(against_accuracy_figure, column="excess_q"),
    "effective_modules_normalized": partial(modules_figure, column="effective_modules", normalized=True),
    "effective_modules_raw": partial(modules_figure, column="effective_modules", normalized=False),
    "q_by_layer": depth_figure,
    "nulls": null_figure,
    "alignment": alignment_figure,
    "alignment_by_arm": alignment_by_arm_figure,
    "score_agreement": score_agreement_figure,
    "example_matrix": example_figure,
    "matrices_by_module": sorted_matrices_figure,
}
