"""Data of the report page: a sweep's tables as packed columns, and a small JSON of names, looks and counts."""

import math
from typing import Any

import numpy as np
import polars as pl

from modjax.names import MEASURES, WEIGHTS
from modjax.report.page_columns import (
    Columns,
    as_single,
    codes,
    codes_of,
    first_trials,
    floats,
    hyperparameter_facts,
    pack,
    rounded,
    shares,
    thinned,
)
from modjax.report.style import (
    MEASURE_DASHES,
    UNTRAINED_COLOUR,
    arm_looks,
    family_of,
    hyperparameter_of,
    layer_title,
    look_of_measure,
    measure_title,
    strengths,
)
from modjax.report.summary import summary_table
from modjax.store.exclusion import exclusion_rule, exclusion_warnings, num_excluded, spec_values
from modjax.store.schemas import hyperparameters_in
from modjax.store.sweep import Sweep

MAX_HISTORY_ROWS = 60_000
MAX_ALIGNMENT_ROWS = 150_000
MAX_LABELS = 2_000_000  # labels of units; trials beyond keep only Q and the numbers of modules
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
}
ALIGNMENT_SCORES = {
    "element_centric": "element-centric similarity",
    "ami": "adjusted mutual information",
    "ari": "adjusted Rand index",
    "rmi": "reduced mutual information (bits per unit)",
    "vi": "variation of information (bits; 0 is equal)",
    "overlap_optimal": "optimal overlap of modules",
    "spearman": "Spearman correlation of the graphs' weights",
    "transfer_normalized": "normalized transfer Q(A of row, modules of column)",
}
_ALIGNMENT_COLUMNS = [
    name
    for score in ALIGNMENT_SCORES
    for name in ([f"{score}_ab", f"{score}_ba"] if score.startswith("transfer") else [score])
]
_MODULE_COLUMNS = [
    "q",
    "num_modules",
    "effective_modules",
    "effective_modules_strength",
    "num_dead",
    "joint_q",
    "null_q",
    "null_mean",
    "null_sd",
    "z",
    "p",
    "excess_q",
    "untrained_mean",
    "untrained_z",
    "untrained_p",
]
_TRIAL_NUMBERS = [
    "seed",
    "epochs",
    "best_epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "l1_norm",
    "l2_norm",
    "nuclear_norm",
    "sparsity",
]
STATUSES = ["pending", "done", "untrained", "diverged", "failed", "stopped"]


def places_of(trials: pl.DataFrame) -> pl.DataFrame:
    """Return ``trial_id, setting, strength`` of every trial; strength is null for untrained and pending trials."""
    is_trained = ~pl.col("status").is_in(["untrained", "pending"])
    trained_settings = strengths(trials.filter(is_trained)).select("trial_id", "setting", "strength")
    setting = pl.coalesce("setting", "status")
    return (
        trials.select("trial_id", "status")
        .join(trained_settings, on="trial_id", how="left")
        .with_columns(setting=setting)
    )


def embedding_order(trials: pl.DataFrame) -> list[str]:
    """Order trials by priority: one seed of each setting first, then the next seed of each, and so on."""
    placed = trials.join(places_of(trials).select("trial_id", "setting", "strength"), on="trial_id")
    ranked = placed.with_columns(turn=pl.col("seed").rank("ordinal").over("arm", "setting"))
    return ranked.sort("turn", pl.col("strength").is_null(), "arm", "strength", "trial_id")["trial_id"].to_list()


def known_measures(sweep: Sweep) -> list[str]:
    """Return the measures that the tables contain, upstream first."""
    present = set(sweep.modules["measure"]) | set(sweep.alignment["measure_a"])
    first = [measure for measure in (*MEASURES, WEIGHTS) if measure in present]
    return [*first, *sorted(present - {*first})]


