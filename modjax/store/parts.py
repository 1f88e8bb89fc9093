"""Parts: rows of trials that finished before the whole sweep did."""

import polars as pl

from modjax.store.paths import KIND_OF_PART, SweepPaths
from modjax.store.tables import read_table


def part_rows(paths: SweepPaths, name: str) -> list[pl.DataFrame]:
    """Return the rows of a table from all complete parts, one frame per part."""
    indices = paths.part_indices(KIND_OF_PART[name])
    return [read_table(paths.part_table(name, index), name) for index in indices]
