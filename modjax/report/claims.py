"""Tests of the paper's claims from a sweep's tables: effects, intervals over seeds, p-values, verdicts in words."""

from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

from modjax.names import STOPPED
from modjax.report.families import COMPARISONS, HIGHER, SCORE_NAMES, families_claim, family_means
from modjax.report.regularization import ARM_NAMES, MORE, RAISED, RISES, arms_claim, dropout_claim
from modjax.report.settings import ARMS, parts_of, setting_name
from modjax.report.statistics import LEAST_FLIPPED, LEAST_SEEDS
from modjax.report.style import measure_title
from modjax.report.untrained import Q_CHANGE, training_claim
from modjax.report.verdicts import NOT_TESTED, Words, all_one_way
from modjax.store.exclusion import exclusion_rule
from modjax.store.sweep import Sweep

Rows = list[dict[str, Any]]
TITLES = {
    "dropout": "Q rises with dropout",
    "arms": "Dropout raises Q more than L2 and L1 penalties do at their best",
    "families": "Modules agree more within a family of measures than across families",
    "training": "What training changes relative to untrained networks",
}
MISSING = {
    "dropout": "the sweep has no Q at two rates of dropout that differ in nothing else",
    "arms": "the sweep has no baseline with an arm beside it, in two seeds or more",
    "families": "the sweep has no alignment of two measures of one family and of one of the other",
    "training": "the sweep lacks untrained networks, or trained ones, with a Q",
}


class Claims(NamedTuple):
    """Results for each claim: a table (same schema for all, empty where it cannot be tested) and its headlines.

    Attributes:
        dropout: Table of the claim that Q rises with dropout.
        arms: Table of the claim that dropout raises Q more than L2 and L1 penalties do at their best.
        families: Table of the claim that modules agree more within a family of measures than across families.
        training: Table of what training changes relative to untrained networks.
        headlines: Sentences that say where each claim holds and where it does not, ``{claim: sentences}``.
        notes: Sentences about the trials that were left out.
    """

    dropout: pl.DataFrame
    arms: pl.DataFrame
    families: pl.DataFrame
    training: pl.DataFrame
    headlines: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def table(self) -> pl.DataFrame:
        """Rows of all claims."""
        return pl.concat([self.dropout, self.arms, self.families, self.training])

    @property
    def sentences(self) -> list[str]:
        """Headlines of all claims, then the notes."""
        return [sentence for lines in self.headlines.values() for sentence in lines] + list(self.notes)

    def shown(self, claim: str) -> pl.DataFrame:
        """Return a claim's table for the screen: without sentences and columns that have a single value."""
        frame: pl.DataFrame = getattr(self, claim).drop("claim", "sentence")
        always_shown = ("estimate", "p_adjusted", "effect_size", "num_seeds", "verdict")
        return frame.select(name for name in frame.columns if name in always_shown or frame[name].n_unique() > 1)


def claims(sweep: Sweep) -> Claims:
    """Test the paper's claims. All statistics are over seeds; docs/statistics.md describes them.

    Args:
        sweep: Sweep, as returned by :func:`modjax.open_sweep` or :func:`modjax.run_sweep`.

    Returns:
        A table for each claim, with one row per measure, scaling and layer, and headlines that say for which of them
        the claim holds and for which it does not.

    Raises:
        ValueError: A table of the sweep is damaged.
    """
    parts, means = _analysed(sweep, parts_of(sweep.trials)), family_means(sweep)
    tables = {
        "dropout": dropout_claim(sweep, parts),
        "arms": arms_claim(sweep, parts),
        "families": families_claim(means, parts),
        "training": training_claim(sweep, parts, means),
    }
    write: dict[str, Callable[[Rows], list[str]]] = {
        "dropout": _dropout_headlines,
        "arms": _arms_headlines,
        "families": _families_headlines,
        "training": _training_headlines,
    }
    headlines = {
        name: tuple(write[name](table.to_dicts()))
        if table.height
        else (f"{TITLES[name]}: cannot be tested: {MISSING[name]}.",)
        for name, table in tables.items()
    }
    return Claims(**tables, headlines=headlines, notes=tuple(_notes(sweep, parts)))


def _analysed(sweep: Sweep, parts: pl.DataFrame) -> pl.DataFrame:
    """Drop trials that a running sweep has trained but not analysed yet; keep all if it has analysed none."""
    analysed_ids = sweep.modules["trial_id"].unique()
    return parts.filter(pl.col("trial_id").is_in(analysed_ids.implode())) if analysed_ids.len() else parts


def _dropout_headlines(rows: Rows) -> list[str]:
    slopes = [row for row in rows if row["quantity"] == "slope"]
    return [_headline(TITLES["dropout"], slopes, RISES)]


def _arms_headlines(rows: Rows) -> list[str]:
    """Headlines of dropout against L2 and L1; "raises Q more" also requires that dropout's own gain is above zero."""
    gains = {_key(row): row for row in rows if row["quantity"] == "gain" and row["networks"] == "dropout"}
    headlines = []
    for arm in ("l2", "l1"):
        title = f"Dropout raises Q more than {ARM_NAMES[arm]} does at its best"
        differences = [row for row in rows if row["networks"] == f"dropout - {arm}"]
        if differences:
            headlines.append(_headline(title, [_both(row, gains[_key(row)]) for row in differences], MORE))
        else:
            headlines.append(f"{title}: cannot be tested: the sweep lacks one of these arms, or the baseline.")
    return headlines


