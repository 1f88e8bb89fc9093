"""Trials that summaries leave out: trained ones whose test accuracy is below the least that the spec asks for."""

import tomllib
from typing import Any

import polars as pl

from modjax.io.untrusted import read_small_file
from modjax.names import STOPPED
from modjax.store.failures import FAILED
from modjax.store.sweep import Sweep

MAX_SPEC_BYTES = 2**20
EARLIER_MIN_ACCURACY = 0.8  # of version 0.2, which had no key for it
NO_RULE = "none: the spec sets no analysis.min_accuracy"
_IS_TRAINED = pl.col("status").is_in(["done", "diverged"])
_IS_LOW = pl.col("excluded").fill_null(False) & ~pl.col("status").is_in([FAILED, STOPPED])


def is_below(least: float | None, column: str = "test_accuracy") -> pl.Expr:
    """Return whether an accuracy is below the least one; a NaN is, though polars orders it above all numbers."""
    return pl.lit(False) if least is None else ~(pl.col(column).fill_nan(-1.0) >= least)


def spec_text(sweep: Sweep) -> str:
    """Return the text of the spec as run; empty if it cannot be read."""
    try:
        return read_small_file(sweep.paths.spec, MAX_SPEC_BYTES).decode("utf-8")
    except (OSError, ValueError):
        return ""


def spec_values(sweep: Sweep) -> dict[str, Any]:
    """Return the values of the spec as run; none if it cannot be read."""
    try:
        return tomllib.loads(spec_text(sweep))
    except (ValueError, RecursionError):  # raised by tomllib, also for integers of thousands of digits
        return {}


def exclusion_rule(sweep: Sweep) -> str | None:
    """Return which trained trials the sweep excludes, such as ``test accuracy below 0.8``; None: it excludes none."""
    # Every later version writes the section out.
    section = spec_values(sweep).get("analysis", {"min_accuracy": EARLIER_MIN_ACCURACY})
    least = section.get("min_accuracy") if isinstance(section, dict) else None
    return f"test accuracy below {least:g}" if isinstance(least, int | float) else None


def num_excluded(trials: pl.DataFrame) -> int:
    """Return the number of trials that are excluded for their accuracy; failed ones are not counted."""
    return trials.filter(_IS_LOW).height


def exclusion_warnings(sweep: Sweep) -> list[str]:
    """Return a sentence for each arm of which more than half is excluded, or a single one where all of a sweep is."""
    trained, rule = sweep.trials.filter(_IS_TRAINED), exclusion_rule(sweep)
    by_arm = trained.group_by("arm").agg(excluded=_IS_LOW.sum(), trained=pl.len()).sort("arm")
    total, excluded = trained.height, int(by_arm["excluded"].sum())
    if total and excluded == total:
        return [f"All {total} trained trials are excluded ({rule}): means and claims are without trained networks."]
    return [
        f"{num_low} of {num_trained} trained trials of arm {arm!r} are excluded ({rule}): no mean or claim uses them."
        for arm, num_low, num_trained in by_arm.iter_rows()
        if 2 * num_low > num_trained
    ]
