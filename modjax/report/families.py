"""Test of whether modules agree more within a family of measures (upstream, downstream) than across families."""

from typing import Any

import numpy as np
import polars as pl

from modjax.names import DOWNSTREAM, UPSTREAM
from modjax.report.multiplicity import flip_test
from modjax.report.statistics import summarize_seeds
from modjax.report.style import layer_title
from modjax.report.verdicts import (
    NOT_SHOWN,
    NOT_TESTED,
    Testing,
    Words,
    certainty_of,
    claim_row,
    claims_frame,
    numbers_of,
    points_say,
)
from modjax.store.sweep import Sweep

SCORES = ("element_centric", "ami")
SCORE_NAMES = {"element_centric": "element-centric", "ami": "AMI"}
HIGHER: Words = ("higher", "lower")
KINDS = ("within upstream", "within downstream", "across")
COMPARISONS = {
    "within - across": "within families",
    "upstream - across": "within upstream",
    "downstream - across": "within downstream",
}


def family_means(sweep: Sweep) -> pl.DataFrame:
    """Return the mean alignment within and across families: one row per trial, layer, normalized and score.

    Only pairs of different measures with the same scaling count: raw with raw, normalized with normalized. Upstream is
    covariance with input Jacobian, downstream output Jacobian with loss Hessian, across the four mixed pairs. A mean
    is NaN if any of its pairs is NaN (a measure whose units are all dead).

    Returns:
        ``trial_id, layer, normalized, score, within upstream, within downstream, across, within`` (the mean of the
        first two); null where the sweep lacks the measures.
    """
    is_pair = (pl.col("measure_a") != pl.col("measure_b")) & (pl.col("normalized_a") == pl.col("normalized_b"))
    sides = {side: _family(f"measure_{side}") for side in ("a", "b")}
    # Pairs whose measures are in different families are across; the others are named after their family.
    kind = (
        pl.when(sides["a"] != sides["b"]).then(pl.lit("across")).otherwise(pl.concat_str(pl.lit("within "), sides["a"]))
    )
    keys = ["trial_id", "layer", "normalized", "score"]
    known = [*UPSTREAM, *DOWNSTREAM]
    # Nulls become NaN before the mean: polars would skip them, and average over fewer pairs.
    return (
        sweep.alignment.filter(is_pair & pl.col("measure_a").is_in(known) & pl.col("measure_b").is_in(known))
        .rename({"normalized_a": "normalized"})
        .with_columns(kind=kind)
        .unpivot(SCORES, index=["trial_id", "layer", "normalized", "kind"], variable_name="score")
        .group_by(keys)
        .agg(pl.col("value").filter(pl.col("kind") == name).fill_null(np.nan).mean().alias(name) for name in KINDS)
        .with_columns(within=(pl.col(KINDS[0]) + pl.col(KINDS[1])) / 2)
        .sort(keys)
    )


def _family(column: str) -> pl.Expr:
    return pl.when(pl.col(column).is_in(list(UPSTREAM))).then(pl.lit("upstream")).otherwise(pl.lit("downstream"))


def families_claim(means: pl.DataFrame, parts: pl.DataFrame, testing: Testing) -> pl.DataFrame:
    """Return within minus across in trained and untrained networks: one row per layer, normalized and score.

    Within - across is computed for each trial and averaged over the trials of a seed (all settings of trained
    networks, without excluded trials); the test is over seeds. Empty where the sweep lacks two measures of a family.

    Args:
        means: Mean alignments, as returned by :func:`family_means`.
        parts: Parts of the trials, as returned by :func:`modjax.report.settings.parts_of`.
        testing: How to test.
    """
    group = pl.when(pl.col("part") == "untrained").then(pl.lit("untrained")).otherwise(pl.lit("trained"))
    joined = means.join(parts.with_columns(networks=group), on="trial_id", validate="m:1").sort("trial_id")
    sides = {"within - across": "within", "upstream - across": KINDS[0], "downstream - across": KINDS[1]}
    rows = []
    for keys, here in joined.group_by("networks", "score", "normalized", "layer", maintain_order=True):
        columns: dict[str, Any] = dict(zip(("networks", "score", "normalized", "layer"), keys, strict=True))
        for quantity, side in sides.items():
            values = here.with_columns(value=pl.when("is_kept").then(pl.col(side) - pl.col("across")).fill_nan(None))
            if not values["value"].count():
                continue
            # Trials of a seed share their initial weights: they are averaged first, so that each seed counts once.
            by_seed = values.group_by("seed").agg(pl.col("value").mean()).sort("seed")["value"]
            each = by_seed.cast(pl.Float64).fill_null(np.nan).to_numpy()
            summary = summarize_seeds(each, testing.interval)
            columns |= {"claim": "families", "quantity": quantity, "num_left_out": values["value"].null_count()}
            rows.append(claim_row(summary, HIGHER, _tell, test=flip_test(each), **columns))
    return claims_frame(sorted(rows, key=_place), testing)


def _place(row: dict[str, Any]) -> tuple:
    return (
        row["networks"],
        list(COMPARISONS).index(row["quantity"]),
        SCORES.index(row["score"]),
        not row["normalized"],
        row["layer"],
    )


def _tell(row: dict[str, Any]) -> str:
    comparison = {
        NOT_SHOWN: "is not shown to differ from that across",
        NOT_TESTED: f"against that across: {points_say(row, HIGHER)}",
    }.get(row["verdict"], f"is {row['verdict']} than across")
    graphs = f"{'normalized' if row['normalized'] else 'raw'} matrices, {layer_title(row['layer'])}"
    where = f"{row['networks'].capitalize()} networks, {graphs}: {SCORE_NAMES[row['score']]} agreement"
    return f"{where} {COMPARISONS[row['quantity']]} {comparison}: {numbers_of(row)}; {certainty_of(row)}"
