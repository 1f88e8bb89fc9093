"""Figures of how well measures agree about the modules, of the agreement between scores, and of the null models."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modjax.names import MEASURES, UPSTREAM
from modjax.report.curves import Drawn
from modjax.report.style import (
    UNTRAINED_COLOUR,
    graph_title,
    layer_title,
    look_of_measure,
    measure_title,
    ordered_measures,
    varied_by_arm,
)
from modjax.store.sweep import Sweep

STRENGTHS = 4
COMPARED_SCORES = ("element_centric", "ami", "ari", "rmi", "vi_normalized", "overlap_optimal", "spearman")
TRAINED = ~pl.col("status").is_in(["untrained", "pending", "failed"]) & ~pl.col("excluded")
NULL_BINS = 30


def alignment_figure(sweep: Sweep) -> Drawn | None:
    """Draw the mean element-centric similarity of all pairs: one row per layer; trained, untrained, difference."""
    groups = {"trained": TRAINED, "untrained": pl.col("status") == "untrained"}
    points = _mean_scores(sweep, {name: sweep.trials.filter(rows) for name, rows in groups.items()})
    if not points.height:
        return None
    group_names = [name for name in groups if name in points["group"]]
    panels = [*group_names, "difference"] if len(group_names) == 2 else group_names
    layers = points["layer"].unique().sort().to_list()
    names = _graphs(points)
    figure = Figure(figsize=(3.1 * len(panels) + 0.9, 2.9 * len(layers) + 0.3), layout="constrained")
    axes = figure.subplots(len(layers), len(panels), squeeze=False)
    for row, layer in enumerate(layers):
        values = {name: _matrix(points, name, layer, names) for name in group_names}
        for column, panel in enumerate(panels):
            is_difference = panel == "difference"
            matrix = values["trained"] - values["untrained"] if is_difference else values[panel]
            _draw_matrix(axes[row][column], matrix, names, is_difference)
            number = "" if is_difference else f" (n = {_most_trials(points, panel, layer)})"
            axes[row][column].set_title(f"{panel}, {layer_title(layer)}{number}")
    figure.suptitle("element-centric similarity of modules; upstream measures above and left of the lines", fontsize=9)
    return figure, points


def alignment_by_arm_figure(sweep: Sweep) -> Drawn | None:
    """Draw the similarity of the first layer at four strengths of each arm (row), weakest strength first."""
    varied = varied_by_arm(sweep.trials.filter(TRAINED))
    layers = sweep.alignment["layer"].unique().sort().to_list()
    if not varied or not layers:
        return None
    # Negative layers stand for all layers together: shown only where a sweep has nothing else.
    layer = next((index for index in layers if index >= 0), layers[0])
    groups, titles = {}, {}
    for arm, varying in varied.items():
        rows = sweep.trials.filter(TRAINED & (pl.col("arm") == arm))
        values = rows[varying].unique().sort().to_list()
        # Evenly spread over the strengths that were run; an arm with fewer than four shows each of them once.
        positions = sorted({round(point) for point in np.linspace(0, len(values) - 1, STRENGTHS)})
        for column, position in enumerate(positions):
            titles[arm, column] = f"{arm}: {varying} {values[position]:.3g}"
            groups[titles[arm, column]] = rows.filter(pl.col(varying) == values[position])
    points = _mean_scores(sweep, groups).filter(pl.col("layer") == layer)
    if not points.height:
        return None
    names = _graphs(points)
    figure = Figure(figsize=(2.4 * STRENGTHS + 0.6, 2.5 * len(varied) + 0.3), layout="constrained")
    axes = figure.subplots(len(varied), STRENGTHS, squeeze=False)
    for row, arm in enumerate(varied):
        for column in range(STRENGTHS):
            axis = axes[row][column]
            if (arm, column) not in titles:
                axis.axis("off")
                continue
            title = titles[arm, column]
            _draw_matrix(axis, _matrix(points, title, layer, names), names, is_difference=False, is_small=True)
            axis.set_title(title, fontsize=8)
    figure.suptitle(f"element-centric similarity of modules, {layer_title(layer)}, mean over seeds", fontsize=9)
    return figure, points


def score_agreement_figure(sweep: Sweep) -> Drawn | None:
    """Draw the Spearman correlation of the alignment scores over all pairs of different graphs of trained trials."""
    kept = sweep.trials.filter(TRAINED).select("trial_id")
    is_other = (pl.col("measure_a") != pl.col("measure_b")) | (pl.col("normalized_a") != pl.col("normalized_b"))
    rows = sweep.alignment.join(kept, on="trial_id").filter(is_other).select(COMPARED_SCORES)
    rows = rows.filter(pl.all_horizontal(pl.all().is_not_nan() & pl.all().is_not_null()))
    if rows.height < 3:
        return None
    ranks = rows.select(pl.all().rank()).to_numpy()
    # A constant score has no correlation: its cells stay NaN, and numpy has nothing to warn about.
    spreads = ranks.std(0) > 0
    correlation = np.full((len(COMPARED_SCORES),) * 2, np.nan)
    correlation[np.ix_(spreads, spreads)] = np.atleast_2d(np.corrcoef(ranks[:, spreads].T))
    names = [name.replace("_", " ") for name in COMPARED_SCORES]
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axis = figure.subplots()
    _draw_cells(axis, correlation, names, -1.0, 1.0, "RdBu_r", 7.0)
    axis.set_title(f"rank correlation of scores, {rows.height:,} pairs of graphs")
    first, second = np.indices(correlation.shape)
    points = pl.DataFrame(
        {
            "score_a": [COMPARED_SCORES[i] for i in first.ravel()],
            "score_b": [COMPARED_SCORES[i] for i in second.ravel()],
            "spearman": correlation.ravel(),
            "num_pairs": rows.height,
        }
    )
    return figure, points


def null_figure(sweep: Sweep) -> Drawn | None:
    """Draw histograms of z = (Q - mean of the null) / sd over all layers: a panel per measure; trained, untrained."""
    rows = sweep.modules.filter(pl.col("z").is_finite())
    groups = {"untrained": pl.col("status") == "untrained", "trained": TRAINED}
    frames = [
        sweep.trials.filter(is_in).select("trial_id", group=pl.lit(name)).join(rows, on="trial_id")
        for name, is_in in groups.items()
    ]
    points = pl.concat(frames).select("trial_id", "group", "layer", "measure", "normalized", "q", "null_mean", "z")
    if not points.height:
        return None
    measures = ordered_measures(points["measure"])
    figure = Figure(figsize=(2.5 * len(measures) + 0.6, 4.2), layout="constrained")
    axes = figure.subplots(2, len(measures), squeeze=False)
    for row, normalized in enumerate((False, True)):
        for column, measure in enumerate(measures):
            here = points.filter((pl.col("normalized") == normalized) & (pl.col("measure") == measure))
            axis = axes[row][column]
            # Both groups share their bins, and weights that sum to 1 make groups of different size comparable.
            edges = np.histogram_bin_edges(here["z"].to_numpy(), NULL_BINS) if here.height else NULL_BINS
            for group, colour in (("untrained", UNTRAINED_COLOUR), ("trained", look_of_measure(measure).colour)):
                z = here.filter(pl.col("group") == group)["z"].to_numpy()
                weights = np.full(len(z), 1 / max(1, len(z)))
                axis.hist(z, bins=edges, weights=weights, color=colour, alpha=0.6, label=group)  # pyright: ignore[reportArgumentType]
            axis.axvline(0, color="k", lw=0.8)
            axis.set_title(measure_title(measure) + (", normalized" if normalized else ", raw"))
            axis.legend(fontsize=6)
            if row == 1:
                axis.set_xlabel("z of Q against its null")
        axes[row][0].set_ylabel("share of networks")
    return figure, points


def _mean_scores(sweep: Sweep, groups: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Mean scores: ``group, layer, measure_a, normalized_a, measure_b, normalized_b, value, num_trials``."""
    by = ["layer", "measure_a", "normalized_a", "measure_b", "normalized_b"]
    rows = sweep.alignment.filter(pl.col("element_centric").is_not_nan())
    return pl.concat(
        [
            rows.join(trials.select("trial_id"), on="trial_id")
            .group_by(by)
            .agg(value=pl.col("element_centric").mean(), num_trials=pl.len())
            .sort(by)
            .select(pl.lit(name).alias("group"), pl.all())
            for name, trials in groups.items()
        ]
    )


