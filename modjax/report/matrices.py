"""Figures of similarity matrices: one before and after sorting by module, and all measures of one network."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from modjax.clustering.adjacency import adjacency
from modjax.clustering.transfer import transfer_modularity_of
from modjax.report.curves import Drawn
from modjax.report.style import layer_title, long_title, measure_title, ordered_measures, setting_text
from modjax.store.sweep import Sweep


class Example(NamedTuple):
    """A similarity matrix with its modules."""

    trial: dict[str, Any]
    layer: int
    measure: str
    weights: np.ndarray
    labels: np.ndarray
    q: float


def example_of(sweep: Sweep) -> Example | None:
    """Return the normalized matrix with the highest Q of all trained trials; None if matrices were not kept."""
    trained = sweep.trials.filter((pl.col("status") != "untrained") & ~pl.col("excluded"))
    rows = sweep.modules.filter(pl.col("normalized") & pl.col("q").is_not_nan() & (pl.col("layer") >= 0))
    # Ties go to the first trial id, so that the same tables give the same figure.
    rows = rows.join(trained, on="trial_id", validate="m:1").sort(["q", "trial_id"], descending=[True, False])
    if not rows.height:
        return None
    best = rows.row(0, named=True)
    key = (pl.col("trial_id") == best["trial_id"]) & (pl.col("layer") == best["layer"])
    kept = sweep.similarity.filter(key & (pl.col("measure") == best["measure"]))
    if not kept.height:
        return None
    stored = kept.row(0, named=True)
    matrix = np.array(stored["matrix"], np.float64).reshape(stored["num_units"], stored["num_units"])
    weights = adjacency(matrix, normalized=True)
    return Example(best, best["layer"], best["measure"], weights, np.array(best["labels"]), best["q"])


def example_figure(sweep: Sweep) -> Drawn | None:
    """Draw the matrix of :func:`example_of` with :func:`draw_example`."""
    example = example_of(sweep)
    return None if example is None else draw_example(example)


def sorted_matrices_figure(sweep: Sweep) -> Drawn | None:
    """Draw the normalized matrices of the example's layer, one per column, sorted by the modules of each (rows)."""
    example = example_of(sweep)
    if example is None:
        return None
    here = (pl.col("trial_id") == example.trial["trial_id"]) & (pl.col("layer") == example.layer)
    modules = sweep.modules.filter(here & pl.col("normalized") & pl.col("q").is_not_nan())
    matrices = {row["measure"]: row for row in sweep.similarity.filter(here).iter_rows(named=True)}
    labels = {row["measure"]: np.array(row["labels"]) for row in modules.iter_rows(named=True)}
    measures = ordered_measures(modules["measure"])
    figure = Figure(figsize=(2.1 * len(measures) + 0.8, 2.15 * len(measures) + 0.5), layout="constrained")
    axes = figure.subplots(len(measures), len(measures), squeeze=False)
    rows = []
    for row, sorting in enumerate(measures):
        order, sizes = _module_order(labels[sorting])
        for column, measure in enumerate(measures):
            num_units = matrices[measure]["num_units"]
            signed = np.array(matrices[measure]["matrix"], np.float64).reshape(num_units, num_units)
            weights = adjacency(signed, normalized=True)
            axis = axes[row][column]
            axis.imshow(weights[np.ix_(order, order)], cmap="magma", vmin=0)
            _frame_modules(axis, sizes)
            axis.set_xticks([])
            axis.set_yticks([])
            # Q of these weights under the row's modules: on the diagonal it is the measure's own Q.
            transfer = transfer_modularity_of(weights, labels[sorting])
            axis.set_title(f"Q = {transfer:.3f}" if row else f"{long_title(measure)}\nQ = {transfer:.3f}", fontsize=8)
            rows.append({"sorted_by": sorting, "measure": measure, "q": transfer})
        axes[row][0].set_ylabel(f"modules of\n{measure_title(sorting)}", fontsize=8)
    figure.suptitle(f"{layer_title(example.layer)}: {_settings(example.trial)}", fontsize=9)
    return figure, pl.DataFrame(rows).select(pl.lit(example.trial["trial_id"]).alias("trial_id"), pl.all())


def _module_order(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of units by module, dead units last, and the sizes of the modules."""
    # lexsort takes its main key last; the unit's index breaks ties within a module.
    order = np.lexsort((np.arange(len(labels)), np.where(labels < 0, np.inf, labels)))
    return order, np.bincount(labels[labels >= 0])


def _frame_modules(axis: Axes, sizes: np.ndarray) -> None:
    start = 0
    for size in sizes:
        axis.add_patch(Rectangle((start - 0.5, start - 0.5), size, size, fill=False, ec="#56B4E9", lw=1.5))
        start += size


def _settings(trial: dict[str, Any]) -> str:
    names = [*trial]
    names = names[names.index("seed") + 1 : names.index("status")]  # the hyperparameters, in the order of the table
    settings = ", ".join(f"{name} {setting_text(trial[name])}" for name in (*names, "seed"))
    return f"{trial['arm']} arm, {settings}"


def draw_example(example: Example) -> tuple[Figure, pl.DataFrame]:
    """Draw the matrix as it is and sorted by module, and return the figure with the matrix entries as points."""
    order, sizes = _module_order(example.labels)
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(example.weights, cmap="magma")
    left.set_title("units as they are")
    right.imshow(example.weights[np.ix_(order, order)], cmap="magma")
    right.set_title(f"sorted by module, Q = {example.q:.3f}")
    _frame_modules(right, sizes)
    for axis in (left, right):
        axis.set_xlabel("unit")
    left.set_ylabel("unit")
    figure.colorbar(image, ax=[left, right], shrink=0.8, label="normalized similarity")
    trial = example.trial
    figure.suptitle(f"{example.measure}, {layer_title(example.layer)}: {_settings(trial)}", fontsize=9)
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
