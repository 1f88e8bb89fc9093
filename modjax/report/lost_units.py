"""Marks of settings whose networks have lost more than half of their units."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from modjax.report.matched import LEAST_LIVING

LABEL = "more than half of the units dead"
CROSSES = 5  # in front of all lines and points (matplotlib's zorder)


def has_lost_units(means: pl.DataFrame) -> bool:
    """Return whether a setting, of means over its networks, has a share ``living`` below a half."""
    return means.filter(pl.col("living") < LEAST_LIVING).height > 0


def cross_out(axis: Axes, means: pl.DataFrame, x: str, y: str) -> None:
    """Cross out the settings whose mean share ``living`` is below a half, at columns x and y."""
    lost = means.filter(pl.col("living") < LEAST_LIVING)
    if lost.height:
        axis.scatter(lost[x], lost[y], marker="x", s=36, color="k", lw=1.0, zorder=CROSSES)


def handle() -> Any:
    """Return the mark for a legend, whose label is ``LABEL``."""
    return Line2D([], [], color="k", marker="x", ls="", ms=6)
