"""Effects of regularization on Q: whether Q rises with dropout, and whether dropout raises it more than penalties."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from modjax.report.best_settings import best_gains, best_gains_test
from modjax.report.matched import MATCHED, along_accuracy, at_matched_accuracy, of_living
from modjax.report.multiplicity import FlipTest, flip_test
from modjax.report.settings import ARMS, Panel, Panels, mean_of_known, panel_of, setting_name
from modjax.report.statistics import LEAST_SEEDS, SeedSummary, bootstrap, slope, spearman, summarize_seeds, tails_p
from modjax.report.verdicts import (
    NO_DIFFERENCE,
    NOT_SHOWN,
    NOT_TESTED,
    SCORE_TITLES,
    Testing,
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
ALONG = "difference along accuracy"
LEAST_DENOMINATOR = 0.01  # a gain in Q below this is too close to zero to divide by
ARM_NAMES = {"dropout": "dropout", "l2": "L2", "l1": "L1"}


def dropout_claim(panels: Panels, testing: Testing) -> pl.DataFrame:
    """Return slope and rank correlation of Q against dropout for each graph; empty without two dropout rates.

    The rates are those of the dropout arm, and 0 for the baseline. Slope and correlation are computed for each seed,
    over the rates at which it has a Q.
    """
    rows = []
    for graph, panel in panels:
        rates = np.concatenate([panel.strengths["baseline"], panel.strengths["dropout"]])
        if len(np.unique(rates)) < 2:
            continue
        q = np.concatenate([panel.values["baseline"], panel.values["dropout"]])
        trends = np.array([_trend(rates, column) for column in q.T]).reshape(-1, 2)
        span = f"dropout {rates.min():.3g} to {rates.max():.3g}"
        common = {**graph, "claim": "dropout", "networks": "dropout", "setting": span}
        common["num_left_out"] = panel.num_left_out["baseline"] + panel.num_left_out["dropout"]
        slopes, correlations = (summarize_seeds(column, testing.interval) for column in trends.T)
        tests = [flip_test(column) for column in trends.T]
        # The change in Q over the whole range of rates is what a margin can be compared with.
        change = trends[:, 0] * float(np.ptp(rates))
        rho = correlations.estimate
        # rho is bound as a default: the sentence is written after the loop has moved on.
        tell = lambda row, rho=rho: _tell_slope(row, rho)  # noqa: E731
        rows += [
            claim_row(slopes, RISES, tell, test=tests[0], in_q=change, quantity="slope", **common),
            claim_row(correlations, RISES, _tell_correlation, test=tests[1], quantity="rank correlation", **common),
        ]
    return claims_frame(rows, testing)


class _Arms(NamedTuple):
    """What the rows of one graph about arms need.

    Attributes:
        graph: Columns that name the graph and the score.
        panel: Q.
        accuracy: Test accuracy of the same trials; None where the sweep has none.
        living: Share of living units of the same trials.
        testing: How to test.
        suffix: End of the quantity's name.
    """

    graph: dict[str, Any]
    panel: Panel
    accuracy: Panel | None
    living: Panel
    testing: Testing
    suffix: str = ""


def arms_claim(sweep: Sweep, parts: pl.DataFrame, panels: Panels, testing: Testing) -> pl.DataFrame:
    """Return each arm's best gain over the baseline, and dropout's against the others', for each graph.

    The best setting of an arm is chosen for each seed by the other seeds, so that the choice does not inflate the gain;
    p accounts for that choice (:mod:`modjax.report.best_settings`). Once among all settings, and once among those whose
    accuracy is within 0.01 of the baseline's; and dropout against the others along the curve of Q against accuracy
    (:mod:`modjax.report.matched`). Empty without a baseline and an arm, or with one seed.
    """
    rows = []
    accuracies = sweep.trials["test_accuracy"] if "test_accuracy" in sweep.trials.columns else None
    accuracy = None
    if accuracies is not None and accuracies.drop_nulls().len():
        accuracy = panel_of(parts, sweep.trials.select("trial_id", value="test_accuracy"))
    for graph, panel in panels:
        living = of_living(sweep, parts, graph)
        arms = _Arms(graph, panel, accuracy, living, testing)
        gains = {arm: _gains(panel, arm) for arm in ARMS}
        for arm, gain in gains.items():
            gain[mean_of_known(living.values[arm], axis=1) < testing.min_living] = np.nan
        rows += _gain_rows(arms, gains)
        if accuracy is not None:
            matched = {arm: at_matched_accuracy(gain, accuracy, arm) for arm, gain in gains.items()}
            rows += _gain_rows(arms._replace(suffix=MATCHED), matched)
            rows += [row for arm in ("l2", "l1") for row in _along_accuracy(arms, accuracy, arm)]
    return claims_frame(rows, testing)


def _gain_rows(arms: _Arms, gains: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = []
    for arm, gain in gains.items():
        best, chosen = best_gains(gain)
        if not np.all(np.isnan(best)):
            common = {**arms.graph, "claim": "arms", "networks": arm, "quantity": f"gain{arms.suffix}"}
            common |= {"setting": _chosen_setting(arm, arms.panel, chosen)}
            common |= {"num_left_out": arms.panel.num_left_out[arm], **_shown_beside(arms, arm, chosen)}
            summary, test = _tested(summarize_seeds(best, arms.testing.interval), gain)
            rows.append(claim_row(summary, RAISED, _tell_gain, test=test, in_q=best, **common))
    for arm in ("l2", "l1"):
        rows += _against(arms, arm, gains)
    return rows


def _shown_beside(arms: _Arms, arm: str, chosen: np.ndarray) -> dict[str, float | None]:
    """Return mean accuracy and share of living units of the networks at the settings that seeds chose."""
    seeds = np.flatnonzero(chosen >= 0)

    def mean(panel: Panel | None) -> float | None:
        values = np.array([]) if panel is None else panel.values[arm][chosen[seeds], seeds]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else None

    return {"accuracy": mean(arms.accuracy), "living": mean(arms.living)}


def _along_accuracy(arms: _Arms, accuracy: Panel, arm: str) -> list[dict[str, Any]]:
    values = along_accuracy(arms.panel, accuracy, "dropout", arm)
    if np.all(np.isnan(values)):
        return []
    common = {**arms.graph, "claim": "arms", "networks": f"dropout - {arm}", "quantity": ALONG}
    common |= {"setting": "all settings", "num_left_out": int(np.isnan(values).sum())}
    summary = summarize_seeds(values, arms.testing.interval)
    return [claim_row(summary, MORE, _tell_along, test=flip_test(values), in_q=values, **common)]


def _gains(panel: Panel, arm: str) -> np.ndarray:
    """Return Q of each setting minus Q of the baseline, ``[settings seeds]``."""
    return panel.values[arm] - (panel.values["baseline"] if len(panel.values["baseline"]) else np.nan)


def _tested(
    summary: SeedSummary, gain: np.ndarray, rival: np.ndarray | None = None
) -> tuple[SeedSummary, FlipTest | None]:
    """Replace p, if there are enough seeds for one, by the p that accounts for the choice of settings."""
    if summary.p is None:
        return summary, None
    test = best_gains_test(gain, rival)
    return summary._replace(p=tails_p(test.flipped, test.observed, is_exact=False)), test


def _trend(rates: np.ndarray, q: np.ndarray) -> tuple[float, float]:
    is_there = ~np.isnan(q)
    return slope(rates[is_there], q[is_there]), spearman(rates[is_there], q[is_there])


def _chosen_setting(arm: str, panel: Panel, chosen: np.ndarray) -> str:
    """Describe the setting chosen most often, and by how many seeds."""
    choices = chosen[chosen >= 0]
    most = int(np.bincount(choices).argmax())
    return (
        f"{setting_name(arm, float(panel.strengths[arm][most]))} in {np.sum(choices == most)} of {len(choices)} seeds"
    )


def _against(arms: _Arms, arm: str, gains: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return rows of the difference and the ratio of dropout's gain and another arm's."""
    (own, own_choice), (other, other_choice) = (best_gains(gains[name]) for name in ("dropout", arm))
    pair = np.stack([own, other], axis=1)
    # Only seeds that have both gains can be compared.
    pair = pair[~np.isnan(pair).any(1)]
    if not len(pair):
        return []
    panel = arms.panel
    settings = [_chosen_setting("dropout", panel, own_choice), _chosen_setting(arm, panel, other_choice)]
    common = {**arms.graph, "claim": "arms", "networks": f"dropout - {arm}", "setting": ", ".join(settings)}
    common["num_left_out"] = panel.num_left_out["dropout"] + panel.num_left_out[arm]
    common["quantity"] = f"difference of gains{arms.suffix}"
    differences = pair[:, 0] - pair[:, 1]
    summary = summarize_seeds(differences, arms.testing.interval)
    difference, test = _tested(summary, gains["dropout"], gains[arm])
    rows = [claim_row(difference, MORE, _tell_difference, test=test, in_q=differences, **common)]
    # A ratio means nothing where the other arm's gain is negative in some seed, or close to zero.
    if not arms.suffix and pair[:, 1].min() > 0 and pair[:, 1].mean() >= LEAST_DENOMINATOR:
        ratio = _ratio(pair)
        common |= {"networks": f"dropout / {arm}", "quantity": "ratio of gains"}
        rows.append(claim_row(ratio, MORE, _tell_ratio, is_estimate_only=True, **common))
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


