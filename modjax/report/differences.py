"""Two sweeps, pair by pair: what differs at the settings that both have, and in what is found about the claims."""

import polars as pl

from modjax.names import HYPERPARAMETERS
from modjax.report.claims import Claims
from modjax.store.sweep import Sweep

_TRIAL_QUANTITIES = [
    "test_accuracy",
    "test_loss",
    "val_loss",
    "epochs",
    "l1_norm",
    "l2_norm",
    "nuclear_norm",
    "sparsity",
]
_MODULE_QUANTITIES = ("q", "effective_modules", "num_modules", "num_dead")
_SETTING = [*HYPERPARAMETERS, "is_untrained"]
_QUANTITY = ["quantity", "layer", "measure", "normalized"]
CLAIM_KEYS = ("claim", "quantity", "networks", "score", "measure", "normalized", "layer")
CLAIM_RESULTS = ("estimate", "verdict")
SIGNIFICANT = 9  # digits in which hyperparameters must agree to be the same setting


def paired_values(first: Sweep, second: Sweep) -> pl.DataFrame:
    """A row a pair of trials with the same setting and seed, and a quantity that both have.

    Returns:
        ``learning_rate, l1, l2, dropout, is_untrained, seed, quantity, layer, measure, normalized, trial_a, trial_b,
        value_a, value_b, difference`` (b - a); ``layer, measure, normalized`` are null where a quantity has none.
    """
    by = [*_SETTING, "seed", *_QUANTITY]
    a, b = (_sided(_values(sweep), side) for sweep, side in ((first, "a"), (second, "b")))
    pairs = a.join(b, on=by, how="inner", nulls_equal=True)
    columns = [*by, "trial_a", "trial_b", "value_a", "value_b"]
    return pairs.select(columns).with_columns(difference=pl.col("value_b") - pl.col("value_a")).sort(columns[:-2])


def paired_trials(first: Sweep, second: Sweep) -> pl.DataFrame:
    """``trial_a, trial_b``: each pair of trials with the same setting and seed once."""
    return paired_values(first, second).select("trial_a", "trial_b").unique().sort("trial_a", "trial_b")


def differences(first: Sweep, second: Sweep) -> pl.DataFrame:
    """A row a setting that both sweeps have, and a quantity: means over seeds, and how far apart they are.

    Returns:
        ``learning_rate, l1, l2, dropout, is_untrained, quantity, layer, measure, normalized, trials_a, mean_a,
        trials_b, mean_b, pairs, difference`` (b - a: the mean over pairs of one seed, or without pairs that of the
        means) and ``standard_error`` of the mean over pairs (null below two pairs).
    """
    by = [*_SETTING, *_QUANTITY]
    a, b = (
        _values(sweep).group_by(by).agg(pl.len().alias(f"trials_{side}"), pl.col("value").mean().alias(f"mean_{side}"))
        for sweep, side in ((first, "a"), (second, "b"))
    )
    paired = (
        paired_values(first, second)
        .group_by(by)
        .agg(
            pairs=pl.len(),
            paired=pl.col("difference").mean(),
            standard_error=pl.col("difference").std() / pl.len().sqrt(),
        )
    )
    joined = a.join(b, on=by, how="inner", nulls_equal=True).join(paired, on=by, how="left", nulls_equal=True)
    return joined.select(
        *by,
        "trials_a",
        "mean_a",
        "trials_b",
        "mean_b",
        pl.col("pairs").fill_null(0),
        difference=pl.coalesce("paired", pl.col("mean_b") - pl.col("mean_a")),
        standard_error="standard_error",
    ).sort(by)


def _sided(values: pl.DataFrame, side: str) -> pl.DataFrame:
    return values.rename({"trial_id": f"trial_{side}", "value": f"value_{side}"})


def _values(sweep: Sweep) -> pl.DataFrame:
    """Quantities of a sweep's finished trials that count, in long form; what is not a number is left out."""
    trials = sweep.trials.filter((pl.col("status") != "pending") & ~pl.col("excluded")).with_columns(
        pl.col(HYPERPARAMETERS).round_sig_figs(SIGNIFICANT), is_untrained=pl.col("status") == "untrained"
    )
    keys = ["trial_id", "seed", *_SETTING]
    own = trials.select(*keys, pl.col(_TRIAL_QUANTITIES).cast(pl.Float64)).unpivot(
        index=keys, variable_name="quantity", value_name="value"
    )
    none = {"layer": pl.Int32, "measure": pl.String, "normalized": pl.Boolean}
    own = own.with_columns(**{name: pl.lit(None, dtype) for name, dtype in none.items()})
    graphs = ["trial_id", "layer", "measure", "normalized"]
    modules = sweep.modules.select(*graphs, pl.col(_MODULE_QUANTITIES).cast(pl.Float64)).unpivot(
        index=graphs, variable_name="quantity", value_name="value"
    )
    joined = modules.join(trials.select(keys), on="trial_id", how="inner", validate="m:1")
    both = pl.concat([own, joined.select(own.columns)])
    return both.filter(pl.col("value").is_finite())


def claims_side_by_side(first: Claims, second: Claims) -> pl.DataFrame:
    """What two sweeps say about the claims, a row an estimate that either has, in the order of the claims.

    Returns:
        ``claim, quantity, networks, score, measure, normalized, layer, estimate_a, verdict_a, estimate_b, verdict_b``;
        null where a sweep does not have it.
    """
    a, b = (found.table.select(*CLAIM_KEYS, *CLAIM_RESULTS) for found in (first, second))
    a, b = (rows.rename({name: f"{name}_{side}" for name in CLAIM_RESULTS}) for rows, side in ((a, "a"), (b, "b")))
    joined = a.join(
        b, on=CLAIM_KEYS, how="full", coalesce=True, nulls_equal=True, validate="1:1", maintain_order="left_right"
    )
    return joined.select(*CLAIM_KEYS, *(f"{name}_{side}" for side in "ab" for name in CLAIM_RESULTS))