def _graphs(points: pl.DataFrame) -> list[tuple[str, bool]]:
    """Graphs of a table of pairs, upstream first, raw before normalized."""
    graphs = set(points.select("measure_a", "normalized_a").rows()) | set(
        points.select("measure_b", "normalized_b").rows()
    )
    return sorted(
        graphs, key=lambda graph: (MEASURES.index(graph[0]) if graph[0] in MEASURES else len(MEASURES), *graph)
    )


def _matrix(points: pl.DataFrame, group: str, layer: int, names: list[tuple[str, bool]]) -> np.ndarray:
    # The table holds each pair once, the matrix both ways round.
    values = np.full((len(names), len(names)), np.nan)
    for row in points.filter((pl.col("group") == group) & (pl.col("layer") == layer)).iter_rows(named=True):
        i = names.index((row["measure_a"], row["normalized_a"]))
        j = names.index((row["measure_b"], row["normalized_b"]))
        values[i, j] = values[j, i] = row["value"]
    return values


def _most_trials(points: pl.DataFrame, group: str, layer: int) -> int:
    rows = points.filter((pl.col("group") == group) & (pl.col("layer") == layer))["num_trials"]
    return int(rows.sum() and rows.to_numpy().max())


def _draw_matrix(
    axis: Axes, values: np.ndarray, names: list[tuple[str, bool]], is_difference: bool, is_small: bool = False
) -> None:
    low, high, colours = (-0.5, 0.5, "RdBu_r") if is_difference else (0.0, 1.0, "viridis")
    titles = [graph_title(*graph) for graph in names]
    _draw_cells(axis, values, titles, low, high, colours, 5.0 if is_small else 5.5)
    num_upstream = sum(measure in UPSTREAM for measure, _ in names)
    if 0 < num_upstream < len(names):
        for line in (axis.axhline, axis.axvline):
            line(num_upstream - 0.5, color="k" if is_difference else "w", lw=1.5)


def _draw_cells(
    axis: Axes, values: np.ndarray, titles: list[str], low: float, high: float, colours: str, size: float
) -> None:
    """Draw a matrix as coloured cells with their numbers."""
    axis.imshow(values, vmin=low, vmax=high, cmap=colours)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            # White text on dark cells: the dark end of viridis, both ends of the diverging map.
            is_dark = value < 0.6 if colours == "viridis" else abs(value) > 0.7 * high
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=size, color="w" if is_dark else "k")
    axis.set_xticks(range(len(titles)), titles, rotation=90, fontsize=7)
    axis.set_yticks(range(len(titles)), titles, fontsize=7)