def _key(row: dict[str, Any]) -> tuple:
    return row["measure"], row["normalized"], row["layer"]


def _both(difference: dict[str, Any], gain: dict[str, Any]) -> dict[str, Any]:
    """Return the row of the difference, with a verdict that says so where dropout's own gain does not hold."""
    if difference["verdict"] == NOT_TESTED and all_one_way(difference) > 0 and all_one_way(gain) <= 0:
        # Untested rows are judged by their range: this one no longer counts as above zero in every seed.
        return {**difference, "least": 0.0}
    if difference["verdict"] == MORE[0] and gain["verdict"] != RAISED[0]:
        return {**difference, "verdict": f"more, but dropout's own gain {gain['verdict']}"}
    return difference


def _families_headlines(rows: Rows) -> list[str]:
    headlines = []
    for networks in ("trained", "untrained"):
        for quantity, side in COMPARISONS.items():
            here = [row for row in rows if row["networks"] == networks and row["quantity"] == quantity]
            if here:
                title = f"{networks.capitalize()} networks: modules agree more {side} than across families"
                headlines.append(_headline(title, here, HIGHER))
    return headlines


def _training_headlines(rows: Rows) -> list[str]:
    headlines = []
    for part in ("baseline", *ARMS):
        group = "the baseline" if part == "baseline" else f"the {part} arm"
        here = [row for row in rows if row["networks"] == part]
        of_q = [row for row in here if row["quantity"] == Q_CHANGE]
        of_alignment = [row for row in here if row["quantity"] != Q_CHANGE]
        for what, family in (("Q", of_q), ("Agreement of modules", of_alignment)):
            if family:
                headlines.append(_headline(f"{what} in {group} is higher than in untrained networks", family, HIGHER))
    return headlines


def _headline(title: str, rows: Rows, words: Words) -> str:
    """Return a sentence that says for how many rows a claim holds and names the others."""
    if all(row["verdict"] == NOT_TESTED for row in rows):
        most = max(row["num_seeds"] for row in rows)
        # Without a p there is no verdict: the seeds are described by the direction they share, if any.
        kinds = {1: f"{words[0]} in every seed", -1: f"{words[1]} in every seed", 0: "seeds differ"}
        verdicts = [kinds[all_one_way(row)] for row in rows]
        needed = LEAST_SEEDS if rows[0]["claim"] == "training" else LEAST_FLIPPED
        why = f"{most} seeds, {needed} are needed" if most < needed else "no spread to test against"
        return f"{title}: not tested ({why}); {_told(rows, verdicts, kinds[1])}."
    return f"{title}: {_told(rows, [row['verdict'] for row in rows], words[0])}."


def _told(rows: Rows, verdicts: list[str], holds: str) -> str:
    """Return ``holds for 12 of 16; not shown: ...; falls: ...``, which names the rows that do not hold."""
    num_holding = verdicts.count(holds)
    clauses = [f"{holds} for {'all' if num_holding == len(rows) else f'{num_holding} of'} {len(rows)}"]
    for verdict in dict.fromkeys(verdicts):
        if verdict != holds:
            clauses.append(f"{verdict}: {_names([r for r, v in zip(rows, verdicts, strict=True) if v == verdict])}")
    return "; ".join(clauses)


def _names(rows: Rows) -> str:
    """Names of the rows' graphs, with the layers of a measure and scaling listed together."""
    layers: dict[str, list[str]] = {}
    for row in rows:
        # Rows about agreement compare measures with each other and so have none: their score names them.
        if row["measure"] is None:
            kind = "" if row["quantity"] in COMPARISONS else f" {row['quantity']}"
            what = f"{SCORE_NAMES[row['score']]}{kind}"
        else:
            what = measure_title(row["measure"])
        name = f"{'normalized' if row['normalized'] else 'raw'} {what}"
        layers.setdefault(name, []).append("combined" if row["layer"] < 0 else str(row["layer"]))
    return ", ".join(f"{name} (layer{'s' * (len(which) > 1)} {', '.join(which)})" for name, which in layers.items())


def _notes(sweep: Sweep, parts: pl.DataFrame) -> list[str]:
    """Sentences about the trials that no claim uses, and why."""
    notes = []
    excluded = parts.filter(~pl.col("is_kept"))
    if excluded.height:
        counts = excluded.group_by("part", "strength").len().sort("part", "strength").rows()
        breakdown = ", ".join(f"{setting_name(part, strength)}: {num}" for part, strength, num in counts)
        num_trained = parts.filter(pl.col("part") != "untrained").height
        reason = f"left out (excluded: {exclusion_rule(sweep)})"
        notes.append(f"{excluded.height} of {num_trained} trained trials are {reason}: {breakdown}.")
    others = parts.filter(pl.col("part") == "other").height
    if others:
        notes.append(f"Trials that vary more than one thing at a time, used for agreement of modules alone: {others}.")
    stopped = sweep.trials.filter(status=STOPPED).height
    if stopped:
        notes.append(f"Trials that successive halving stopped, which these verdicts are without: {stopped}.")
    unfinished = sweep.trials.height - parts.height - stopped
    if unfinished:
        notes.append(f"Trials that are not finished, which these verdicts are without: {unfinished}.")
    return notes
