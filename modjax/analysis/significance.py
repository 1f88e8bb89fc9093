"""Columns that depend on the whole sweep, computed again from all rows whenever tables are written."""

import numpy as np
import polars as pl

from modjax.clustering.null_comparison import adjusted_p, summarize_null
from modjax.store.schemas import SCHEMAS

LEAST_NULLS = 99  # with fewer, no p-value can be small enough to survive the adjustment
GRAPH = ["layer", "measure", "normalized"]


def with_sweep_columns(name: str, frame: pl.DataFrame, trials: pl.DataFrame) -> pl.DataFrame:
    """Return a merged table with the columns that compare its rows with each other.

    ``p_adjusted`` (modules and alignment) is Benjamini-Hochberg over all rows of the sweep whose null has at least 99
    scores. ``untrained_*`` (modules) compares Q with Q of the sweep's untrained networks, for the same layer, measure
    and scaling.

    Args:
        name: Name of the table.
        frame: All rows of the table.
        trials: Trials table with the status of every trial.
    """
    if name == "modules":
        frame = _against_untrained(frame, trials)
    if name in ("modules", "alignment"):
        p = np.where(frame["null_n"].fill_null(0) >= LEAST_NULLS, frame["p"].cast(pl.Float64).fill_null(np.nan), np.nan)
        frame = frame.with_columns(p_adjusted=pl.Series(adjusted_p(p), dtype=pl.Float64).fill_nan(None))
    return frame.select(list(SCHEMAS[name])) if name in SCHEMAS and name not in ("trials", "history") else frame


def _against_untrained(modules: pl.DataFrame, trials: pl.DataFrame) -> pl.DataFrame:
    """Return module rows with ``untrained_n, untrained_mean, untrained_sd, untrained_z, untrained_p`` filled in."""
    untrained = trials.filter(pl.col("status") == "untrained")["trial_id"].implode()
    is_untrained = pl.col("trial_id").is_in(untrained)
    nulls = modules.filter(is_untrained).group_by(GRAPH).agg(null_q="q")
    rows = modules.filter(~is_untrained).select("trial_id", *GRAPH, "q").join(nulls, on=GRAPH, how="inner")
    comparisons = []
    for row in rows.iter_rows(named=True):
        null = summarize_null("untrained", row["q"], np.array(row["null_q"], np.float64))
        values = {"n": null.n, "mean": null.mean, "sd": null.sd, "z": null.z, "p": null.p}
        keys = {key: row[key] for key in ("trial_id", *GRAPH)}
        comparisons.append(keys | {f"untrained_{key}": value for key, value in values.items()})
    names = [f"untrained_{key}" for key in ("n", "mean", "sd", "z", "p")]
    schema = {key: SCHEMAS["modules"][key] for key in ("trial_id", *GRAPH, *names)}
    compared = pl.DataFrame(comparisons, schema=schema, orient="row")
    return modules.drop(names).join(compared, on=["trial_id", *GRAPH], how="left", maintain_order="left")
