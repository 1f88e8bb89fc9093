"""The paper's claims, tested from a sweep's tables: effects, intervals over seeds, p-values, and verdicts in words."""

from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

from modjax.report.families import COMPARISONS, HIGHER, SCORE_NAMES, families_claim, family_means
from modjax.report.regularization import ARM_NAMES, MORE, RAISED, RISES, arms_claim, dropout_claim
from modjax.report.settings import ARMS, parts_of, setting_name
from modjax.report.statistics import LEAST_FLIPPED, LEAST_SEEDS
from modjax.report.style import measure_title
from modjax.report.untrained import Q_CHANGE, training_claim
from modjax.report.verdicts import NOT_TESTED, Words, all_one_way
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
    """Each claim's table (one schema; empty where the sweep cannot test it), and what they say.

    Attributes:
        dropout: Q rises with dropout.
        arms: Dropout raises Q more than L2 and L1 penalties do at their best.
        families: Modules agree more within a family of measures than across.
        training: What training changes relative to untrained networks.
        headlines: ``{claim: verdicts}``: where it holds, and where it does not.
        notes: What was left out.
    """

    dropout: pl.DataFrame
    arms: pl.DataFrame
    families: pl.DataFrame
    training: pl.DataFrame
    headlines: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def table(self) -> pl.DataFrame:
        """All claims' rows."""
        return pl.concat([self.dropout, self.arms, self.families, self.training])

    @property
    def sentences(self) -> list[str]:
        """All headlines, then the notes."""
        return [sentence for lines in self.headlines.values() for sentence in lines] + list(self.notes)

    def shown(self, claim: str) -> pl.DataFrame:
        """A claim's table for the screen: no sentences, and no column that says one thing throughout."""
        frame: pl.DataFrame = getattr(self, claim).drop("claim", "sentence")
        told = ("estimate", "p_adjusted", "effect_size", "num_seeds", "verdict")
        return frame.select(name for name in frame.columns if name in told or frame[name].n_unique() > 1)


def claims(sweep: Sweep) -> Claims:
    """Test the paper's claims; every number is of seeds, and docs/statistics.md says how it is made.

    Args:
        sweep: What :func:`modjax.open_sweep` or :func:`modjax.run_sweep` gives.

    Returns:
        A table for each claim, with a row for each measure, scaling and layer, and headlines that say for which of
        them the claim holds and for which it does not.

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
    return Claims(**tables, headlines=headlines, notes=tuple(_notes(sweep.trials, parts)))


def _analysed(sweep: Sweep, parts: pl.DataFrame) -> pl.DataFrame:
    """Without the trials that a running sweep has trained and found no modules of yet; all, if it finds none at all."""
    found = sweep.modules["trial_id"].unique()
    return parts.filter(pl.col("trial_id").is_in(found.implode())) if found.len() else parts


def _dropout_headlines(rows: Rows) -> list[str]:
    slopes = [row for row in rows if row["quantity"] == "slope"]
    return [_headline(TITLES["dropout"], slopes, RISES)]


def _arms_headlines(rows: Rows) -> list[str]:
    """Each comparison holds where dropout's own gain is above zero too: "raises Q more"."""
    gains = {_key(row): row for row in rows if row["quantity"] == "gain" and row["networks"] == "dropout"}
    found = []
    for arm in ("l2", "l1"):
        title = f"Dropout raises Q more than {ARM_NAMES[arm]} does at its best"
        differences = [row for row in rows if row["networks"] == f"dropout - {arm}"]
        if differences:
            found.append(_headline(title, [_both(row, gains[_key(row)]) for row in differences], MORE))
        else:
            found.append(f"{title}: cannot be tested: the sweep lacks one of these arms, or the baseline.")
    return found


def _key(row: dict[str, Any]) -> tuple:
    return row["measure"], row["normalized"], row["layer"]


def _both(difference: dict[str, Any], gain: dict[str, Any]) -> dict[str, Any]:
    """The difference's row; where dropout's own gain does not hold, with a verdict that says so."""
    if difference["verdict"] == NOT_TESTED and all_one_way(difference) > 0 and all_one_way(gain) <= 0:
        return {**difference, "least": 0.0}
    if difference["verdict"] == MORE[0] and gain["verdict"] != RAISED[0]:
        return {**difference, "verdict": f"more, but dropout's own gain {gain['verdict']}"}
    return difference


