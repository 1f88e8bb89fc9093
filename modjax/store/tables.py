"""The schema of every table, and functions that write, read and merge tables."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from modjax.builtins import HYPERPARAMETERS
from modjax.io.checksums import write_summed
from modjax.io.parquet_footer import table_bytes
from modjax.io.untrusted import check_bytes
from modjax.store.row_rules import key_problem, rule_problem

Schema = dict[str, Any]

TRIALS: Schema = {
    "trial_id": pl.String,
    "arm": pl.String,
    "seed": pl.Int64,
    **dict.fromkeys(HYPERPARAMETERS, pl.Float64),
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
    "effect": pl.Float64,
    "p_adjusted": pl.Float64,
}
MODULES: Schema = {
    "trial_id": pl.String,
    "layer": pl.Int32,
    "measure": pl.String,
    "normalized": pl.Boolean,
    "q": pl.Float64,
    "num_modules": pl.Int32,
    "effective_modules": pl.Float64,
    "num_dead": pl.Int32,
    "labels": pl.List(pl.Int32),
    "participation": pl.List(pl.Float32),
    "within_module_z": pl.List(pl.Float32),
    "certainty": pl.List(pl.Float32),
    "joint_q": pl.Float64,
    "joint_labels": pl.List(pl.Int32),
    "profile_q": pl.List(pl.Float64),
    "profile_num_modules": pl.List(pl.Int32),
    **_NULL,
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


# Columns added after version 0.2, with the value that older tables get for them.
LATER_COLUMNS: dict[str, dict[str, Any]] = {
    "trials": {info.name: info.default for info in HYPERPARAMETERS.values() if not info.is_always_hashed}
}


def _with_later_columns(frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Return a table with the columns that were added after it was written."""
    schema, there = SCHEMAS[name], frame.collect_schema().names()
    missing = {column: value for column, value in LATER_COLUMNS.get(name, {}).items() if column not in there}
    if not missing:
        return frame
    added = frame.with_columns(pl.lit(value, schema[column]).alias(column) for column, value in missing.items())
    known = [column for column in schema if column in {*there, *missing}]
    # Columns outside the schema are kept, so that the schema check refuses them.
    return added.select(*known, *(column for column in there if column not in schema))


def empty(schema: Schema) -> pl.DataFrame:
    """Return a table without rows."""
    return pl.DataFrame(schema=schema)


def from_rows(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return a table of the named schema from row dicts; missing columns are null."""
    return pl.DataFrame(rows, schema=SCHEMAS[name], orient="row") if rows else empty(SCHEMAS[name])


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Write a parquet file atomically, with its checksum beside it; raises OSError if that fails."""
    content = io.BytesIO()  # in memory first: polars does not always report a full disk as OSError
    frame.write_parquet(content, compression="zstd", statistics=True)
    write_summed(path, lambda temporary: temporary.write_bytes(content.getbuffer()))


def _check_size(path: Path) -> None:
    """Raise if a file is not parquet, or its table does not fit in memory."""
    try:
        needed = table_bytes(path)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({error}).") from error
    check_bytes(path, needed)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        _check_size(path)
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a readable parquet file ({reason}).") from error


def read_table(path: Path, name: str) -> pl.DataFrame:
    """Read a table and check its schema, keys and rules.

    Raises:
        ValueError: If the file is not a parquet file of the named schema.
    """
    with _readable(path):
        frame = _with_later_columns(pl.read_parquet(path, glob=False).lazy(), name).collect()
        _check_schema(path, name, dict(frame.schema))
        check_rows(path, name, key_problem(frame, KEYS[name]) or rule_problem(frame.lazy(), name))
    return frame


class Scan(NamedTuple):
    """A table file that is read piecewise; every read sees the current file.

    Attributes:
        path: File of the table.
        name: Name of the schema.
        conditions: Conditions that rows must meet.
    """

    path: Path
    name: str
    conditions: tuple[pl.Expr, ...] = ()

    def where(self, condition: pl.Expr) -> "Scan":
        """Return a scan of the rows that also meet a condition."""
        return self._replace(conditions=(*self.conditions, condition))

    def read(self, *columns: str) -> pl.DataFrame:
        """Return the rows, with the named columns or all if none is named.

        Raises:
            ValueError: If the file is damaged or gone.
        """
        with _readable(self.path):
            frame = _with_later_columns(pl.scan_parquet(self.path, glob=False), self.name).filter(*self.conditions)
            return (frame.select(columns) if columns else frame).collect()


def scan_table(path: Path, name: str) -> Scan:
    """Return a scan of a table after checking schema and rules, without loading the table whole.

    Raises:
        ValueError: If the file is not a parquet file of the named schema.
    """
    with _readable(path):
        frame = _with_later_columns(pl.scan_parquet(path, glob=False), name)
        _check_schema(path, name, dict(frame.collect_schema()))
        check_rows(path, name, rule_problem(frame, name))
    return Scan(path, name)


def _check_schema(path: Path, name: str, schema: Schema) -> None:
    if schema != pl.Schema(SCHEMAS[name]):
        raise ValueError(f"{path}: not a {name} table of this version; expected columns {', '.join(SCHEMAS[name])}.")


def check_rows(path: Path, name: str, problem: str | None) -> None:
    """Raise ValueError if a problem with a table's rows was found."""
    if problem is not None:
        raise ValueError(f"{path}: not a {name} table: {problem}.")


def merge(name: str, frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return all rows sorted by key; of rows with the same key, the last one is kept."""
    keys = KEYS[name]
    frame = pl.concat([empty(SCHEMAS[name]), *frames])
    return frame.unique(keys, keep="last", maintain_order=True).sort(keys)
