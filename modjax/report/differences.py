"""Differences between two sweeps: trial by trial, setting by setting, and in the results for the claims."""

import polars as pl

from modjax.report.claims import Claims
from modjax.store.schemas import hyperparameters_in
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
_MODULE_QUANTITIES = ("q", "excess_q", "effective_modules", "num_modules", "num_dead")
_QUANTITY = ["quantity", "layer", "measure", "normalized"]
CLAIM_KEYS = ("claim", "quantity", "networks", "score", "measure", "normalized", "layer")
CLAIM_RESULTS = ("estimate", "verdict")
SIGNIFICANT = 9  # digits in which hyperparameters must agree to be the same setting


def paired_values(first: Sweep, second: Sweep) -> pl.DataFrame:
    """Return one row per pair of trials with the same setting and seed, and quantity that both have.

    Returns:
        ``learning_rate, l1, l2, dropout, is_untrained, seed, quantity, layer, measure, normalized, trial_a, trial_b,
        value_a, value_b, difference`` (b - a); ``layer, measure, normalized`` are null where a quantity has none.
    """
    setting = settings_of(first, second)
    by = [*setting, "seed", *_QUANTITY]
    a, b = (_sided(_values(sweep, setting), side) for sweep, side in ((first, "a"), (second, "b")))
    pairs = a.join(b, on=by, how="inner", nulls_equal=True)
    columns = [*by, "trial_a", "trial_b", "value_a", "value_b"]
    return pairs.select(columns).with_columns(difference=pl.col("value_b") - pl.col("value_a")).sort(columns[:-2])


def paired_trials(first: Sweep, second: Sweep) -> pl.DataFrame:
    """Return ``trial_a, trial_b``: each pair of trials with the same setting and seed once."""
    return paired_values(first, second).select("trial_a", "trial_b").unique().sort("trial_a", "trial_b")


def differences(first: Sweep, second: Sweep) -> pl.DataFrame:
    """Return one row per setting that both sweeps have, and quantity: means over seeds and their difference.

    Returns:
        ``learning_rate, l1, l2, dropout, is_untrained, quantity, layer, measure, normalized, trials_a, mean_a,
        trials_b, mean_b, pairs, difference`` (b - a: mean over pairs with the same seed, or difference of the means
        if there are no pairs) and ``standard_error`` of the mean over pairs (null below two pairs).
    """
    setting = settings_of(first, second)
    by = [*setting, *_QUANTITY]
    a, b = (
        _values(sweep, setting)
        .group_by(by)
        .agg(pl.len().alias(f"trials_{side}"), pl.col("value").mean().alias(f"mean_{side}"))
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
    # Differences of pairs have less noise than the difference of means, which also holds without common seeds.
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


def settings_of(*sweeps: Sweep) -> list[str]:
    """Return the columns that make a setting: the hyperparameters of all sweeps, and whether a network is untrained."""
    names = dict.fromkeys(name for sweep in sweeps for name in hyperparameters_in(sweep.trials))
    return [*names, "is_untrained"]


def _with_defaults(sweep: Sweep, setting: list[str]) -> pl.DataFrame:
    """Return the trials with the default of every hyperparameter that only the other sweep varies."""
    infos = sweep.paths.tables.catalog.hyperparameters
    absent = [name for name in setting if name not in sweep.trials.columns and name != "is_untrained"]
    defaults = {name: infos[name].default if name in infos else None for name in absent}
    return sweep.trials.with_columns(**{name: pl.lit(value) for name, value in defaults.items()})


def _values(sweep: Sweep, setting: list[str]) -> pl.DataFrame:
    """Return the quantities of finished trials that are not excluded, in long form, without NaN and infinity."""
    # Joins compare floats exactly: without rounding, 0.1 + 0.2 and 0.3 would be two settings.
    trials = (
        _with_defaults(sweep, setting)
        .filter((pl.col("status") != "pending") & ~pl.col("excluded"))
        .with_columns(pl.col(pl.Float64).round_sig_figs(SIGNIFICANT), is_untrained=pl.col("status") == "untrained")
    )
    keys = ["trial_id", "seed", *setting]
    own = trials.select(
        *keys, pl.col([name for name in _TRIAL_QUANTITIES if name in trials.columns]).cast(pl.Float64)
    ).unpivot(index=keys, variable_name="quantity", value_name="value")
    # Quantities of whole trials have no graph: typed nulls let them share a table with those of modules.
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
    """Return the results of two sweeps for the claims, one row per estimate that either has, in the claims' order.

    Returns:
        ``claim, quantity, networks, score, measure, normalized, layer, estimate_a, verdict_a, estimate_b, verdict_b``;
        null where a sweep lacks the estimate.
    """
    a, b = (results.table.select(*CLAIM_KEYS, *CLAIM_RESULTS) for results in (first, second))
    a, b = (rows.rename({name: f"{name}_{side}" for name in CLAIM_RESULTS}) for rows, side in ((a, "a"), (b, "b")))
    # left_right keeps the order of the claims; estimates that only the second sweep has come last.
    joined = a.join(
        b, on=CLAIM_KEYS, how="full", coalesce=True, nulls_equal=True, validate="1:1", maintain_order="left_right"
    )
    return joined.select(*CLAIM_KEYS, *(f"{name}_{side}" for side in "ab" for name in CLAIM_RESULTS))