def _families_headlines(rows: Rows) -> list[str]:
    found = []
    for networks in ("trained", "untrained"):
        for quantity, side in COMPARISONS.items():
            here = [row for row in rows if row["networks"] == networks and row["quantity"] == quantity]
            if here:
                title = f"{networks.capitalize()} networks: modules agree more {side} than across families"
                found.append(_headline(title, here, HIGHER))
    return found


def _training_headlines(rows: Rows) -> list[str]:
    found = []
    for part in ("baseline", *ARMS):
        group = "the baseline" if part == "baseline" else f"the {part} arm"
        here = [row for row in rows if row["networks"] == part]
        of_q = [row for row in here if row["quantity"] == Q_CHANGE]
        of_alignment = [row for row in here if row["quantity"] != Q_CHANGE]
        for what, family in (("Q", of_q), ("Agreement of modules", of_alignment)):
            if family:
                found.append(_headline(f"{what} in {group} is higher than in untrained networks", family, HIGHER))
    return found


def _headline(title: str, rows: Rows, words: Words) -> str:
    """For how many rows a claim holds, and the others by name."""
    if all(row["verdict"] == NOT_TESTED for row in rows):
        most = max(row["num_seeds"] for row in rows)
        kinds = {1: f"{words[0]} in every seed", -1: f"{words[1]} in every seed", 0: "seeds differ"}
        verdicts = [kinds[all_one_way(row)] for row in rows]
        needed = LEAST_SEEDS if rows[0]["claim"] == "training" else LEAST_FLIPPED
        why = f"{most} seeds, {needed} are needed" if most < needed else "no spread to test against"
        return f"{title}: not tested ({why}); {_told(rows, verdicts, kinds[1])}."
    return f"{title}: {_told(rows, [row['verdict'] for row in rows], words[0])}."


def _told(rows: Rows, verdicts: list[str], holds: str) -> str:
    """``holds for 12 of 16; not shown: ...; falls: ...``; those that do not hold are named."""
    num_holding = verdicts.count(holds)
    told = [f"{holds} for {'all' if num_holding == len(rows) else f'{num_holding} of'} {len(rows)}"]
    for verdict in dict.fromkeys(verdicts):
        if verdict != holds:
            told.append(f"{verdict}: {_names([r for r, v in zip(rows, verdicts, strict=True) if v == verdict])}")
    return "; ".join(told)


def _names(rows: Rows) -> str:
    """The graphs of rows, layers of one measure and scaling together."""
    layers: dict[str, list[str]] = {}
    for row in rows:
        what = measure_title(row["measure"])
        if row["measure"] is None:
            kind = "" if row["quantity"] in COMPARISONS else f" {row['quantity']}"
            what = f"{SCORE_NAMES[row['score']]}{kind}"
        name = f"{'normalized' if row['normalized'] else 'raw'} {what}"
        layers.setdefault(name, []).append("combined" if row["layer"] < 0 else str(row["layer"]))
    return ", ".join(f"{name} (layer{'s' * (len(which) > 1)} {', '.join(which)})" for name, which in layers.items())


def _notes(trials: pl.DataFrame, parts: pl.DataFrame) -> list[str]:
    """What no claim uses, and why."""
    notes = []
    excluded = parts.filter(~pl.col("is_kept"))
    if excluded.height:
        counts = excluded.group_by("part", "strength").len().sort("part", "strength").rows()
        told = ", ".join(f"{setting_name(part, strength)}: {num}" for part, strength, num in counts)
        num_trained = parts.filter(pl.col("part") != "untrained").height
        reason = "left out (excluded: test accuracy below 0.8)"
        notes.append(f"{excluded.height} of {num_trained} trained trials are {reason}: {told}.")
    others = parts.filter(pl.col("part") == "other").height
    if others:
        notes.append(f"Trials that vary more than one thing at a time, used for agreement of modules alone: {others}.")
    unfinished = trials.height - parts.height
    if unfinished:
        notes.append(f"Trials that are not finished, which these verdicts are without: {unfinished}.")
    return notes
