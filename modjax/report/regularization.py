"""Effects of regularization on Q: whether Q rises with dropout, and whether dropout raises it more than penalties."""

from typing import Any

import numpy as np
import polars as pl

from modjax.report.best_settings import best_gains, best_gains_p
from modjax.report.settings import ARMS, Panel, graphs_of, panel_of, setting_name
from modjax.report.statistics import LEAST_SEEDS, SeedSummary, bootstrap, slope, spearman, summarize_seeds
from modjax.report.verdicts import (
    NOT_SHOWN,
    NOT_TESTED,
    Words,
    certainty_of,
    claim_row,
    claims_frame,
    graph_name,
    numbers_of,
    points_say,
)
from modjax.store.sweep import Sweep

RISES: Words = ("rises", "falls")
RAISED: Words = ("raised", "lowered")
MORE: Words = ("more", "less")
LEAST_DENOMINATOR = 0.01  # a gain in Q below this is too close to zero to divide by
ARM_NAMES = {"dropout": "dropout", "l2": "L2", "l1": "L1"}


def dropout_claim(sweep: Sweep, parts: pl.DataFrame) -> pl.DataFrame:
    """Return slope and rank correlation of Q against dropout for each graph; empty without two dropout rates.

    The rates are those of the dropout arm, and 0 for the baseline. Slope and correlation are computed for each seed,
    over the rates at which it has a Q.
    """
    rows = []
    for graph, panel in _panels(sweep, parts):
        rates = np.concatenate([panel.strengths["baseline"], panel.strengths["dropout"]])
        if len(np.unique(rates)) < 2:
            continue
        q = np.concatenate([panel.values["baseline"], panel.values["dropout"]])
        trends = np.array([_trend(rates, column) for column in q.T]).reshape(-1, 2)
        span = f"dropout {rates.min():.3g} to {rates.max():.3g}"
        common = {**graph, "claim": "dropout", "networks": "dropout", "score": "q", "setting": span}
        common["num_left_out"] = panel.num_left_out["baseline"] + panel.num_left_out["dropout"]
        slopes, correlations = summarize_seeds(trends[:, 0]), summarize_seeds(trends[:, 1])
        rho = correlations.estimate
        # rho is bound as a default: the sentence is written after the loop has moved on.
        rows += [
            claim_row(slopes, RISES, lambda row, rho=rho: _tell_slope(row, rho), quantity="slope", **common),
            claim_row(correlations, RISES, _tell_correlation, quantity="rank correlation", **common),
        ]
    return claims_frame(rows)


def arms_claim(sweep: Sweep, parts: pl.DataFrame) -> pl.DataFrame:
    """Return each arm's best gain over the baseline, and dropout's against the others', for each graph.

    The best setting of an arm is chosen for each seed by the other seeds, so that the choice does not inflate the gain;
    p accounts for that choice (:mod:`modjax.report.best_settings`). Empty without a baseline and an arm, or with one
    seed.
    """
    rows = []
    for graph, panel in _panels(sweep, parts):
        gains = {arm: _gains(panel, arm) for arm in ARMS}
        for arm, gain in gains.items():
            best, chosen = best_gains(gain)
            if not np.all(np.isnan(best)):
                common = {**graph, "claim": "arms", "networks": arm, "score": "q"}
                common |= {"setting": _told_choice(arm, panel, chosen), "num_left_out": panel.num_left_out[arm]}
                summary = _with_p(summarize_seeds(best), gain)
                rows.append(claim_row(summary, RAISED, _tell_gain, quantity="gain", **common))
        for arm in ("l2", "l1"):
            rows += _against(graph, panel, arm, gains)
    return claims_frame(rows)


def _gains(panel: Panel, arm: str) -> np.ndarray:
    """Return Q of each setting minus Q of the baseline, ``[settings seeds]``."""
    return panel.values[arm] - (panel.values["baseline"] if len(panel.values["baseline"]) else np.nan)


def _with_p(summary: SeedSummary, gain: np.ndarray, rival: np.ndarray | None = None) -> SeedSummary:
    """Replace p, if there are enough seeds for one, by the p that accounts for the choice of settings."""
    return summary if summary.p is None else summary._replace(p=best_gains_p(gain, rival))


def _panels(sweep: Sweep, parts: pl.DataFrame) -> list[tuple[dict[str, Any], Panel]]:
    """Return each graph, as columns of a row, with its Q."""
    panels = []
    for measure, normalized, layer in graphs_of(sweep):
        here = (pl.col("measure") == measure) & (pl.col("normalized") == normalized) & (pl.col("layer") == layer)
        values = sweep.modules.filter(here).select("trial_id", value="q")
        graph = {"measure": measure, "normalized": normalized, "layer": layer}
        panels.append((graph, panel_of(parts, values)))
    return panels


