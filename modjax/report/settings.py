"""Parts that trials play in the study, derived from their settings, and Q of every setting and seed as arrays."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from modjax.names import HYPERPARAMETERS, MEASURES, WEIGHTS
from modjax.store.schemas import TRIALS
from modjax.store.sweep import Sweep

TRAINED = ("done", "diverged")
ARMS = ("dropout", "l2", "l1")
KNOWN = ("learning_rate", *ARMS)  # hyperparameters that the claims know what to do with
ROTATION = "rotation"
LEAST_SHARE = 0.5  # share of a setting's seeds that must be left, or the setting does not count


class Panel(NamedTuple):
    """Values of a quantity such as Q for every setting and seed, for one graph.

    Attributes:
        seeds: Seeds, sorted.
        strengths: Dropout rates or penalties, ``{part: [settings]}``; the baseline has one setting, 0.
        values: Values ``{part: [settings seeds]}``; NaN where missing, and in settings that do not count.
        num_left_out: Number of trained trials without a value, ``{part: trials}``.
    """

    seeds: np.ndarray
    strengths: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    num_left_out: dict[str, int]


Panels = list[tuple[dict[str, Any], Panel]]  # each graph and score, as columns of a row, with its values


def parts_of(trials: pl.DataFrame) -> pl.DataFrame:
    """Return ``trial_id, seed, part, strength, is_kept``: the part of each finished trial in the claims.

    The names of arms are not used, since specs differ in which arm holds the baseline. Let (learning rate, l2) be the
    most common values of trials with dropout and no l1 (else with l1 and no dropout; else the least l2 without either).
    With these values, a trial is ``baseline`` (no dropout, no l1), or of the arm ``dropout`` (no l1) or ``l1`` (no
    dropout); with another l2 and neither, it is of the arm ``l2``. Untrained networks are ``untrained``. All others are
    ``other`` and used by no claim, among them trials that differ from most in a column unknown to the claims.
    ``strength`` is the rate or penalty that the arm varies; excluded trials are not kept.
    """
    done = trials.filter(pl.col("status").is_in([*TRAINED, "untrained"]))
    trained = done.filter(pl.col("status") != "untrained")
    learning_rate, l2 = _base_of(trained)
    # A study's own hyperparameter splits its trials into groups that no claim may compare with each other.
    is_foreign = pl.any_horizontal(
        pl.lit(False), *(pl.col(name).ne_missing(_most_common(trained, name)) for name in _unknown(done))
    )
    has_dropout, has_l1 = pl.col("dropout") > 0, pl.col("l1") > 0
    is_l2 = _is_close("l2", l2)
    # Order matters: each condition relies on those before it having failed.
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
    """Return columns of a study's own hyperparameters, which the claims do not know: those of no 0.2 table."""
    return [name for name in trials.columns if name not in TRIALS or (name in HYPERPARAMETERS and name not in KNOWN)]


