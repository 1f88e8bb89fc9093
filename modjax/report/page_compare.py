"""Two sweeps side by side: what differs at the settings they share, pair by pair of (hyperparameters, seed)."""

import html
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from modjax.names import HYPERPARAMETERS
from modjax.report.page import as_json, asset, fill, json_block, shared
from modjax.report.page_data import known_measures, look_of, page_columns, page_facts, plain_table, spec_text
from modjax.report.style import arm_looks
from modjax.storage.files import write_text
from modjax.storage.results import Sweep

SCRIPTS = ("core.js", "controls.js", "plots.js", "table.js", "compare.js", "compare_main.js")
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


def build_comparison(first: Sweep, second: Sweep, beside: Path) -> str:
    """The page that compares two sweeps.

    Args:
        first: Sweep A.
        second: Sweep B.
        beside: Folder of the page, from which it links to the sweeps' own reports.
    """
    sides = [_side(sweep, side, beside) for sweep, side in ((first, "A"), (second, "B"))]
    _share_looks([facts for facts, _ in sides])
    facts = {
        "sides": [facts for facts, _ in sides],
        "differences": plain_table(differences(first, second)),
        "pairs": plain_table(
            paired_values(first, second).select("trial_a", "trial_b").unique().sort("trial_a", "trial_b")
        ),
    }
    names = " and ".join(facts["name"] or "sweep" for facts, _ in sides)
    data = json_block("facts", as_json(facts))
    blobs = [f'<script type="text/plain" id="tables{i}">{blob}</script>' for i, (_, blob) in enumerate(sides)]
    parts = {"title": html.escape(f"{names} compared"), "data": "\n".join([data, *blobs]), **shared(SCRIPTS)}
    return fill(asset("page.html"), parts)


def _share_looks(sides: list[dict[str, Any]]) -> None:
    """Arms of one name look alike in both sweeps."""
    names = {facts["arms"][index]["name"] for facts in sides for index in facts["trained_arms"]}
    looks = arm_looks(sorted(names))
    for facts in sides:
        facts["arms"] = [{"name": arm["name"], **look_of(looks.get(arm["name"]))} for arm in facts["arms"]]


def _side(sweep: Sweep, side: str, beside: Path) -> tuple[dict[str, Any], str]:
    measures = known_measures(sweep)
    columns, left_out = page_columns(sweep, measures)
    left_out.pop("labelled")
    target = os.path.relpath(sweep.layout.report.resolve(), beside.resolve())
    facts = {
        **page_facts(sweep, measures),
        "side": side,
        "left_out": left_out,
        "columns": columns.header,
        "spec": spec_text(sweep),
        "report": quote(Path(target).as_posix()) if sweep.layout.report.is_file() else "",
    }
    return facts, columns.blob


def write_comparison(first: Sweep, second: Sweep, out: Path) -> Path:
    """Write the page that compares two sweeps; returns its path."""
    write_text(out, build_comparison(first, second, out.parent))
    return out