def page_columns(sweep: Sweep, measures: list[str], share: float = 1.0) -> tuple[Columns, dict[str, Any]]:
    """Pack all tables; also return what was left out (``labelled``: the trials whose labels are included).

    Args:
        sweep: A sweep.
        measures: Names of the measures, which the tables refer to by index.
        share: Share of the row and label limits of a page.
    """
    trials = sweep.trials.sort("trial_id")
    ids, order = trials["trial_id"].to_list(), embedding_order(trials)
    history, step = thinned(sweep.history, int(share * MAX_HISTORY_ROWS))
    aligned = first_trials(_sizes(sweep.alignment, pl.len()), order, int(share * MAX_ALIGNMENT_ROWS))
    labelled = first_trials(_sizes(sweep.modules, pl.col("labels").list.len().sum()), order, int(share * MAX_LABELS))
    alignment = sweep.alignment.filter(pl.col("trial_id").is_in(aligned))
    tables = {
        "trials": _trial_columns(trials),
        "history": {
            "trial": codes(history["trial_id"].to_list(), ids),
            "epoch": history["epoch"].to_numpy(),
            **{
                name: rounded(floats(history[name]))
                for name in ("train_loss", "val_loss", "val_accuracy", "learning_rate")
            },
        },
        "modules": _module_columns(sweep.modules, ids, measures, labelled),
        "alignment": {
            "trial": codes(alignment["trial_id"].to_list(), ids),
            "layer": alignment["layer"].cast(pl.Int16).to_numpy(),
            "a": _graphs(alignment, "a", measures),
            "b": _graphs(alignment, "b", measures),
            **{name: rounded(floats(alignment[name])) for name in _ALIGNMENT_COLUMNS},
        },
    }
    left_out = {
        "history_step": step,
        "alignment_trials": len(aligned),
        "labelled": labelled,
        "alignment_total": sweep.alignment["trial_id"].n_unique(),
    }
    return pack(tables), left_out


def _sizes(frame: pl.DataFrame, size: pl.Expr) -> dict[str, int]:
    return dict(frame.group_by("trial_id").agg(size=size).iter_rows())


def _trial_columns(trials: pl.DataFrame) -> dict[str, np.ndarray]:
    strength = places_of(trials).sort("trial_id")["strength"]
    return {
        "status": codes(trials["status"].to_list(), STATUSES),
        "excluded": trials["excluded"].fill_null(False).to_numpy(),
        "strength": floats(strength),
        **{name: floats(codes_of(trials[name])) for name in hyperparameters_in(trials)},
        **{name: floats(trials[name]) for name in _TRIAL_NUMBERS if name in trials.columns},
    }


def _graphs(frame: pl.DataFrame, side: str, measures: list[str]) -> np.ndarray:
    """Encode graphs as bytes: twice the index of the measure, plus one if normalized."""
    measure_codes = codes(frame[f"measure_{side}"].to_list(), measures).astype(np.uint8)
    return 2 * measure_codes + frame[f"normalized_{side}"].to_numpy().astype(np.uint8)


def _module_columns(
    modules: pl.DataFrame, ids: list[str], measures: list[str], labelled: list[str]
) -> dict[str, np.ndarray]:
    has_labels = pl.col("trial_id").is_in(labelled) & pl.col("labels").is_not_null()
    modules = modules.with_columns(labels=pl.when(has_labels).then("labels").otherwise(pl.lit([], pl.List(pl.Int32))))
    lengths = modules["labels"].list.len().fill_null(0)
    joint = pl.when(pl.col("joint_labels").list.len() == pl.col("labels").list.len()).then("joint_labels")
    # The page cuts all three by num_units: a missing list is filled up to the length of the labels.
    lists = modules.select(
        "labels",
        joint_labels=joint.otherwise(pl.lit(-1, pl.Int32).repeat_by(pl.col("labels").list.len())),
        certainty=_same_length("certainty"),
    )
    return {
        "trial": codes(modules["trial_id"].to_list(), ids),
        "layer": modules["layer"].cast(pl.Int16).to_numpy(),
        "measure": codes(modules["measure"].to_list(), measures).astype(np.uint8),
        "normalized": modules["normalized"].to_numpy(),
        **{name: as_single(floats(modules[name])) for name in _MODULE_COLUMNS},
        "num_units": lengths.cast(pl.UInt32).to_numpy(),
        "labels": _flat(lists["labels"]).astype(np.int16),
        "joint_labels": _flat(lists["joint_labels"]).astype(np.int16),
        "certainty": shares(_flat(lists["certainty"])),
    }


