"""Whether networks have modules: Q against that of rotations of their own similarities."""

from typing import Any

import numpy as np
import polars as pl

from modjax.report.families import HIGHER
from modjax.report.multiplicity import combined_p, flip_test
from modjax.report.settings import ARMS, Panels, mean_of_known, panel_of
from modjax.report.statistics import summarize_seeds
from modjax.report.verdicts import (
    NO_DIFFERENCE,
    NOT_SHOWN,
    NOT_TESTED,
    Testing,
    certainty_of,
    claim_row,
    claims_frame,
    graph_name,
    numbers_of,
    points_say,
)
from modjax.store.sweep import Sweep

GROUPS = {"baseline": "the baseline", "untrained": "untrained networks"}


def modular_claim(sweep: Sweep, parts: pl.DataFrame, panels: Panels, testing: Testing) -> pl.DataFrame:
    """Return excess Q of the baseline, each arm and untrained networks: one row per group of networks and graph.

    Each seed contributes its mean over the group's settings. ``p_combined`` is Stouffer's of the networks' own
    p-values, where the group has one network per seed. Empty without rotation nulls.

    Args:
        sweep: A sweep.
        parts: Parts of the trials, as returned by :func:`modjax.report.settings.parts_of`.
        panels: Q of every graph, as returned by :func:`modjax.report.settings.q_panels`.
        testing: How to test.
    """
    rows = []
    for graph, panel in panels:
        if graph["score"] != "excess_q":
            continue
        here = sweep.modules.filter(*(pl.col(key) == graph[key] for key in ("measure", "normalized", "layer")))
        p_values = panel_of(parts, here.select("trial_id", value="p"))
        untrained = (
            parts.filter(pl.col("part") == "untrained")
            .join(here.select("trial_id", "excess_q", "p"), on="trial_id", validate="1:1")
            .sort("seed")
            .with_columns(pl.col("excess_q", "p").cast(pl.Float64).fill_null(np.nan))
        )
        groups: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for part in ("baseline", *ARMS):
            values = panel.values[part]
            groups[part] = mean_of_known(values, axis=0), p_values.values[part][0] if len(values) == 1 else None
        groups["untrained"] = untrained["excess_q"].to_numpy(), untrained["p"].to_numpy()
        for part, (means, p) in groups.items():
            if np.all(np.isnan(means)):
                continue
            columns = {**graph, "claim": "modular", "networks": part, "quantity": "excess Q", "num_left_out": None}
            columns |= {"setting": None, "p_combined": None if p is None else combined_p(p)}
            summary = summarize_seeds(means, testing.interval)
            rows.append(claim_row(summary, HIGHER, _tell, test=flip_test(means), in_q=means, **columns))
    return claims_frame(rows, testing)


def _tell(row: dict[str, Any]) -> str:
    comparison = {
        NOT_SHOWN: "is not shown to differ from that of rotated units",
        NOT_TESTED: f"against rotated units: {points_say(row, HIGHER)}",
        NO_DIFFERENCE: "does not differ from that of rotated units by more than the margin",
    }.get(row["verdict"], f"is {row['verdict']} than of rotated units")
    group = GROUPS.get(row["networks"], f"the {row['networks']} arm")
    combined = "" if row["p_combined"] is None else f", networks' own p combined {row['p_combined']:.2g}"
    q = f"Q of {graph_name(row['measure'], row['normalized'], row['layer'])}, in {group}"
    return f"{q} {comparison}: {numbers_of(row)}{combined}; {certainty_of(row)}"