def _q_of(row: dict[str, Any]) -> str:
    return f"{SCORE_TITLES[row['score']]} of {graph_name(row['measure'], row['normalized'], row['layer'])}"


def _beside(row: dict[str, Any]) -> str:
    """Describe accuracy and living units, where they are known."""
    parts = [f"accuracy {row['accuracy']:.3f}"] if row.get("accuracy") is not None else []
    if row.get("living") is not None and row["living"] < 1:
        parts.append(f"{row['living']:.0%} of units alive")
    return f"; {', '.join(parts)}" if parts else ""


def _unshown(row: dict[str, Any], words: Words, verb: str) -> str:
    """Return a verdict in words: the direction, or that none is shown, or that there is none."""
    special = {NOT_SHOWN: verb, NOT_TESTED: points_say(row, words), NO_DIFFERENCE: "no difference beyond the margin"}
    verdict: str = row["verdict"]
    return special.get(verdict, verdict)


def _tell_slope(row: dict[str, Any], rho: float | None) -> str:
    correlation = "" if rho is None else f", rho {rho:.2f}"
    trend = f"{_unshown(row, RISES, 'is not shown to rise or fall')} with dropout"
    return f"{_q_of(row)}, {trend}: {numbers_of(row, ' per unit')}{correlation}; {certainty_of(row)}"