def _trend(rates: np.ndarray, q: np.ndarray) -> tuple[float, float]:
    is_there = ~np.isnan(q)
    return slope(rates[is_there], q[is_there]), spearman(rates[is_there], q[is_there])


def _told_choice(arm: str, panel: Panel, chosen: np.ndarray) -> str:
    """Describe the setting chosen most often, and by how many seeds."""
    choices = chosen[chosen >= 0]
    most = int(np.bincount(choices).argmax())
    return (
        f"{setting_name(arm, float(panel.strengths[arm][most]))} in {np.sum(choices == most)} of {len(choices)} seeds"
    )


def _against(graph: dict[str, Any], panel: Panel, arm: str, gains: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return rows of the difference and the ratio of dropout's gain and another arm's."""
    (own, own_choice), (other, other_choice) = (best_gains(gains[name]) for name in ("dropout", arm))
    pair = np.stack([own, other], axis=1)
    # Only seeds that have both gains can be compared.
    pair = pair[~np.isnan(pair).any(1)]
    if not len(pair):
        return []
    settings = [_told_choice("dropout", panel, own_choice), _told_choice(arm, panel, other_choice)]
    common = {**graph, "claim": "arms", "networks": f"dropout - {arm}", "score": "q", "setting": ", ".join(settings)}
    common["num_left_out"] = panel.num_left_out["dropout"] + panel.num_left_out[arm]
    difference = _with_p(summarize_seeds(pair[:, 0] - pair[:, 1]), gains["dropout"], gains[arm])
    rows = [claim_row(difference, MORE, _tell_difference, quantity="difference of gains", **common)]
    # A ratio means nothing where the other arm's gain is negative in some seed, or close to zero.
    if pair[:, 1].min() > 0 and pair[:, 1].mean() >= LEAST_DENOMINATOR:
        ratio = _ratio(pair)
        common["networks"] = f"dropout / {arm}"
        rows.append(claim_row(ratio, MORE, _tell_ratio, is_estimate_only=True, quantity="ratio of gains", **common))
    return rows


def _ratio(pair: np.ndarray) -> SeedSummary:
    """Return the mean gain of dropout over that of the other arm; seeds stay paired in the bootstrap."""
    low, high = None, None
    if len(pair) >= LEAST_SEEDS:
        low, high = bootstrap(pair, lambda rows: rows[..., 0].mean(-1) / rows[..., 1].mean(-1))
    # The range is of the seeds' own ratios, while the estimate is a ratio of means, which one small gain upsets less.
    each = pair[:, 0] / pair[:, 1]
    estimate = float(pair[:, 0].mean() / pair[:, 1].mean())
    return SeedSummary(estimate, low, high, float(each.min()), float(each.max()), None, None, len(pair))


def _graph(row: dict[str, Any]) -> str:
    return graph_name(row["measure"], row["normalized"], row["layer"])


def _tell_slope(row: dict[str, Any], rho: float | None) -> str:
    verb = {NOT_SHOWN: "is not shown to rise or fall", NOT_TESTED: points_say(row, RISES)}
    correlation = "" if rho is None else f", rho {rho:.2f}"
    trend = f"{verb.get(row['verdict'], row['verdict'])} with dropout"
    return f"Q of {_graph(row)}, {trend}: {numbers_of(row, ' per unit')}{correlation}; {certainty_of(row)}"


def _tell_correlation(row: dict[str, Any]) -> str:
    return f"Rank correlation of Q of {_graph(row)}, with dropout: {numbers_of(row)}; {certainty_of(row)}"


def _tell_gain(row: dict[str, Any]) -> str:
    verb = {NOT_SHOWN: "not shown to be raised or lowered", NOT_TESTED: points_say(row, RAISED)}
    regularizer = f"with {ARM_NAMES[row['networks']]} at its best ({row['setting']})"
    verdict = verb.get(row["verdict"], row["verdict"])
    return f"Q of {_graph(row)}, {regularizer}: {verdict}: {numbers_of(row)}; {certainty_of(row)}"


def _tell_difference(row: dict[str, Any]) -> str:
    other = ARM_NAMES[row["networks"].split(" - ")[1]]
    verb = {NOT_SHOWN: "not shown to be more or less", NOT_TESTED: points_say(row, MORE)}
    comparison = f"what dropout at its best adds against what {other} at its best adds ({row['setting']})"
    verdict = verb.get(row["verdict"], row["verdict"])
    return f"Q of {_graph(row)}, {comparison}: {verdict}: {numbers_of(row)}; {certainty_of(row)}"


def _tell_ratio(row: dict[str, Any]) -> str:
    other = ARM_NAMES[row["networks"].split(" / ")[1]]
    return f"Dropout's gain in Q of {_graph(row)}, is {numbers_of(row)} times that of {other}; {row['num_seeds']} seeds"