def _same_length(name: str) -> pl.Expr:
    """Return a list column, with NaN for each unit of rows that have no list of the right length."""
    units = pl.col("labels").list.len()
    return pl.when(pl.col(name).list.len() == units).then(name).otherwise(pl.lit(math.nan, pl.Float32).repeat_by(units))


def _flat(lists: pl.Series) -> np.ndarray:
    return lists.filter(lists.list.len() > 0).explode().to_numpy()


def page_facts(sweep: Sweep, measures: list[str]) -> dict[str, Any]:
    """Return names, looks, counts and main results as plain JSON values without NaN."""
    trials = sweep.trials.sort("trial_id")
    arms = trials["arm"].unique().sort().to_list()
    trained_arms = _trained_arms(trials)
    looks = arm_looks(trained_arms)
    counts = dict(trials.group_by("status").len().iter_rows())
    layers = sweep.modules["layer"].unique().sort().to_list()
    return {
        "name": str(sweep.manifest.get("name", "")),
        "question": str(spec_values(sweep).get("question", "")),
        "trial_ids": trials["trial_id"].to_list(),
        "arm_of": [arms.index(arm) for arm in trials["arm"]],
        "setting_of": places_of(trials).sort("trial_id")["setting"].to_list(),
        "statuses": STATUSES,
        "arms": [{"name": arm, **look_of(looks.get(arm))} for arm in arms],
        "trained_arms": [arms.index(arm) for arm in trained_arms],
        "untrained_colour": UNTRAINED_COLOUR,
        "measures": [_measure(name) for name in measures],
        "hyperparameters": [
            hyperparameter_facts(trials[name], hyperparameter_of(name)) for name in hyperparameters_in(trials)
        ],
        "layers": [{"layer": layer, "title": layer_title(layer)} for layer in layers],
        "scores": [{"name": name, "title": title} for name, title in ALIGNMENT_SCORES.items()],
        "counts": {
            "all": trials.height,
            **{status: counts.get(status, 0) for status in STATUSES},
            "excluded": num_excluded(trials),
        },
        "exclusion_rule": exclusion_rule(sweep),
        "warnings": exclusion_warnings(sweep),
        "summary": plain_table(summary_table(sweep, next((layer for layer in layers if layer >= 0), 0))),
    }


def _trained_arms(trials: pl.DataFrame) -> list[str]:
    """Return the arms with trained trials, in the order in which all figures assign looks."""
    return trials.filter(~pl.col("status").is_in(["untrained", "pending"]))["arm"].unique().sort().to_list()


def look_of(look: tuple[str, str] | None) -> dict[str, str]:
    """Return the colour and Plotly symbol of an arm; grey circles for an arm without trained trials."""
    colour, marker = look or (UNTRAINED_COLOUR, "o")
    return {"colour": colour, "symbol": SYMBOLS[marker]}


def _measure(name: str) -> dict[str, str]:
    look = look_of_measure(name)
    return {
        "name": name,
        "title": measure_title(name),
        "family": family_of(name),
        "colour": look.colour,
        "dash": MEASURE_DASHES[family_of(name)],
    }


def plain_table(frame: pl.DataFrame) -> dict[str, Any]:
    """Convert a table to JSON columns and rows; NaN and infinity become null."""
    rows = [[None if isinstance(v, float) and not math.isfinite(v) else v for v in row] for row in frame.iter_rows()]
    return {"columns": frame.columns, "rows": rows}
