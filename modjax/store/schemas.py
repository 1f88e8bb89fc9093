"""The schemas of a sweep's tables: those that every sweep has, and what its own records add to them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

from modjax.builtins import BASE_HYPERPARAMETERS
from modjax.catalog import DTYPES, NAME
from modjax.records import AnalysisInfo

Schema = dict[str, Any]

TRIALS: Schema = {
    "trial_id": pl.String,
    "arm": pl.String,
    "seed": pl.Int64,
    **dict.fromkeys(BASE_HYPERPARAMETERS, pl.Float64),
    "status": pl.String,
    "excluded": pl.Boolean,
    "epochs": pl.Int32,
    "best_epoch": pl.Int32,
    **{f"{split}_{name}": pl.Float64 for split in ("train", "val", "test") for name in ("loss", "accuracy")},
    "l1_norm": pl.Float64,
    "l2_norm": pl.Float64,
    "nuclear_norm": pl.Float64,
    "sparsity": pl.Float64,
    "seconds": pl.Float64,
}
HISTORY: Schema = {
    "trial_id": pl.String,
    "epoch": pl.Int32,
    "train_loss": pl.Float64,
    "val_loss": pl.Float64,
    "val_accuracy": pl.Float64,
    "learning_rate": pl.Float64,
}
SIMILARITY: Schema = {
    "trial_id": pl.String,
    "layer": pl.Int32,
    "measure": pl.String,
    "num_units": pl.Int32,
    "matrix": pl.List(pl.Float32),
}
_NULL: Schema = {
    "null_kind": pl.String,
    "null_n": pl.Int32,
    "null_mean": pl.Float64,
    "null_sd": pl.Float64,
    "z": pl.Float64,
    "p": pl.Float64,
}
MODULES: Schema = {
    "trial_id": pl.String,
    "layer": pl.Int32,
    "measure": pl.String,
    "normalized": pl.Boolean,
    "q": pl.Float64,
    "num_modules": pl.Int32,
    "effective_modules": pl.Float64,
    "effective_modules_strength": pl.Float64,
    "num_dead": pl.Int32,
    "labels": pl.List(pl.Int32),
    "participation": pl.List(pl.Float32),
    "within_module_z": pl.List(pl.Float32),
    "certainty": pl.List(pl.Float32),
    "joint_q": pl.Float64,
    "joint_labels": pl.List(pl.Int32),
    "profile_q": pl.List(pl.Float64),
    "profile_num_modules": pl.List(pl.Int32),
    "profile_stability": pl.List(pl.Float64),
    "recommended_resolution": pl.Float64,
    "null_q": pl.Float64,
    **_NULL,
    "excess_q": pl.Float64,
    "p_adjusted": pl.Float64,
    "module_z": pl.List(pl.Float32),
    "module_p": pl.List(pl.Float32),
    "untrained_n": pl.Int32,
    "untrained_mean": pl.Float64,
    "untrained_sd": pl.Float64,
    "untrained_z": pl.Float64,
    "untrained_p": pl.Float64,
}
ALIGNMENT: Schema = {
    "trial_id": pl.String,
    "layer": pl.Int32,
    "measure_a": pl.String,
    "normalized_a": pl.Boolean,
    "measure_b": pl.String,
    "normalized_b": pl.Boolean,
    "num_units": pl.Int32,
    "num_dead": pl.Int32,
    "element_centric": pl.Float64,
    "ami": pl.Float64,
    "ari": pl.Float64,
    "mi": pl.Float64,
    "rmi": pl.Float64,
    "rmi_normalized": pl.Float64,
    "vi": pl.Float64,
    "vi_normalized": pl.Float64,
    "overlap_greedy": pl.Float64,
    "overlap_optimal": pl.Float64,
    "spearman": pl.Float64,
    "transfer_ab": pl.Float64,
    "transfer_ba": pl.Float64,
    "transfer_normalized_ab": pl.Float64,
    "transfer_normalized_ba": pl.Float64,
    **_NULL,
    "effect": pl.Float64,
    "p_adjusted": pl.Float64,
    **{f"{score}_{name}": pl.Float64 for score in ("mi", "ari", "rmi") for name in ("z", "p")},
}
SCHEMAS: dict[str, Schema] = {
    "trials": TRIALS,
    "history": HISTORY,
    "similarity": SIMILARITY,
    "modules": MODULES,
    "alignment": ALIGNMENT,
}
KEYS: dict[str, list[str]] = {
    "trials": ["trial_id"],
    "history": ["trial_id", "epoch"],
    "similarity": ["trial_id", "layer", "measure"],
    "modules": ["trial_id", "layer", "measure", "normalized"],
    "alignment": ["trial_id", "layer", "measure_a", "normalized_a", "measure_b", "normalized_b"],
}
METRICS = ("loss", "accuracy")


class Column(NamedTuple):
    """A column of the trials table for a hyperparameter that version 0.2 did not have.

    Attributes:
        name: Name of the hyperparameter.
        dtype: Its polars type, by name.
        default: Value of rows that were written before there was the column.
    """

    name: str
    dtype: str
    default: Any

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Column":
        """Return a column as a manifest describes it.

        Raises:
            ValueError: If it is no description of a column.
        """
        try:
            column = cls(**values)
        except TypeError as error:
            raise ValueError(f"no description of a column ({error})") from None
        is_plain = column.default is None or isinstance(column.default, str | int | float)
        if not isinstance(column.name, str) or not NAME.fullmatch(column.name) or column.dtype not in DTYPES:
            raise ValueError(f"no description of a column ({str(values)[:60]})")
        if not is_plain:
            raise ValueError(f"no default of a column ({str(column.default)[:60]})")
        return column


def hyperparameters_in(trials: pl.DataFrame) -> list[str]:
    """Return the names of the hyperparameters that a trials table has columns for: those between seed and status."""
    return trials.columns[trials.columns.index("seed") + 1 : trials.columns.index("status")]


def schemas_of(
    columns: Iterable[Column], metrics: tuple[str, ...], analyses: Iterable[AnalysisInfo]
) -> tuple[dict[str, Schema], dict[str, list[str]]]:
    """Return the schema and the keys of every table of a sweep.

    Args:
        columns: Hyperparameters of the sweep beside those of version 0.2.
        metrics: What the task evaluates.
        analyses: Analyses of the sweep, each with a table of its own.
    """
    trials: Schema = {}
    for name, dtype in TRIALS.items():
        if name == "status":
            trials |= {column.name: DTYPES[column.dtype] for column in columns}
        if name == "train_loss":
            trials |= {f"{split}_{metric}": pl.Float64 for split in ("train", "val", "test") for metric in metrics}
        if not name.startswith(("train_", "val_", "test_")):
            trials[name] = dtype
    history: Schema = {}
    for name, dtype in HISTORY.items():
        if name == "val_loss":
            history |= {f"val_{metric}": pl.Float64 for metric in metrics}
        if not name.startswith("val_"):
            history[name] = dtype
    schemas, keys = SCHEMAS | {"trials": trials, "history": history}, dict(KEYS)
    for info in analyses:
        own = ["trial_id"] if info.scope == "trial" else []
        schemas[info.table] = dict.fromkeys(own, pl.String) | dict(info.keys) | dict(info.columns)
        keys[info.table] = [*own, *info.keys]
    return schemas, keys
