"""Tests of the paper's claims from a sweep's tables: effects, intervals over seeds, p-values, verdicts in words."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from modjax.names import STOPPED, one_of
from modjax.report.families import families_claim, family_means
from modjax.report.headlines import FAMILIES, TITLES, headline
from modjax.report.modular import modular_claim
from modjax.report.multiplicity import check_margin
from modjax.report.regularization import arms_claim, dropout_claim
from modjax.report.settings import parts_of, q_panels, setting_name
from modjax.report.statistics import LEAST_FLIPPED
from modjax.report.untrained import training_claim
from modjax.report.verdicts import CORRECTIONS, INTERVALS, NOT_TESTED, Testing
from modjax.store.exclusion import exclusion_rule, spec_values
from modjax.store.sweep import Sweep

Rows = list[dict[str, Any]]
MISSING = {
    "modular": "the sweep has no rotation nulls ([modules] nulls, null_kind)",
    "dropout": "the sweep has no Q at two rates of dropout that differ in nothing else",
    "arms": "the sweep has no baseline with an arm beside it, in two seeds or more",
    "families": "the sweep has no alignment of two measures of one family and of one of the other",
    "training": "the sweep lacks untrained networks, or trained ones, with a Q",
}


class Claims(NamedTuple):
    """Results for each claim: a table (same schema for all, empty where it cannot be tested) and its headlines.

    Attributes:
        modular: Table of the question whether Q is higher than in rotations of the networks' own similarities.
        dropout: Table of the claim that Q rises with dropout.
        arms: Table of the claim that dropout raises Q more than L2 and L1 penalties do at their best.
        families: Table of the claim that modules agree more within a family of measures than across families.
        training: Table of what training changes relative to untrained networks.
        headlines: Sentences that say where each claim holds and where it does not, ``{claim: sentences}``.
        notes: Sentences about the trials that were left out.
    """

    modular: pl.DataFrame
    dropout: pl.DataFrame
    arms: pl.DataFrame
    families: pl.DataFrame
    training: pl.DataFrame
    headlines: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def table(self) -> pl.DataFrame:
        """Rows of all claims."""
        return pl.concat([self.modular, self.dropout, self.arms, self.families, self.training])

    @property
    def sentences(self) -> list[str]:
        """Headlines of all claims, then the notes."""
        return [sentence for lines in self.headlines.values() for sentence in lines] + list(self.notes)

    def shown(self, claim: str) -> pl.DataFrame:
        """Return a claim's table for the screen: without sentences and columns that have a single value.

        Raises:
            ValueError: An unknown claim.
        """
        frame: pl.DataFrame = getattr(self, one_of(claim, tuple(TITLES), "claim")).drop("claim", "sentence")
        always_shown = ("estimate", "p_adjusted", "effect_size", "num_seeds", "verdict")
        return frame.select(name for name in frame.columns if name in always_shown or frame[name].n_unique() > 1)


def claims(
    sweep: Sweep,
    correction: str = "max_t",
    interval: str = "t",
    margin: float | None = None,
    min_living: float = 0.0,
) -> Claims:
    """Test the paper's claims. All statistics are over seeds; docs/statistics.md describes them.

    Args:
        sweep: Sweep, as returned by :func:`modjax.open_sweep` or :func:`modjax.run_sweep`.
        correction: What p is adjusted by within a family: ``max_t`` (step-down max-T with shared sign flips, Holm where
            seeds are not paired: family-wise error) or ``benjamini_hochberg`` (false discovery rate).
        interval: ``t`` (Student's, Welch's) or ``bootstrap`` (percentiles; too narrow with few seeds).
        margin: Largest difference in Q that counts as none: rows that are not shown to differ are tested for
            equivalence. None takes the spec's ``[analysis] margin``.
        min_living: Share of units that must be alive, on average, in a setting that may be an arm's best.

    Returns:
        A table for each claim, with one row per measure, scaling and layer, and headlines that say for which of them
        the claim holds and for which it does not.

    Raises:
        ValueError: A table of the sweep is damaged; an unknown correction or interval; a margin that is not positive.
    """
    one_of(correction, CORRECTIONS, "correction")
    one_of(interval, INTERVALS, "interval")
    if margin is None:
        margin = _spec_margin(sweep)
    else:
        check_margin(margin)
    if not 0 <= min_living <= 1:
        raise ValueError(f"min_living is a share of units, from 0 to 1; got {min_living}.")
    testing = Testing(correction, interval, margin, min_living)
    parts, means = _analysed(sweep, parts_of(sweep.trials)), family_means(sweep)
    panels = q_panels(sweep, parts)
    tables = {
        "modular": modular_claim(sweep, parts, panels, testing),
        "dropout": dropout_claim(panels, testing),
        "arms": arms_claim(sweep, parts, panels, testing),
        "families": families_claim(means, parts, testing),
        "training": training_claim(sweep, parts, panels, means, testing),
    }
    headlines = {
        name: tuple(line for family in FAMILIES[name](table.to_dicts()) for line in headline(family, correction))
        if table.height
        else (f"{TITLES[name]} Cannot be tested: {MISSING[name]}.",)
        for name, table in tables.items()
    }
    return Claims(**tables, headlines=headlines, notes=tuple(_notes(sweep, parts, pl.concat(tables.values()))))


def _spec_margin(sweep: Sweep) -> float | None:
    section = spec_values(sweep).get("analysis")
    margin = section.get("margin") if isinstance(section, dict) else None
    return float(margin) if isinstance(margin, int | float) and np.isfinite(margin) and margin > 0 else None


def _analysed(sweep: Sweep, parts: pl.DataFrame) -> pl.DataFrame:
    """Drop trials that a running sweep has trained but not analysed yet; keep all if it has analysed none."""
    analysed_ids = sweep.modules["trial_id"].unique()
    return parts.filter(pl.col("trial_id").is_in(analysed_ids.implode())) if analysed_ids.len() else parts


def _notes(sweep: Sweep, parts: pl.DataFrame, table: pl.DataFrame) -> list[str]:
    """Sentences about what could not be tested, and about the trials that no claim uses, and why."""
    notes = []
    untested = table.filter((pl.col("verdict") == NOT_TESTED) & (pl.col("claim") != "training"))
    num_seeds = max(untested["num_seeds"].to_list(), default=LEAST_FLIPPED)
    if 0 < num_seeds < LEAST_FLIPPED:
        few = f"{num_seeds} seed{'s' if num_seeds != 1 else ''}"
        notes.append(f"Too few seeds to test: {few}, {LEAST_FLIPPED} are needed. The tables hold the points.")
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
