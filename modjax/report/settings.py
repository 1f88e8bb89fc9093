"""Which part a trial plays in the study, told by its settings, and Q of every setting and seed as arrays."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from modjax.names import MEASURES, WEIGHTS
from modjax.store.sweep import Sweep
from modjax.store.tables import TRIALS

TRAINED = ("done", "diverged")
ARMS = ("dropout", "l2", "l1")
LEAST_SHARE = 0.5  # of a setting's seeds must be left, or the setting does not count


class Panel(NamedTuple):
    """One number (Q, say) of every setting and seed of one graph.

    Attributes:
        seeds: Sorted.
        strengths: ``{part: [settings]}``: dropout rates, penalties; the baseline has one setting, 0.
        values: ``{part: [settings seeds]}``; NaN where there is none, and in settings that do not count.
        num_left_out: ``{part: trials}`` that were trained and have no value there.
    """

    seeds: np.ndarray
    strengths: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    num_left_out: dict[str, int]


def parts_of(trials: pl.DataFrame) -> pl.DataFrame:
    """``trial_id, seed, part, strength, is_kept``: what each finished trial is to the claims.

    The arm's name does not matter, since specs differ in where the baseline sits. Let (learning rate, l2) be those of
    most trials with dropout and no l1 (else with l1 and no dropout; else of the least l2 without either). With them
    a trial is ``baseline`` (no dropout, no l1), of the arm ``dropout`` (no l1) or ``l1`` (no dropout); with another l2
    and neither, of the arm ``l2``. Untrained networks are ``untrained``, all others ``other``: no claim is about them,
    and none about trials that differ from most others in a column that the claims do not know.
    ``strength`` is the rate or penalty that the arm varies; excluded trials are not kept.
    """
    done = trials.filter(pl.col("status").is_in([*TRAINED, "untrained"]))
    trained = done.filter(pl.col("status") != "untrained")
    learning_rate, l2 = _base_of(trained)
    is_foreign = pl.any_horizontal(
        pl.lit(False), *(pl.col(name).ne_missing(_most_common(trained, name)) for name in _unknown(done))
    )
    has_dropout, has_l1 = pl.col("dropout") > 0, pl.col("l1") > 0
    is_l2 = _is_close("l2", l2)
    part = (
        pl.when(pl.col("status") == "untrained")
        .then(pl.lit("untrained"))
        .when(is_foreign | ~_is_close("learning_rate", learning_rate) | (has_dropout & has_l1))
        .then(pl.lit("other"))
        .when(is_l2)
        .then(
            pl.when(has_dropout).then(pl.lit("dropout")).when(has_l1).then(pl.lit("l1")).otherwise(pl.lit("baseline"))
        )
        .when(has_dropout | has_l1)
        .then(pl.lit("other"))
        .otherwise(pl.lit("l2"))
    )
    strength = pl.coalesce(*(pl.when(pl.col("part") == arm).then(pl.col(arm)) for arm in ARMS), pl.lit(0.0))
    return (
        done.with_columns(part=part, is_kept=~pl.col("excluded").fill_null(False))
        .with_columns(strength=strength)
        .select("trial_id", "seed", "part", "strength", "is_kept")
        .sort("trial_id")
    )


def _unknown(trials: pl.DataFrame) -> list[str]:
    """Columns that the claims know nothing of and that a study's own hyperparameters have: those of no 0.2 table."""
    return [name for name in trials.columns if name not in TRIALS and name != "part"]


def _most_common(trained: pl.DataFrame, name: str) -> Any:
    """The value of a column that most trained trials have, the least where several have; None where there is none."""
    if not trained.height:
        return None
    return trained.group_by(name).len().sort("len", name, descending=[True, False])[name][0]


def _is_close(column: str, value: float) -> pl.Expr:
    return (pl.col(column) - value).abs() <= 1e-9 * max(abs(value), 1e-12)


