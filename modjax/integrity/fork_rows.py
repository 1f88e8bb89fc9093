"""Rows of one sweep as rows of another, or as they were before an analysis failed."""

import polars as pl

from modjax.spec.expand import untrained_arms
from modjax.spec.spec import SweepSpec
from modjax.store.exclusion import is_below
from modjax.store.failures import FAILED
from modjax.store.schemas import Schema


def as_planned(trials: pl.DataFrame, planned: pl.DataFrame, spec: SweepSpec) -> pl.DataFrame:
    """Return the results of trials with the settings of another spec's plan, which also says which are excluded."""
    settings = planned.columns[: planned.columns.index("status")]
    results = trials.drop([name for name in settings if name in trials.columns and name != "trial_id"])
    joined = planned.select(settings).join(results, on="trial_id", how="inner")
    return with_excluded(as_in(dict(planned.schema), joined), spec)


def with_excluded(trials: pl.DataFrame, spec: SweepSpec) -> pl.DataFrame:
    """Return results with the column that says which trials a spec excludes."""
    is_low = is_below(spec.analysis.min_accuracy) & (pl.col("status") != "untrained")
    excluded = is_low.fill_null(False) | (pl.col("status") == FAILED)

    return trials.with_columns(excluded=excluded)


def as_trained(trials: pl.DataFrame, history: pl.DataFrame, spec: SweepSpec) -> pl.DataFrame:
    """Return the trials table with failed trials as they were before their analysis failed.

    Trials that were never measured stay failed.

    Args:
        trials: Trials table.
        history: History rows of the same trials.
        spec: Spec of the sweep.
    """
    # ``failed`` has replaced the status, so it is derived again as training had set it: diverged trials end with a
    # loss that is not finite.
    last = history.sort("epoch").group_by("trial_id").last()
    last = last.select("trial_id", diverged=~pl.col("val_loss").fill_null(pl.col("train_loss")).is_finite())
    is_untrained = pl.col("arm").is_in(untrained_arms(spec))
    status = pl.when(is_untrained).then(pl.lit("untrained")).when("diverged").then(pl.lit("diverged"))
    excluded = ~is_untrained & is_below(spec.analysis.min_accuracy)
    # A trial with a test metric was measured, so only its analysis failed.
    is_measured = pl.any_horizontal(pl.col("^test_.*$").is_not_null())
    is_mended = (pl.col("status") == FAILED) & is_measured
    return (
        trials.join(last, on="trial_id", how="left")
        .select(
            *(name for name in trials.columns if name not in ("status", "excluded")),
            status=pl.when(is_mended).then(status.otherwise(pl.lit("done"))).otherwise("status"),
            excluded=pl.when(is_mended).then(excluded).otherwise("excluded"),
        )
        .select(trials.columns)
    )


def as_in(schema: Schema, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the columns of a schema; those that it lacks are null."""
    absent = {column: pl.lit(None, dtype) for column, dtype in schema.items() if column not in frame.columns}
    return frame.with_columns(**absent).select(*schema)
