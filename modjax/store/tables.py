"""The tables of a sweep: how they are written, read, checked and merged."""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from modjax.catalog import BUILTIN, DTYPES, Catalog, read_catalog
from modjax.io.checksums import write_summed
from modjax.io.parquet_footer import table_bytes
from modjax.io.untrusted import check_bytes
from modjax.store.row_rules import Rules, key_problem, rule_problem, rules_of
from modjax.store.schemas import METRICS, Column, Schema, schemas_of


@dataclass(frozen=True, eq=False)
class Tables:
    """What the tables of one sweep hold: it depends on the records, hyperparameters and metrics of the sweep.

    Attributes:
        catalog: Records that rows may name.
        columns: Hyperparameters beside those of version 0.2.
        metrics: What the task evaluates.
        analyses: Names of the sweep's analyses.
        layers: Units of each hidden layer, by population; empty where a manifest of version 0.2 does not say.
    """

    catalog: Catalog = BUILTIN
    columns: tuple[Column, ...] = ()
    metrics: tuple[str, ...] = METRICS
    analyses: tuple[str, ...] = ()
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    schemas: dict[str, Schema] = field(init=False)
    keys: dict[str, list[str]] = field(init=False)
    rules: dict[str, Rules] = field(init=False)

    def __post_init__(self) -> None:
        infos = [self.catalog.analyses[name] for name in self.analyses]
        schemas, keys = schemas_of(self.columns, self.metrics, infos)
        for name, value in (("schemas", schemas), ("keys", keys), ("rules", rules_of(self.catalog, self.columns))):
            object.__setattr__(self, name, value)

    def describe(self) -> dict[str, Any]:
        """Return the entries of a manifest from which :func:`read_tables` makes the same; none for 0.2's tables."""
        described: dict[str, Any] = {"layers": {name: list(units) for name, units in self.layers.items()}}
        if self.catalog.added:
            described["extensions"] = self.catalog.describe()
        if self.columns:
            described["hyperparameters"] = [column._asdict() for column in self.columns]
        if self.metrics != METRICS:
            described["metrics"] = list(self.metrics)
        if self.analyses:
            described["analyses"] = list(self.analyses)
        return described

    def of_analyses(self, scope: str) -> list[str]:
        """Return the names of the tables that analyses of a scope write."""
        return [info.table for name in self.analyses if (info := self.catalog.analyses[name]).scope == scope]

    def empty(self, name: str) -> pl.DataFrame:
        """Return a table without rows."""
        return pl.DataFrame(schema=self.schemas[name])

    def from_rows(self, name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
        """Return a table from row dicts; missing columns are null."""
        return pl.DataFrame(rows, schema=self.schemas[name], orient="row") if rows else self.empty(name)

    def read(self, path: Path, name: str) -> pl.DataFrame:
        """Read a table and check its schema, keys and rules.

        Raises:
            ValueError: If the file is not a parquet file of the named schema.
        """
        with _readable(path):
            frame = self.with_later_columns(pl.read_parquet(path, glob=False).lazy(), name).collect()
            self._check_schema(path, name, dict(frame.schema))
            problem = key_problem(frame, self.keys[name]) or rule_problem(frame.lazy(), self.rules.get(name, {}))
            check_rows(path, name, problem)
        return frame

    def scan(self, path: Path, name: str) -> "Scan":
        """Return a scan of a table after checking schema and rules, without loading the table whole.

        Raises:
            ValueError: If the file is not a parquet file of the named schema.
        """
        with _readable(path):
            frame = self.with_later_columns(pl.scan_parquet(path, glob=False), name)
            self._check_schema(path, name, dict(frame.collect_schema()))
            check_rows(path, name, rule_problem(frame, self.rules.get(name, {})))
        return Scan(path, name, self)

    def merge(self, name: str, frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Return all rows sorted by key; of rows with the same key, the last one is kept."""
        keys = self.keys[name]
        frame = pl.concat([self.empty(name), *frames])
        # The table of an analysis of the whole sweep may have no key.
        return frame.unique(keys, keep="last", maintain_order=True).sort(keys) if keys else frame

    def with_later_columns(self, frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
        """Return a table with the columns that were added after it was written."""
        there = frame.collect_schema().names()
        if name == "modules" and "effect" in there:
            return self._as_now(frame)
        missing = [column for column in self.columns if column.name not in there] if name == "trials" else []
        if not missing:
            return frame
        added = frame.with_columns(
            pl.lit(column.default, DTYPES[column.dtype]).alias(column.name) for column in missing
        )
        known = [column for column in self.schemas[name] if column in {*there, *(column.name for column in missing)}]
        # Columns outside the schema are kept, so that the schema check refuses them.
        return added.select(*known, *(column for column in there if column not in self.schemas[name]))

    def _as_now(self, modules: pl.LazyFrame) -> pl.LazyFrame:
        """Return a modules table of version 0.2, whose nulls were searched as the graph itself, with all columns."""
        schema, there = self.schemas["modules"], modules.collect_schema().names()
        null_q = pl.when(pl.col("null_kind").is_not_null()).then("q")
        later = {column: pl.lit(None, dtype) for column, dtype in schema.items() if column not in {*there, "excess_q"}}
        frame = modules.rename({"effect": "excess_q"}).with_columns(**later).with_columns(null_q=null_q)
        return frame.select(*schema, *(column for column in there if column not in {*schema, "effect"}))

    def _check_schema(self, path: Path, name: str, schema: Schema) -> None:
        if schema != pl.Schema(self.schemas[name]):
            expected = ", ".join(self.schemas[name])
            raise ValueError(f"{path}: not a {name} table of this version; expected columns {expected}.")


BUILTIN_TABLES = Tables()


def read_tables(manifest: Mapping[str, Any]) -> Tables:
    """Return what a manifest says of a sweep's tables.

    Raises:
        ValueError: If it says what no sweep would.
    """
    if not manifest.keys() & {"layers", "extensions", "hyperparameters", "metrics", "analyses"}:
        return BUILTIN_TABLES
    catalog = read_catalog(manifest["extensions"]) if "extensions" in manifest else BUILTIN
    analyses = tuple(manifest.get("analyses", ()))
    if unknown := [name for name in analyses if name not in catalog.analyses]:
        raise ValueError(f"no analysis of the name {str(unknown[0])[:40]!r}")
    layers = {name: tuple(units) for name, units in manifest.get("layers", {}).items()}
    columns = tuple(Column.read(values) for values in manifest.get("hyperparameters", ()))
    return Tables(catalog, columns, tuple(manifest.get("metrics", METRICS)), analyses, layers)


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


class Scan(NamedTuple):
    """A table file that is read piecewise; every read sees the current file.

    Attributes:
        path: File of the table.
        name: Name of the table.
        tables: Schemas of the sweep's tables.
        conditions: Conditions that rows must meet.
    """

    path: Path
    name: str
    tables: Tables
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
            frame = self.tables.with_later_columns(pl.scan_parquet(self.path, glob=False), self.name)
            frame = frame.filter(*self.conditions)
            return (frame.select(columns) if columns else frame).collect()


def check_rows(path: Path, name: str, problem: str | None) -> None:
    """Raise ValueError if a problem with a table's rows was found."""
    if problem is not None:
        raise ValueError(f"{path}: not a {name} table: {problem}.")
