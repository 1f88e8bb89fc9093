"""Access to the tables of a sweep's directory as polars frames."""

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from modjax.io.untrusted import refuse_links
from modjax.store.manifest import read_manifest, sweep_paths
from modjax.store.row_rules import foreign_problem, key_problem, matrix_problem
from modjax.store.tables import Scan, check_rows
from modjax.store.unfinished import pending_trials, rows_of_parts, scan_matrices, trials_so_far

Found = TypeVar("Found")


class Sweep:
    """The tables of a sweep, read on first access; for a running sweep, all results so far.

    Args:
        out: Directory of the sweep.
    """

    def __init__(self, out: str | os.PathLike) -> None:
        self.paths = sweep_paths(Path(out))

    def __repr__(self) -> str:
        return f"Sweep({str(self.paths.root)!r})"

    def __getattr__(self, name: str) -> pl.DataFrame:
        # Tables of analyses; asked for only where no attribute has the name.
        if name.startswith("_") or name == "paths" or name not in self.paths.tables.schemas:
            raise AttributeError(f"a Sweep has no attribute {name!r}")
        return self.table(name)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest: versions, device, slots, checksums."""
        return read_manifest(self.paths.manifest)

    @cached_property
    def _merged_trials(self) -> pl.DataFrame:
        return self._merged("trials")

    @cached_property
    def _in_parts(self) -> frozenset[str]:
        """Trials with results only in parts when :attr:`trials` was read; other tables are limited to them."""
        return pending_trials(self._merged_trials) - pending_trials(self.trials)

    @cached_property
    def trials(self) -> pl.DataFrame:
        """One row per trial."""
        return self.table("trials")

    @cached_property
    def history(self) -> pl.DataFrame:
        """One row per trial and epoch."""
        return self.table("history")

    @cached_property
    def modules(self) -> pl.DataFrame:
        """One row per trial, layer, measure and normalized."""
        return self.table("modules")

    @cached_property
    def alignment(self) -> pl.DataFrame:
        """One row per trial, layer and pair of (measure, normalized)."""
        return self.table("alignment")

    @cached_property
    def similarity(self) -> pl.DataFrame:
        """One row per trial, layer and measure: the signed matrix, row-major."""
        # Modules are read first: in a running sweep, every graph with modules then already has its matrix.
        modules, tables = self.modules, self.paths.tables
        frame = self.read_matrices(
            lambda scans: pl.concat([tables.empty("similarity"), *(scan.read() for scan in scans)])
        )
        problem = key_problem(frame, tables.keys["similarity"]) or matrix_problem(frame, modules)
        check_rows(self.paths.similarity, "similarity", problem)
        return frame.sort(tables.keys["similarity"])

    def read_matrices(self, read: Callable[[list[Scan]], Found]) -> Found:
        """Return ``read(scans)`` for the files of :attr:`similarity`, without loading them whole.

        If a running sweep merges its parts in the meantime, the merged files are read instead.
        """
        trials = self._in_parts, pending_trials(self.trials)
        try:
            return read(scan_matrices(self.paths, *trials))
        except ValueError:
            # Only parts may vanish, when the sweep merges them; the second listing then finds the merged files.
            if not self._in_parts:
                raise
            return read(scan_matrices(self.paths, *trials))

    def table(self, name: str) -> pl.DataFrame:
        """Return a table by name; it is empty if the sweep has not come so far.

        Raises:
            ValueError: If the name is unknown, a file is damaged, or rows belong to trials that the sweep lacks.
        """
        schemas = self.paths.tables.schemas
        if name not in schemas:
            raise ValueError(f"Unknown table {name!r}. Available: {', '.join(schemas)}.")
        if name == "similarity":
            return self.similarity
        if name == "trials":
            return trials_so_far(self.paths, self._merged_trials)
        # Parts before the merged table: a part that vanishes in between has been merged into it.
        parts = rows_of_parts(self.paths, name, self._in_parts)
        frame = self._merged(name)
        if "trial_id" not in frame.columns:  # of an analysis of the whole sweep
            return frame
        check_rows(self.paths.table(name), name, foreign_problem(frame, self.trials))
        pending = pending_trials(self.trials)
        if not parts and not pending:
            return frame
        return self.paths.tables.merge(name, [frame.filter(~pl.col("trial_id").is_in(pending)), *parts])

    def _merged(self, name: str) -> pl.DataFrame:
        path = self.paths.table(name)
        tables = self.paths.tables
        return tables.read(path, name) if path.exists() else tables.empty(name)


def open_sweep(out: str | os.PathLike) -> Sweep:
    """Open the directory of a sweep.

    Raises:
        ValueError: If the directory is not a sweep.
    """
    sweep = Sweep(out)
    if not sweep.paths.has_manifest or not sweep.paths.table("trials").is_file():
        raise ValueError(f"{out} is not a sweep: expected a directory that 'modjax sweep SPEC --out DIR' has made.")
    refuse_links(sweep.paths.root)
    return sweep
