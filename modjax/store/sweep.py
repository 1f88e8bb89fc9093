"""A sweep's directory as polars frames."""

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from modjax.io.untrusted import refuse_links
from modjax.store.manifest import read_manifest
from modjax.store.paths import SweepPaths
from modjax.store.row_rules import foreign_problem, key_problem, matrix_problem
from modjax.store.tables import KEYS, SCHEMAS, SIMILARITY, Scan, check_rows, empty, merge, read_table
from modjax.store.unfinished import pending_trials, rows_of_parts, scan_matrices, trials_so_far

Found = TypeVar("Found")


class Sweep:
    """The tables of a sweep, read when they are first asked for; of a sweep that runs, all that it has found by then.

    Args:
        out: The sweep's directory.
    """

    def __init__(self, out: str | os.PathLike) -> None:
        self.paths = SweepPaths(Path(out))

    def __repr__(self) -> str:
        return f"Sweep({str(self.paths.root)!r})"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, device, slots, checksums."""
        return read_manifest(self.paths.manifest)

    @cached_property
    def _merged_trials(self) -> pl.DataFrame:
        return self._merged("trials")

    @cached_property
    def _in_parts(self) -> frozenset[str]:
        """Trials whose results are in parts alone, when :attr:`trials` was read: the other tables tell of no later."""
        return pending_trials(self._merged_trials) - pending_trials(self.trials)

    @cached_property
    def trials(self) -> pl.DataFrame:
        """A row a trial."""
        return self.table("trials")

    @cached_property
    def history(self) -> pl.DataFrame:
        """A row a trial and epoch."""
        return self.table("history")

    @cached_property
    def modules(self) -> pl.DataFrame:
        """A row a trial, layer, measure and normalized."""
        return self.table("modules")

    @cached_property
    def alignment(self) -> pl.DataFrame:
        """A row a trial, layer and pair of (measure, normalized)."""
        return self.table("alignment")

    @cached_property
    def similarity(self) -> pl.DataFrame:
        """A row a trial, layer and measure: the signed matrix, row-major."""
        modules = self.modules  # first: of a running sweep, all graphs whose modules are known have matrices by then
        frame = self.read_matrices(lambda scans: pl.concat([empty(SIMILARITY), *(scan.read() for scan in scans)]))
        problem = key_problem(frame, KEYS["similarity"]) or matrix_problem(frame, modules)
        check_rows(self.paths.similarity, "similarity", problem)
        return frame.sort(KEYS["similarity"])

    def read_matrices(self, read: Callable[[list[Scan]], Found]) -> Found:
        """``read(scans)`` of the files with :attr:`similarity`, which it need not load whole.

        A running sweep may merge its parts meanwhile: what it has merged is read then.
        """
        trials = self._in_parts, pending_trials(self.trials)
        try:
            return read(scan_matrices(self.paths, *trials))
        except ValueError:
            if not self._in_parts:
                raise
            return read(scan_matrices(self.paths, *trials))

    def table(self, name: str) -> pl.DataFrame:
        """A table by name; empty where the sweep has not come so far.

        Raises:
            ValueError: Unknown name, a damaged file, or rows of trials that the sweep does not have.
        """
        if name not in SCHEMAS:
            raise ValueError(f"Unknown table {name!r}. Available: {', '.join(SCHEMAS)}.")
        if name == "similarity":
            return self.similarity
        if name == "trials":
            return trials_so_far(self.paths, self._merged_trials)
        parts = rows_of_parts(self.paths, name, self._in_parts)
        frame = self._merged(name)
        check_rows(self.paths.table(name), name, foreign_problem(frame, self.trials))
        pending = pending_trials(self.trials)
        if not parts and not pending:
            return frame
        return merge(name, [frame.filter(~pl.col("trial_id").is_in(pending)), *parts])

    def _merged(self, name: str) -> pl.DataFrame:
        path = self.paths.table(name)
        return read_table(path, name) if path.exists() else empty(SCHEMAS[name])


def open_sweep(out: str | os.PathLike) -> Sweep:
    """Open a sweep's directory.

    Raises:
        ValueError: The directory is no sweep.
    """
    sweep = Sweep(out)
    if not sweep.paths.has_manifest or not sweep.paths.table("trials").is_file():
        raise ValueError(f"{out} is not a sweep: expected a directory that 'modjax sweep SPEC --out DIR' has made.")
    refuse_links(sweep.paths.root)
    return sweep
