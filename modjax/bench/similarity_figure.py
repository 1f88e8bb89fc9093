"""Figure of the similarity benchmark: share of the matrix-product speed by width, and time by method."""

from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modjax.report.style import ARM_COLOURS, ARM_MARKERS, use_style

Rows = list[dict[str, Any]]
TITLES = {
    "closed form": "closed form",
    "autodiff": "autodiff",
    "naive": "jax.jacrev, jax.hessian",
    "torch": "torch.func",
}


def draw_figure(rows: Rows, path: Path) -> None:
    """Draw the rows of ReLU networks with all measures together; the fastest number of trials counts."""
    use_style()
    frame = pl.DataFrame(rows).filter(pl.col("measures") == "all", pl.col("activation") == "relu")
    frame = frame.filter(pl.col("method").is_in(list(TITLES)))
    best = frame.sort("ms_per_10000").unique(["method", "width", "depth"], keep="first").sort("depth", "width")
    figure = Figure(figsize=(9.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_shares(left, best)
    _draw_times(right, best)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})


def _draw_shares(axis: Axes, best: pl.DataFrame) -> None:
    """Draw one line per depth of the closed form, and one per other method."""
    lines = best.filter((pl.col("method") == "closed form") | (pl.col("depth") == 2))
    groups = lines.partition_by("method", "depth", maintain_order=True, as_dict=True)
    for index, ((method, depth), points) in enumerate(groups.items()):
        label = f"{TITLES[str(method)]}, {depth} layers"
        colour, marker = ARM_COLOURS[index % len(ARM_COLOURS)], ARM_MARKERS[index % len(ARM_MARKERS)]
        axis.plot(points["width"], points["matmul_share"], color=colour, marker=marker, markersize=4, label=label)
    widths = sorted(set(best["width"].to_list()))
    axis.set_xscale("log", base=2)
    axis.set_xticks(widths, [str(width) for width in widths])
    axis.set_ylim(bottom=0)
    axis.set(xlabel="units of each hidden layer", ylabel="share of matrix-product speed")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_times(axis: Axes, best: pl.DataFrame) -> None:
    """Draw one bar per method, for two layers of 64 units (or of the narrowest width, if there are none)."""
    shallow = best.filter(pl.col("depth") == 2)
    width = 64 if 64 in shallow["width"] else shallow["width"][0]
    shown = shallow.filter(pl.col("width") == width).sort("ms_per_10000", descending=True)
    positions = range(shown.height)
    axis.barh(positions, shown["ms_per_10000"], color=ARM_COLOURS[1], height=0.6)
    for position, value in zip(positions, shown["ms_per_10000"], strict=True):
        axis.text(value, position, f" {value:,.0f}" if value >= 10 else f" {value:.2g}", va="center", fontsize=8)
    axis.set_yticks(positions, [TITLES[name] for name in shown["method"]])
    axis.set_xscale("log")
    axis.set_xlim(min(shown["ms_per_10000"]) / 5, max(shown["ms_per_10000"]) * 5)  # room for the numbers
    axis.set(xlabel="ms per network and 10,000 examples", title=f"784-{width}-{width}-10")
