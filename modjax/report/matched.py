"""Comparisons of arms at matched accuracy, and how many of their units are alive.

A penalty "at its best" for Q may have killed most units, or cost accuracy: networks of ten living units are then
compared with networks of sixty.
"""

from typing import Any

import numpy as np
import polars as pl

from modjax.report.settings import Panel, mean_of_known, panel_of
from modjax.store.sweep import Sweep

MATCHED = " at matched accuracy"  # end of a quantity's name
ACCURACY_GAP = 0.01  # within which accuracies count as matched
GRID = 21  # accuracies at which curves are compared
LIVING = 1 - pl.col("num_dead") / pl.col("labels").list.len()  # share of units alive, in the modules table
LEAST_LIVING = 0.5  # settings whose networks have fewer living units are marked in figures


def of_living(sweep: Sweep, parts: pl.DataFrame, graph: dict[str, Any]) -> Panel:
    """Return the share of units that are alive in a graph, for every setting and seed."""
    keys = ("measure", "normalized", "layer")
    here = sweep.modules.filter(*(pl.col(key) == graph[key] for key in keys))
    return panel_of(parts, here.select("trial_id", value=LIVING))


def at_matched_accuracy(gains: np.ndarray, accuracy: Panel, arm: str) -> np.ndarray:
    """Return an arm's gains, NaN in settings whose mean accuracy is not within 0.01 of the baseline's.

    Args:
        gains: ``[settings seeds]``.
        accuracy: Test accuracy of the same trials.
        arm: Name of the arm.
    """
    baseline = accuracy.values["baseline"]
    baseline = baseline[~np.isnan(baseline)]
    means = mean_of_known(accuracy.values[arm], axis=1)
    is_matched = np.abs(means - baseline.mean()) <= ACCURACY_GAP if len(baseline) else np.zeros(len(means), bool)
    return np.where(is_matched[:, None], gains, np.nan)


def along_accuracy(q: Panel, accuracy: Panel, arm: str, other: str) -> np.ndarray:
    """Return for each seed how much higher one arm's curve of Q against accuracy is than another's, on average.

    A seed's curve joins its settings, and the baseline, in the order of their accuracies, by straight lines. The curves
    are compared at 21 accuracies, evenly spaced over the range that both have.

    Returns:
        ``[seeds]``; NaN where the ranges do not overlap.
    """
    differences = np.full(len(q.seeds), np.nan)
    for seed in range(len(q.seeds)):
        curves = [_curve(q, accuracy, name, seed) for name in (arm, other)]
        if any(len(curve) < 2 for curve in curves):
            continue
        low, high = max(curve[0, 0] for curve in curves), min(curve[-1, 0] for curve in curves)
        if high > low:
            grid = np.linspace(low, high, GRID)
            own, its = (np.interp(grid, *curve.T) for curve in curves)
            differences[seed] = float(np.mean(own - its))
    return differences


def _curve(q: Panel, accuracy: Panel, arm: str, seed: int) -> np.ndarray:
    """Return ``[settings 2]``: accuracy and Q of a seed at the baseline and an arm's settings, by accuracy."""
    points = [np.stack([accuracy.values[part][:, seed], q.values[part][:, seed]], axis=1) for part in ("baseline", arm)]
    joined = np.concatenate(points)
    joined = joined[~np.isnan(joined).any(1)]
    return joined[np.argsort(joined[:, 0], kind="stable")]
