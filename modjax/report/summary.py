"""The summary table that is shown at the end of a sweep."""

import polars as pl

from modjax.report.style import ordered_measures, strengths
from modjax.store.sweep import Sweep


def summary_table(sweep: Sweep, layer: int = 0) -> pl.DataFrame:
    """Return means over seeds at the weakest and strongest setting of each arm, and of untrained networks.

    Excluded trials are left out.

    Args:
        sweep: A sweep.
        layer: Layer whose Q (of normalized matrices) is shown.

    Returns:
        Table ``arm, setting, trials, accuracy`` (``loss`` where the task evaluates no accuracy), with a column of mean
        Q for each measure.
    """
    name = "accuracy" if "test_accuracy" in sweep.trials.columns else "loss"
    kept = sweep.trials.filter((pl.col("status") != "pending") & ~pl.col("excluded"))
    settings = strengths(kept.filter(pl.col("status") != "untrained"))
    ends = settings.filter(
        (pl.col("strength") == pl.col("strength").min().over("arm"))
        | (pl.col("strength") == pl.col("strength").max().over("arm"))
    )
    # A null strength keeps untrained networks apart from every setting, and sorts them last.
    untrained = kept.filter(pl.col("status") == "untrained").select(
        "trial_id", "arm", setting=pl.lit("untrained"), strength=pl.lit(None, pl.Float64)
    )
    chosen = pl.concat([ends, untrained]).join(kept.select("trial_id", f"test_{name}"), on="trial_id")
    by = ["arm", "setting", "strength"]
    table = chosen.group_by(by).agg(pl.len().alias("trials"), pl.col(f"test_{name}").mean().alias(name))
    rows = sweep.modules.filter(pl.col("normalized") & (pl.col("layer") == layer) & pl.col("q").is_not_nan())
    means = rows.join(chosen, on="trial_id").group_by([*by, "measure"]).agg(pl.col("q").mean())
    if means.height:
        wide = means.pivot("measure", index=by, values="q").select(*by, *ordered_measures(means["measure"]))
        table = table.join(wide, on=by, how="left", nulls_equal=True)
    return table.sort(pl.col("strength").is_null(), "arm", "strength").drop("strength")