def _base_of(trained: pl.DataFrame) -> tuple[float, float]:
    has_dropout, has_l1 = pl.col("dropout") > 0, pl.col("l1") > 0
    for rows in (trained.filter(has_dropout & ~has_l1), trained.filter(has_l1 & ~has_dropout)):
        if rows.height:
            counts = (
                rows.group_by("learning_rate", "l2")
                .len()
                .sort("len", "learning_rate", "l2", descending=[True, False, False])
            )
            return counts["learning_rate"][0], counts["l2"][0]
    plain = trained.filter(~has_dropout & ~has_l1)
    if not plain.height:
        return 0.0, 0.0
    least = plain.sort("l2", "learning_rate")
    return least["learning_rate"][0], least["l2"][0]


def panel_of(parts: pl.DataFrame, values: pl.DataFrame) -> Panel:
    """Values of one graph by part, setting and seed.

    Trials that are not kept, and values that are NaN, count as missing; a setting of which fewer than half of the
    trained seeds are left does not count at all.

    Args:
        parts: What :func:`parts_of` gives.
        values: ``trial_id, value``, one row a trial.
    """
    rows = parts.join(values, on="trial_id", how="left", validate="1:1").with_columns(
        value=pl.when("is_kept").then(pl.col("value").cast(pl.Float64)).fill_null(np.nan).fill_nan(None)
    )
    trained = rows.filter(~pl.col("part").is_in(["untrained", "other"]))
    seeds = np.unique(trained["seed"].to_numpy())
    strengths, table, num_left_out = {}, {}, {}
    for part in ("baseline", *ARMS):
        here = trained.filter(pl.col("part") == part).sort("strength", "seed")
        twice = here.filter(here.select("strength", "seed").is_duplicated())
        if twice.height:
            ids = ", ".join(twice["trial_id"].sort().to_list()[:2])
            raise ValueError(
                f"two trials of one setting and seed ({setting_name(part, twice['strength'][0])}, seed "
                f"{twice['seed'][0]}): {ids}; no claim can be made of them."
            )
        strengths[part] = np.unique(here["strength"].to_numpy())
        places = np.searchsorted(strengths[part], here["strength"].to_numpy())
        columns = np.searchsorted(seeds, here["seed"].to_numpy())
        grid = np.full((len(strengths[part]), len(seeds)), np.nan)
        num_trained = np.zeros(len(grid), int)
        grid[places, columns] = here["value"].to_numpy()
        np.add.at(num_trained, places, 1)
        grid[np.sum(~np.isnan(grid), axis=1) < LEAST_SHARE * num_trained] = np.nan
        table[part] = grid
        num_left_out[part] = int(num_trained.sum() - np.sum(~np.isnan(grid)))
    return Panel(seeds, strengths, table, num_left_out)


def untrained_values(parts: pl.DataFrame, values: pl.DataFrame) -> np.ndarray:
    """Values of untrained networks that have one, by seed."""
    rows = parts.filter(pl.col("part") == "untrained").join(values, on="trial_id", validate="1:1").sort("seed")
    found = rows["value"].cast(pl.Float64).to_numpy()
    return found[~np.isnan(found)]


def setting_name(part: str, strength: float) -> str:
    """How a table names a setting.

    Example:
        >>> setting_name("dropout", 0.05), setting_name("baseline", 0.0)
        ('dropout 0.05', 'baseline')
    """
    return part if part in ("baseline", "untrained", "other") else f"{part} {strength:.3g}"


def baseline_name(trials: pl.DataFrame) -> str:
    """What the baseline is, for a reader.

    Example:
        >>> row = {"status": ["done"], "learning_rate": [1e-3], "l1": [0.0], "l2": [1e-5], "dropout": [0.0]}
        >>> baseline_name(pl.DataFrame(row))
        'no dropout, no L1, L2 1e-05, learning rate 0.001'
    """
    learning_rate, l2 = _base_of(trials.filter(pl.col("status").is_in(TRAINED)))
    return f"no dropout, no L1, L2 {l2:.3g}, learning rate {learning_rate:.3g}"


def graphs_of(sweep: Sweep) -> list[tuple[str, bool, int]]:
    """(measure, normalized, layer) of every kind of graph in a sweep, normalized first, upstream first."""
    order = {name: place for place, name in enumerate((*MEASURES, WEIGHTS))}
    found = sweep.modules.select("measure", "normalized", "layer").unique().rows()
    return sorted(found, key=lambda graph: (not graph[1], graph[2], order.get(graph[0], len(order)), graph[0]))