def _most_common(trained: pl.DataFrame, name: str) -> Any:
    """Return the most common value of a column among trained trials, the least of several; None without trials."""
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
    """Arrange the values of one graph by part, setting and seed.

    Trials that are not kept and NaN values count as missing; a setting with values for fewer than half of its trained
    seeds does not count at all.

    Args:
        parts: Parts of the trials, as returned by :func:`parts_of`.
        values: Table ``trial_id, value``, one row per trial.
    """
    known = pl.when("is_kept").then(pl.col("value").cast(pl.Float64)).fill_null(np.nan)
    rows = (
        parts.join(values, on="trial_id", how="left", validate="1:1")
        .filter(~pl.col("part").is_in(["untrained", "other"]))
        .select("trial_id", "seed", "part", "strength", value=known)
    )
    # By NumPy: a page has hundreds of panels, and a table of so few rows takes longer to ask than to read.
    ids, seed, part, strength, value = (rows[name].to_numpy() for name in rows.columns)
    seeds, columns = np.unique(seed, return_inverse=True)
    strengths, table, num_left_out = {}, {}, {}
    for name in ("baseline", *ARMS):
        here = np.flatnonzero(part == name)
        strengths[name], settings = np.unique(strength[here], return_inverse=True)
        # A cell of the grid holds one trial: with two, the last would silently win.
        _, first, counts = np.unique(settings * len(seeds) + columns[here], return_index=True, return_counts=True)
        if np.any(counts > 1):
            at = here[first[np.argmax(counts > 1)]]
            same = sorted(ids[(part == name) & (strength == strength[at]) & (seed == seed[at])])
            raise ValueError(
                f"two trials of one setting and seed ({setting_name(name, float(strength[at]))}, seed {seed[at]}): "
                f"{', '.join(same[:2])}; no claim can be made of them."
            )
        grid = np.full((len(strengths[name]), len(seeds)), np.nan)
        grid[settings, columns[here]] = value[here]
        num_trained = np.bincount(settings, minlength=len(grid))
        grid[np.sum(~np.isnan(grid), axis=1) < LEAST_SHARE * num_trained] = np.nan
        table[name] = grid
        num_left_out[name] = int(num_trained.sum() - np.sum(~np.isnan(grid)))
    return Panel(seeds, strengths, table, num_left_out)


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean along an axis without NaN values; NaN where there are no others.

    Example:
        >>> mean_of_known(np.array([[1.0, np.nan], [3.0, np.nan]]), axis=0).tolist()
        [2.0, nan]
    """
    counts = np.sum(~np.isnan(values), axis)
    return np.where(counts > 0, np.nansum(values, axis) / np.maximum(counts, 1), np.nan)


def untrained_values(parts: pl.DataFrame, values: pl.DataFrame) -> np.ndarray:
    """Return the values of untrained networks by seed, without NaN."""
    rows = parts.filter(pl.col("part") == "untrained").join(values, on="trial_id", validate="1:1").sort("seed")
    untrained = rows["value"].cast(pl.Float64).to_numpy()
    return untrained[~np.isnan(untrained)]


def setting_name(part: str, strength: float) -> str:
    """Return the name of a setting in tables.

    Example:
        >>> setting_name("dropout", 0.05), setting_name("baseline", 0.0)
        ('dropout 0.05', 'baseline')
    """
    return part if part in ("baseline", "untrained", "other") else f"{part} {strength:.3g}"


def baseline_name(trials: pl.DataFrame) -> str:
    """Describe the baseline in words.

    Example:
        >>> row = {"status": ["done"], "learning_rate": [1e-3], "l1": [0.0], "l2": [1e-5], "dropout": [0.0]}
        >>> baseline_name(pl.DataFrame(row))
        'no dropout, no L1, L2 1e-05, learning rate 0.001'
    """
    learning_rate, l2 = _base_of(trials.filter(pl.col("status").is_in(TRAINED)))
    return f"no dropout, no L1, L2 {l2:.3g}, learning rate {learning_rate:.3g}"


def q_panels(sweep: Sweep, parts: pl.DataFrame) -> Panels:
    """Return each graph, as columns of a row, with its Q; and where nulls rotate the units, with its excess Q too.

    Excess Q over permuted or rewired weights is not used: such graphs are no similarities.
    """
    panels = []
    scores = {"q": sweep.modules, "excess_q": sweep.modules.filter(null_kind=ROTATION)}
    for score, table in scores.items():
        for measure, normalized, layer in graphs_of(sweep):
            graph = {"measure": measure, "normalized": normalized, "layer": layer}
            here = table.filter(*(pl.col(key) == value for key, value in graph.items()))
            if here.height and here[score].drop_nulls().len():
                values = here.select("trial_id", value=score)
                panels.append(({**graph, "score": score}, panel_of(parts, values)))
    return panels


def graphs_of(sweep: Sweep) -> list[tuple[str, bool, int]]:
    """Return (measure, normalized, layer) of every graph in a sweep, normalized first, upstream first."""
    order = {name: index for index, name in enumerate((*MEASURES, WEIGHTS))}
    graphs = sweep.modules.select("measure", "normalized", "layer").unique().rows()
    return sorted(graphs, key=lambda graph: (not graph[1], graph[2], order.get(graph[0], len(order)), graph[0]))