def _tell_correlation(row: dict[str, Any]) -> str:
    return f"Rank correlation of {_q_of(row)}, with dropout: {numbers_of(row)}; {certainty_of(row)}"


def _tell_gain(row: dict[str, Any]) -> str:
    matched = row["quantity"].removeprefix("gain")
    regularizer = f"with {ARM_NAMES[row['networks']]} at its best{matched} ({row['setting']}{_beside(row)})"
    verdict = _unshown(row, RAISED, "not shown to be raised or lowered")
    return f"{_q_of(row)}, {regularizer}: {verdict}: {numbers_of(row)}; {certainty_of(row)}"


def _tell_difference(row: dict[str, Any]) -> str:
    other, matched = ARM_NAMES[row["networks"].split(" - ")[1]], row["quantity"].removeprefix("difference of gains")
    comparison = f"what dropout at its best adds against what {other} at its best adds{matched} ({row['setting']})"
    verdict = _unshown(row, MORE, "not shown to be more or less")
    return f"{_q_of(row)}, {comparison}: {verdict}: {numbers_of(row)}; {certainty_of(row)}"


def _tell_along(row: dict[str, Any]) -> str:
    other = ARM_NAMES[row["networks"].split(" - ")[1]]
    verdict = _unshown(row, MORE, "not shown to be more or less")
    comparison = f"with dropout against {other} at the same accuracy, over all accuracies that both reach"
    return f"{_q_of(row)}, {comparison}: {verdict}: {numbers_of(row)}; {certainty_of(row)}"


def _tell_ratio(row: dict[str, Any]) -> str:
    other = ARM_NAMES[row["networks"].split(" / ")[1]]
    gain = f"Dropout's gain in {_q_of(row).replace('Excess', 'excess')}"
    return f"{gain}, is {numbers_of(row)} times that of {other}; {row['num_seeds']} seeds"
