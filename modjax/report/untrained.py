"""Changes by training: Q and alignment of trained networks against untrained ones."""

from typing import Any

import numpy as np
import polars as pl

from modjax.report.families import HIGHER, KINDS, SCORE_NAMES
from modjax.report.settings import ARMS, Panel, Panels, mean_of_known, panel_of, untrained_values
from modjax.report.statistics import compare_groups
from modjax.report.style import layer_title
from modjax.report.verdicts import (
    NOT_SHOWN,
    NOT_TESTED,
    SCORE_TITLES,
    Testing,
    certainty_of,
    claim_row,
    claims_frame,
    graph_name,
    numbers_of,
    points_say,
)
from modjax.store.sweep import Sweep

Q_CHANGE = "trained - untrained"


def training_claim(
    sweep: Sweep, parts: pl.DataFrame, panels: Panels, means: pl.DataFrame, testing: Testing
) -> pl.DataFrame:
    """Return trained minus untrained of Q and alignment, for the baseline and each arm. Empty without both groups.

    Each seed of an arm contributes its mean over the arm's settings, each untrained seed its value. The groups are
    compared unpaired, by :func:`modjax.report.statistics.compare_groups`: a sweep has many more untrained than trained
    seeds.

    Args:
        sweep: A sweep.
        parts: Parts of the trials, as returned by :func:`modjax.report.settings.parts_of`.
        panels: Q of every graph, as returned by :func:`modjax.report.settings.q_panels`.
        means: Mean alignments, as returned by :func:`modjax.report.families.family_means`.
        testing: How to test.
    """
    rows = []
    for graph, panel in panels:
        here = sweep.modules.filter(*(pl.col(key) == graph[key] for key in ("measure", "normalized", "layer")))
        untrained = untrained_values(parts, here.select("trial_id", value=graph["score"]))
        rows += _changes(panel, untrained, {**graph, "quantity": Q_CHANGE}, testing)
    means = means.sort("score", "normalized", "layer", "trial_id", descending=[True, True, False, False])
    for keys, here in means.group_by("score", "normalized", "layer", maintain_order=True):
        columns = dict(zip(("score", "normalized", "layer"), keys, strict=True)) | {"measure": None}
        for kind in KINDS:
            values = here.select("trial_id", value=kind)
            untrained = untrained_values(parts, values)
            rows += _changes(panel_of(parts, values), untrained, columns | {"quantity": kind}, testing)
    return claims_frame(rows, testing)


def _changes(panel: Panel, untrained: np.ndarray, columns: dict[str, Any], testing: Testing) -> list[dict[str, Any]]:
    """Return one row per group of trained networks that has values."""
    rows = []
    # Trials of the part "other" differ in several hyperparameters: no row is about them.
    for part in ("baseline", *ARMS):
        table = panel.values[part]
        if not len(untrained) or np.isnan(table).all():
            continue
        # Settings that a seed lacks are left out of its mean; a seed without any stays NaN.
        by_seed = mean_of_known(table, axis=0)
        num_left_out = panel.num_left_out[part]
        summary = compare_groups(by_seed, untrained, testing.interval)
        common = columns | {"claim": "training", "networks": part, "num_left_out": num_left_out}
        common["setting"] = f"against {len(untrained)} untrained"
        rows.append(claim_row(summary, HIGHER, _tell, **common))
    return rows


def _tell(row: dict[str, Any]) -> str:
    comparison = {
        NOT_SHOWN: "is not shown to differ from untrained networks",
        NOT_TESTED: f"against untrained networks: {points_say(row, HIGHER)}",
    }.get(row["verdict"], f"is {row['verdict']} than in untrained networks")
    if row["measure"] is not None:
        what = f"{SCORE_TITLES[row['score']]} of {graph_name(row['measure'], row['normalized'], row['layer'])},"
    else:
        scaling = "normalized" if row["normalized"] else "raw"
        what = f"{SCORE_NAMES[row['score']]} agreement {row['quantity']}, {scaling}, {layer_title(row['layer'])},"
    effect = "" if row["effect_size"] is None else f", {row['effect_size']:+.2g} sd of untrained"
    group = "the baseline" if row["networks"] == "baseline" else f"the {row['networks']} arm"
    return f"{what} in {group} {comparison}: {numbers_of(row)}{effect}; {certainty_of(row)}"
