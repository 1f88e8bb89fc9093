"""Figures that show matrices: alignment of the measures, and one similarity before and after sorting by module."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from modjax.measures.normalize import adjacency
from modjax.names import MEASURES
from modjax.report.style import layer_title
from modjax.storage.results import Sweep

SHORT = {
    "covariance": "cov",
    "input_jacobian": "in-Jac",
    "output_jacobian": "out-Jac",
    "loss_hessian": "Hess",
}


class Example(NamedTuple):
    """One matrix with its modules."""

    trial: dict[str, Any]
    layer: int
    measure: str
    weights: np.ndarray
    labels: np.ndarray
    q: float


def alignment_points(sweep: Sweep) -> pl.DataFrame:
    """Mean element-centric similarity over trials: ``group (trained, untrained), layer, a, b, value, num_trials``."""
    trials = sweep.trials.filter(~pl.col("excluded")).select(
        "trial_id",
        group=pl.when(pl.col("status") == "untrained").then(pl.lit("untrained")).otherwise(pl.lit("trained")),
    )
    rows = sweep.alignment.join(trials, on="trial_id", validate="m:1").filter(pl.col("element_centric").is_not_nan())
    sides = {
        side: pl.concat_str(
            pl.col(f"measure_{side}"), pl.when(f"normalized_{side}").then(pl.lit(" (norm)")).otherwise(pl.lit(""))
        )
        for side in ("a", "b")
    }
    return (
        rows.with_columns(**sides)
        .group_by("group", "layer", "a", "b")
        .agg(value=pl.col("element_centric").mean(), num_trials=pl.len())
        .sort("group", "layer", "a", "b")
    )


def draw_alignment(points: pl.DataFrame) -> Figure:
    """A matrix of all measures against all, a row a layer, trained beside untrained networks."""
    groups = points["group"].unique().sort().to_list()
    layers = points["layer"].unique().sort().to_list()
    present = set(points["a"]) | set(points["b"])
    names = [name for measure in MEASURES for name in (measure, f"{measure} (norm)") if name in present]
    short = [f"{SHORT[name.split(' ')[0]]}{' n' if '(norm)' in name else ''}" for name in names]
    num_upstream = sum(name.split(" ")[0] in MEASURES[:2] for name in names)
    figure = Figure(figsize=(3.1 * len(groups) + 1.2, 2.9 * len(layers) + 0.3), layout="constrained")
    axes = figure.subplots(len(layers), len(groups), squeeze=False)
    image = None
    for row, layer in enumerate(layers):
        for column, group in enumerate(groups):
            axis = axes[row][column]
            here = points.filter((pl.col("layer") == layer) & (pl.col("group") == group))
            values = np.full((len(names), len(names)), np.nan)
            for one in here.iter_rows(named=True):
                i, j = names.index(one["a"]), names.index(one["b"])
                values[i, j] = values[j, i] = one["value"]
            image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis")
            for (i, j), value in np.ndenumerate(values):
                axis.text(
                    j, i, f"{value:.2f}", ha="center", va="center", fontsize=5.5, color="w" if value < 0.6 else "k"
                )
            axis.set_xticks(range(len(names)), short, rotation=90)
            axis.set_yticks(range(len(names)), short)
            for edge in (num_upstream - 0.5,) * (0 < num_upstream < len(names)):
                axis.axhline(edge, color="w", lw=1.5)
                axis.axvline(edge, color="w", lw=1.5)
            axis.set_title(f"{group}, {layer_title(layer)} (n = {here['num_trials'].max()})")
    if image is not None:
        figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.6, label="element-centric similarity of modules")
    return figure


def example_of(sweep: Sweep) -> Example | None:
    """The normalized matrix with the highest Q among trained trials."""
    trained = sweep.trials.filter((pl.col("status") != "untrained") & ~pl.col("excluded"))
    rows = sweep.modules.filter(pl.col("normalized") & pl.col("q").is_not_nan() & (pl.col("layer") >= 0))
    rows = rows.join(trained, on="trial_id", validate="m:1").sort(["q", "trial_id"], descending=[True, False])
    if not rows.height:
        return None
    best = rows.row(0, named=True)
    key = (pl.col("trial_id") == best["trial_id"]) & (pl.col("layer") == best["layer"])
    stored = sweep.similarity.filter(key & (pl.col("measure") == best["measure"])).row(0, named=True)
    matrix = np.array(stored["matrix"], np.float64).reshape(stored["num_units"], stored["num_units"])
    weights = adjacency(matrix, normalized=True)
    return Example(best, best["layer"], best["measure"], weights, np.array(best["labels"]), best["q"])


def draw_example(example: Example) -> tuple[Figure, pl.DataFrame]:
    """The matrix as it is and sorted by module, modules framed, dead units last; and its entries as points."""
    order = np.lexsort((np.arange(len(example.labels)), np.where(example.labels < 0, np.inf, example.labels)))
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(example.weights, cmap="magma")
    left.set_title("units as they are")
    right.imshow(example.weights[np.ix_(order, order)], cmap="magma")
    right.set_title(f"sorted by module, Q = {example.q:.3f}")
    start = 0
    for size in np.bincount(example.labels[example.labels >= 0]):
        frame = {"fill": False, "ec": "#56B4E9", "lw": 1.5}
        right.add_patch(Rectangle((start - 0.5, start - 0.5), size, size, **frame))
        start += size
    for axis in (left, right):
        axis.set_xlabel("unit")
    left.set_ylabel("unit")
    figure.colorbar(image, ax=[left, right], shrink=0.8, label="normalized similarity")
    trial = example.trial
    settings = ", ".join(f"{name} {trial[name]:g}" for name in ("dropout", "l1", "l2", "seed"))
    told = f"{trial['arm']} arm, {settings}"
    figure.suptitle(f"{example.measure}, {layer_title(example.layer)}: {told}", fontsize=9)
    rows, columns = np.indices(example.weights.shape)
    points = pl.DataFrame(
        {
            "trial_id": [trial["trial_id"]] * example.weights.size,
            "unit_a": rows.ravel(),
            "unit_b": columns.ravel(),
            "module_a": example.labels[rows.ravel()],
            "module_b": example.labels[columns.ravel()],
            "value": example.weights.ravel(),
        }
    )
    return figure, points
