"""A sweep's directory as polars frames."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from modjax.hostile import refuse_links
from modjax.storage.layout import SweepLayout
from modjax.storage.manifest import read_manifest
from modjax.storage.row_checks import foreign_problem, matrix_problem
from modjax.storage.tables import SCHEMAS, check_rows, empty, merge, read_table


class Sweep:
    """The tables of a sweep, read when they are first asked for.

    Args:
        out: The sweep's directory.
    """

    def __init__(self, out: str | os.PathLike) -> None:
        self.layout = SweepLayout(Path(out))

    def __repr__(self) -> str:
        return f"Sweep({str(self.layout.root)!r})"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, device, slots, checksums."""
        return read_manifest(self.layout.manifest)

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
        folder = self.layout.similarity
        frame = merge("similarity", [read_table(path, "similarity") for path in sorted(folder.glob("*.parquet"))])
        check_rows(folder, "similarity", matrix_problem(frame, self.modules))
        return frame

    def table(self, name: str) -> pl.DataFrame:
        """A table by name; empty where the sweep has not come so far.

        Raises:
            ValueError: Unknown name, a damaged file, or rows of trials that the sweep does not have.
        """
        if name not in SCHEMAS:
            raise ValueError(f"Unknown table {name!r}. Available: {', '.join(SCHEMAS)}.")
        if name == "similarity":
            return self.similarity
        path = self.layout.table(name)
        frame = read_table(path, name) if path.exists() else empty(SCHEMAS[name])
        if name != "trials":
            check_rows(path, name, foreign_problem(frame, self.trials))
        return frame


def open_sweep(out: str | os.PathLike) -> Sweep:
    """Open a sweep's directory.

    Raises:
        ValueError: The directory is no sweep.
    """
    sweep = Sweep(out)
    if not sweep.layout.has_manifest or not sweep.layout.table("trials").is_file():
        raise ValueError(f"{out} is not a sweep: expected a directory that 'modjax sweep SPEC --out DIR' has made.")
    refuse_links(sweep.layout.root)
    return sweep
